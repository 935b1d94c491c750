"""Compiling C and C++ with the compilers that a spec can name: as data, and for real."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from benches import EPOCH, Bench, moved

from builder.backends.action import Action
from builder.backends.native import LINK_SPECS, native_action
from builder.errors import KernelError
from builder.layers.tar import tar_entries
from builder.plan.compiler import Compiler
from builder.progress import Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

AMD64, ARM64 = "linux/amd64", "linux/arm64"
SOURCE = b"""\
#include "scale.h"
#include <algorithm>
#include <cmath>
#include <vector>
namespace { double twice(double x) { return FACTOR * x; } }
extern "C" double scale(double x) { std::vector<double> v{x, FACTOR}; return v[0] * v[1]; }
extern "C" double fold(const double *x, int n) {
  std::vector<double> v(x, x + n);
  std::stable_sort(v.begin(), v.end());
  double sum = 0;
  for (double item : v) sum = std::fma(twice(item), item, std::sqrt(sum));
  return sum;
}
extern "C" const char *where() { return __FILE__ " " __TIMESTAMP__; }
"""
PLAIN = b"""\
#include "scale.h"
#include <math.h>
double scale(double x) { return x * FACTOR; }
double fold(const double *x, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum = fma(FACTOR * x[i], x[i], sqrt(sum));
  return sum;
}
const char *where(void) { return __FILE__; }
"""
HEADER = b"#define FACTOR 2.0\n"
FLAGS = ("-O2", "-g", "-ffp-contract=off")
CPU = {AMD64: "-march=x86-64-v3", ARM64: "-march=armv8-a"}


def deb(name: str, number: int) -> Artifact:
    return Artifact(
        kind="deb", name=name, version="1", architecture="amd64", registry="debian", path=f"pool/{name}.deb",
        sha256=f"{number:064}", size=1, roles=("toolchain",), platforms=(AMD64,),
    )  # fmt: skip


def compiler(name: str = "gcc", version: str = "14.2.0-19", **fields: object) -> Compiler:
    values = {
        "name": name, "version": version, "platform": AMD64, "target": AMD64, "library": "14", "glibc": "2.41",
        "root": (deb(name, 7),),
    }  # fmt: skip
    return Compiler(**values | fields)


def data(store: Store, made_by: Compiler, name: str = "scale.cc", **more: object) -> Action:
    options = {
        "compiler": made_by,
        "flags": ("-march=x86-64-v3", "-O2"),
        "sources": {f"native/{name}": store.add(SOURCE), "native/scale.h": store.add(HEADER)},
        "headers": {},
        "include": (),
        "specs": store.add(LINK_SPECS.encode()),
        "epoch": EPOCH,
    }
    return native_action("scale", **{**options, **more})


def test_gcc_as_data(tmp_path: Path) -> None:
    found = data(Store(tmp_path), compiler(), headers={"jaxlib/include/ffi.h": "1" * 64}, include=("jaxlib/include",))
    assert [item.path for item in found.inputs] == [
        "/in/link.specs", "/in/src/native/scale.cc", "/in/src/native/scale.h", "/in/include/jaxlib/include/ffi.h",
    ]  # fmt: skip
    gnu = "x86_64-linux-gnu"
    assert found.argv == (
        "/usr/bin/g++-14", "-specs=/in/link.specs", "-B/usr/bin/", f"-B/usr/lib/gcc/{gnu}/14/",
        f"-L/usr/lib/gcc/{gnu}/14/", f"-B/usr/lib/{gnu}/", f"-L/usr/lib/{gnu}/", "-nostdinc", "-nostdinc++",
        "-shared", "-fPIC", "-isystem/in/include/jaxlib/include", "-isystem/usr/include/c++/14",
        f"-isystem/usr/include/{gnu}/c++/14", "-isystem/usr/include/c++/14/backward",
        f"-isystem/usr/lib/gcc/{gnu}/14/include", f"-idirafter/usr/include/{gnu}", "-idirafter/usr/include",
        "-march=x86-64-v3", "-O2", "-frandom-seed=scale", "-gno-record-gcc-switches",
        "-ffile-prefix-map=/in/src=.", "-ffile-prefix-map=/in/include=.", "-Wl,--build-id=sha1",
        "-o", "/out/scale.so", "/in/src/native/scale.cc",
    )  # fmt: skip
    assert (found.epoch, found.platform, found.root) == (EPOCH, AMD64, (f"{7:064}",))


def test_paths_in_flags_are_of_the_kernels_folder(tmp_path: Path) -> None:
    given = ("-Iinclude", "-iquotea/b", "-isystemc", "-includepre.h", "-Llib", "-DI=-I", "-O2")
    argv = data(Store(tmp_path), compiler(), flags=given).argv
    begin = argv.index("-I/in/src/include")
    assert argv[begin : begin + len(given)] == (
        "-I/in/src/include", "-iquote/in/src/a/b", "-isystem/in/src/c", "-include/in/src/pre.h", "-L/in/src/lib",
        "-DI=-I", "-O2",
    )  # fmt: skip


def test_a_cross_compiler_differs_in_its_name_alone(tmp_path: Path) -> None:
    own = data(Store(tmp_path), compiler(platform=ARM64, target=ARM64))
    cross = data(Store(tmp_path), compiler(platform=AMD64, target=ARM64))
    assert (own.platform, cross.platform) == (ARM64, AMD64)
    assert own.argv[0] == "/usr/bin/g++-14"
    assert cross.argv[0] == "/usr/bin/aarch64-linux-gnu-g++-14"
    assert [item for item in own.argv[1:] if item != "-B/usr/bin/"] == list(cross.argv[1:])


@pytest.mark.parametrize(
    ("found", "name", "driver"),
    [
        (compiler(), "a.c", "gcc-14"),
        (compiler("clang", "1:19.1.7-3+b1"), "a.c", "clang-19"),
        (compiler("clang", "1:19.1.7-3+b1"), "a.cc", "clang++-19"),
    ],
)
def test_c_alone_is_compiled_as_c(tmp_path: Path, found: Compiler, name: str, driver: str) -> None:
    action = data(Store(tmp_path), found, name)
    assert action.argv[0] == f"/usr/bin/{driver}"
    assert ("-nostdinc++" in action.argv) is name.endswith(".cc")
    assert any("c++" in argument for argument in action.argv[1:]) is name.endswith(".cc")


def test_an_old_clang_is_not_let_near_the_clock(tmp_path: Path) -> None:
    assert "-Werror=date-time" in data(Store(tmp_path), compiler("clang", "1:15.0.6-4+b1")).argv
    assert "-Werror=date-time" not in data(Store(tmp_path), compiler("clang", "1:16.0.6-15")).argv


@pytest.mark.parametrize(
    ("target", "flag", "triple", "cpu"),
    [
        (AMD64, "-march=x86-64-v3", "x86_64-linux-gnu.2.41", "-mcpu=x86_64_v3"),
        (ARM64, "-march=armv8-a", "aarch64-linux-gnu.2.41", "-mcpu=generic"),
        (ARM64, "-march=armv8.2-a", "aarch64-linux-gnu.2.41", "-mcpu=generic+v8_2a"),
        (ARM64, "-march=armv9-a", "aarch64-linux-gnu.2.41", "-mcpu=generic+v9a"),
    ],
)
def test_zig_as_data(tmp_path: Path, target: str, flag: str, triple: str, cpu: str) -> None:
    found = compiler("zig", "0.17.1", target=target, archive=deb("ziglang", 9), library="")
    action = data(Store(tmp_path), found, flags=(flag, "-O2"))
    assert action.platform == AMD64
    assert action.inputs[0].path == "/in/zig.whl"
    assert action.inputs[0].sha256 == f"{9:064}"
    argv = action.argv
    assert argv[:3] == ("/usr/bin/busybox", "sh", "-euc")
    assert argv[4:8] == ("zig", "c++", "-target", triple)
    assert cpu in argv
    assert "-s" in argv
    assert not [argument for argument in argv[4:] if "/usr/" in argument]
    assert {name: value for name, value in action.env if "CACHE" in name} == {
        "ZIG_GLOBAL_CACHE_DIR": "/tmp/zig-cache", "ZIG_LOCAL_CACHE_DIR": "/tmp/zig-cache",
    }  # fmt: skip
    assert "-s" not in data(Store(tmp_path), found, flags=(flag, "-g")).argv


def test_another_version_or_flag_is_another_action(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = {
        data(store, compiler()).key(),
        data(store, compiler(root=(deb("gcc", 8),))).key(),
        data(store, compiler("clang", "1:19.1.7-3+b1")).key(),
        data(store, compiler("clang", "1:18.1.8-18+b1")).key(),
        data(store, compiler(), flags=("-march=x86-64-v3", "-O3")).key(),
        data(store, compiler(), flags=("-march=x86-64-v4", "-O2")).key(),
    }
    assert len(keys) == 6


def built(bench: Bench, item: Action) -> bytes:
    (entry,) = tar_entries(bench.store.verified(bench.backend().run(item, Silent())))
    assert (entry.path, entry.mode) == ("scale.so", 0o755)
    return entry.source().read()


def example(bench: Bench, made_by: Compiler, flags: tuple[str, ...] = FLAGS, *, source: bytes = SOURCE) -> Action:
    """C++; for Zig, which compiles its C++ library each time (45 s of one core), C."""
    sources = {"native/scale.c": PLAIN} if made_by.name == "zig" else {"native/scale.cc": source}
    return bench.action(made_by, sources | {"native/scale.h": HEADER}, (CPU[made_by.target], *flags))


def load(data: bytes, folder: Path) -> ctypes.CDLL:
    path = folder / "scale.so"
    path.write_bytes(data)
    library = ctypes.CDLL(str(path))
    for function in (library.scale, library.fold):
        function.restype = ctypes.c_double
    library.scale.argtypes = (ctypes.c_double,)
    library.fold.argtypes = (ctypes.POINTER(ctypes.c_double), ctypes.c_int)
    library.where.restype = ctypes.c_char_p
    return library


@pytest.fixture
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


EACH = pytest.mark.parametrize("name", ["gcc", "clang", "zig"])


@pytest.mark.network
@pytest.mark.sandbox
class TestReal:
    @EACH
    def test_the_object_works_and_knows_nothing_of_where_it_was_made(
        self, benches: Callable[..., Bench], name: str, tmp_path: Path
    ) -> None:
        bench = benches(name)
        data = built(bench, example(bench, bench.compiler()))
        for trace in (b"/in/", b"/out", b"/tmp", str(bench.store.root).encode()):
            assert trace not in data
        library = load(data, tmp_path)
        assert library.scale(21.0) == 42.0
        where = library.where().removeprefix(b"./")
        assert where in (b"native/scale.c", b"native/scale.cc Tue Nov 14 22:13:20 2023")

    @EACH
    def test_the_same_bytes_at_another_place_and_time_with_other_file_times_and_core_count(
        self, benches: Callable[..., Bench], name: str, tmp_path: Path, one_core: None
    ) -> None:
        """Randomised addresses are on throughout. Of its own accord no compiler looks at a file's time."""
        bench = benches(name)
        action = example(bench, bench.compiler(), source=SOURCE.replace(b'" " __TIMESTAMP__', b""))
        expected = built(bench, action)
        time.sleep(1.1)  # __DATE__ and file times count seconds
        elsewhere = moved(moved(action, "/in/src", "/elsewhere/deep/er"), "/in/include", "/elsewhere/include")
        assert bench.run(elsewhere, tmp_path / "elsewhere", mtime=EPOCH // 2) == expected

    @EACH
    def test_a_date_in_the_source_is_the_epochs(self, benches: Callable[..., Bench], name: str, tmp_path: Path) -> None:
        bench = benches(name)
        made_by = bench.compiler()
        source = b'#include <stdio.h>\nconst char *when(void) { return __DATE__ " " __TIME__; }\n'
        action = bench.action(made_by, {"when.c": source}, ("-O2",))
        if name == "zig":
            with pytest.raises(KernelError, match="date-time"):
                built(bench, action)
        else:
            assert b"Nov 14 2023 22:13:20" in built(bench, action)

    def test_the_compilers_agree_on_exact_operations(self, benches: Callable[..., Bench], tmp_path: Path) -> None:
        values = [0.1 * number for number in range(100)]
        found = set()
        for name in ("gcc", "clang", "zig"):
            (tmp_path / name).mkdir()
            bench = benches(name)
            library = load(built(bench, example(bench, bench.compiler())), tmp_path / name)
            found.add(library.fold((ctypes.c_double * len(values))(*values), len(values)).hex())
        assert len(found) == 1

    def test_another_store_umask_and_zone_give_the_same_object(
        self, benches: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = benches("gcc")
        item = example(bench, bench.compiler())
        expected = bench.backend().run(item, Silent())
        other = replace(bench, store=fresh(bench, tmp_path))
        again = example(other, bench.compiler())
        assert again.key() == item.key()
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        old = os.umask(0o077)
        try:
            assert other.backend().run(again, Silent()) == expected
        finally:
            os.umask(old)

    @EACH
    def test_an_error_is_the_compilers_own(self, benches: Callable[..., Bench], name: str) -> None:
        bench = benches(name)
        action = bench.action(bench.compiler(), {"native/scale.c": b"int f(void) { return missing; }\n"}, ("-O2",))
        with pytest.raises(KernelError) as caught:
            bench.backend().run(action, Silent())
        assert caught.value.where == "native scale"
        assert "native/scale.c:1:22: error: " in caught.value.message
        assert "'missing'" in caught.value.message

    @pytest.mark.parametrize("name", ["gcc", "clang"])
    def test_a_missing_header_is_not_found_on_this_machine(self, benches: Callable[..., Bench], name: str) -> None:
        bench = benches(name)
        source = b"#include <zlib.h>\n#include <Python.h>\n"
        with pytest.raises(KernelError, match=r"zlib\.h.*(No such file|not found)"):
            bench.backend().run(bench.action(bench.compiler(), {"a.c": source}, ("-O2",)), Silent())

    @pytest.mark.root
    def test_an_ordinary_user_gets_the_same_object(self, benches: Callable[..., Bench], tmp_path: Path) -> None:
        bench = benches("gcc")
        item = example(bench, bench.compiler())
        expected = bench.backend().run(item, Silent())
        home = tmp_path / "theirs"
        home.mkdir()
        store = fresh(bench, home)
        for blob in (SOURCE, HEADER, LINK_SPECS.encode()):
            store.add(blob)
        for path in [home, *home.rglob("*")]:
            os.chown(path, 65534, 65534)
        for parent in [tmp_path, *tmp_path.parents]:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        program = (
            f"import sys; sys.path[:0] = {[str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]!r}\n"
            "import json; from pathlib import Path\n"
            "from builder.backends.action import Action, InputFile; from small_roots import backend_of\n"
            "from builder.progress import Silent; from builder.store.blobs import Store\n"
            "from builder.store.artifact import Artifact\n"
            "debs, made = json.load(sys.stdin)\n"
            "debs = [Artifact.model_validate_json(line) for line in debs]\n"
            "made['inputs'] = tuple(InputFile(*item) for item in made['inputs'])\n"
            "made['env'] = tuple(tuple(item) for item in made['env'])\n"
            "action = Action(**{k: tuple(v) if isinstance(v, list) else v for k, v in made.items()})\n"
            "store = Store(Path(sys.argv[1])); print(backend_of(store, debs).run(action, Silent()))\n"
        )
        told = {name: getattr(item, name) for name in ("name", "platform", "root", "argv", "env", "epoch")}
        told["inputs"] = [(one.path, one.sha256, one.executable) for one in item.inputs]
        run = subprocess.run(
            [
                "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                sys.executable, "-c", program, str(store.root),
            ],
            input=json.dumps([[deb.model_dump_json() for deb in bench.compiler().root], told]),
            capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}, cwd="/",
        )  # fmt: skip
        assert run.stdout.strip() == expected, run.stderr


def fresh(bench: Bench, folder: Path) -> Store:
    """Another store with the same files of the compiler and nothing made from them."""
    blobs = folder / "store" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for item in bench.compiler().artifacts():
        os.link(bench.store.path(item.sha256), blobs / item.sha256)
    return Store(folder / "store")
