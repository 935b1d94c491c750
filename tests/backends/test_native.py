"""Compiling C and C++ with Debian's GCC: as data, and for real."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_roots import Real

from builder.backends import bwrap
from builder.backends.action import Action
from builder.backends.embedded import _inputs
from builder.backends.native import LINK_SPECS, native_action
from builder.backends.roots import deb_root
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, environment, root_names
from builder.errors import KernelError
from builder.layers.packages import PackageReader
from builder.layers.tar import tar_entries
from builder.platforms import NAMES, host_platform
from builder.progress import Silent
from builder.store.blobs import Store

EPOCH = 1_700_000_000
SOURCE = b"""\
#include "scale.h"
#include <vector>
extern "C" double scale(double x) { std::vector<double> v{x, FACTOR}; return v[0] * v[1]; }
extern "C" const char *where() { return __FILE__ " " __DATE__ " " __TIMESTAMP__; }
"""
HEADER = b"#define FACTOR 2.0\n"


def action(store: Store, toolchain=(), source: bytes = SOURCE, **more: object) -> Action:
    options = {
        "platform": host_platform(),
        "compiler": "g++-14",
        "toolchain": toolchain,
        "flags": ("-O2", "-g", "-ffp-contract=off"),
        "sources": {"native/scale.cc": store.add(source), "native/scale.h": store.add(HEADER)},
        "headers": {},
        "include": (),
        "specs": store.add(LINK_SPECS.encode()),
        "epoch": EPOCH,
    }
    return native_action("scale", **{**options, **more})


def test_the_action_as_data(tmp_path):
    store = Store(tmp_path)
    found = action(store, headers={"jaxlib/include/ffi.h": "1" * 64}, include=("jaxlib/include",))
    assert [item.path for item in found.inputs] == [
        "/in/link.specs", "/in/src/native/scale.cc", "/in/src/native/scale.h", "/in/include/jaxlib/include/ffi.h",
    ]  # fmt: skip
    assert found.argv == (
        "/usr/bin/g++-14", "-specs=/in/link.specs", "-B/usr/bin/", "-shared", "-fPIC",
        "-isystem/in/include/jaxlib/include", "-O2", "-g", "-ffp-contract=off", "-frandom-seed=scale",
        "-ffile-prefix-map=/in/src=.", "-ffile-prefix-map=/in/include=.", "-Wl,--build-id=sha1",
        "-o", "/out/scale.so", "/in/src/native/scale.cc",
    )  # fmt: skip
    assert found.epoch == EPOCH


def built(real: Real, item: Action) -> bytes:
    (entry,) = tar_entries(real.store.verified(real.backend().run(item, Silent())))
    assert (entry.path, entry.mode) == ("scale.so", 0o755)
    return entry.source().read()


def fresh(real: Real, folder: Path) -> Store:
    """Another store with the same debs and nothing made from them."""
    blobs = folder / "store" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for item in real.toolchain:
        os.link(real.store.path(item.sha256), blobs / item.sha256)
    return Store(folder / "store")


@pytest.mark.network
@pytest.mark.sandbox
class TestReal:
    def test_the_object_works_and_knows_nothing_of_where_it_was_made(self, real, tmp_path):
        data = built(real, action(real.store, real.toolchain))
        for trace in (b"/in/", b"/out", str(real.store.root).encode()):
            assert trace not in data
        path = tmp_path / "scale.so"
        path.write_bytes(data)
        library = ctypes.CDLL(str(path))
        library.scale.restype, library.scale.argtypes = ctypes.c_double, (ctypes.c_double,)
        assert library.scale(21.0) == 42.0
        library.where.restype = ctypes.c_char_p
        assert library.where().startswith(b"./native/scale.cc Nov 14 2023 Tue Nov 14 ")

    def test_another_store_umask_and_zone_give_the_same_object(self, real, tmp_path, monkeypatch):
        item = action(real.store, real.toolchain)
        expected = real.backend().run(item, Silent())
        other = fresh(real, tmp_path)
        again = action(other, real.toolchain)
        assert again.key() == item.key()
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        old = os.umask(0o077)
        try:
            assert real.backend(other).run(again, Silent()) == expected
        finally:
            os.umask(old)

    def test_an_error_is_the_compilers_own(self, real):
        with pytest.raises(KernelError) as caught:
            real.backend().run(action(real.store, real.toolchain, b"int f() { return missing; }\n"), Silent())
        assert caught.value.where == "native scale"
        assert "/in/src/native/scale.cc:1:18: error: 'missing' was not declared" in caught.value.message

    def test_a_missing_header_is_not_found_on_this_machine(self, real):
        source = b"#include <zlib.h>\n#include <Python.h>\n"
        with pytest.raises(KernelError, match="No such file"):
            real.backend().run(action(real.store, real.toolchain, source), Silent())

    @pytest.mark.qemu
    def test_an_emulated_compiler_gives_the_same_object(self, real, tmp_path):
        """What a foreign platform's toolchain goes through, with this platform's own to compare with."""
        emulator = shutil.which(f"qemu-{NAMES[host_platform()].qemu}-static")
        item = action(real.store, real.toolchain)
        expected = built(real, item)
        (tmp_path / "out").mkdir()
        root = deb_root(real.store, PackageReader(real.store, 2), real.toolchain, epoch=EPOCH)
        box = Sandbox(
            root, root_names(root), item.argv, environment(item.env, epoch=EPOCH),
            (*_inputs(item, real.store, tmp_path / "in"), Mount(tmp_path / "out", "/out", writable=True)),
            emulator=Emulator(Path(emulator)),
        )  # fmt: skip
        ended = bwrap.execute(command(bwrap.program(), box))
        assert ended.status == 0, ended.output
        assert (tmp_path / "out" / "scale.so").read_bytes() == expected

    @pytest.mark.root
    def test_an_ordinary_user_gets_the_same_object(self, real, tmp_path):
        expected = real.backend().run(action(real.store, real.toolchain), Silent())
        home = tmp_path / "theirs"
        home.mkdir()
        store = fresh(real, home)
        for path in [home, *home.rglob("*")]:
            os.chown(path, 65534, 65534)
        for parent in [tmp_path, *tmp_path.parents]:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        program = (
            f"import sys; sys.path[:0] = {[str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]!r}\n"
            "import json; from pathlib import Path\n"
            "from small_roots import backend_of; from test_native import action\n"
            "from builder.progress import Silent; from builder.store.blobs import Store\n"
            "from builder.store.artifact import Artifact\n"
            "debs = [Artifact.model_validate_json(line) for line in json.load(sys.stdin)]\n"
            "store = Store(Path(sys.argv[1])); print(backend_of(store, debs).run(action(store, debs), Silent()))\n"
        )
        run = subprocess.run(
            [
                "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                sys.executable, "-c", program, str(store.root),
            ],
            input=json.dumps([item.model_dump_json() for item in real.toolchain]),
            capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}, cwd="/",
        )  # fmt: skip
        assert run.stdout.strip() == expected, run.stderr
