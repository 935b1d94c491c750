"""A whole image: libraries, what is not decoded, and programs compiled ahead of time, each layer once."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.audit.image import Contents, contents
from builder.audit.page import page
from builder.audit.reached import Reached, Recording
from builder.audit.schema import LIBRARY, Schema
from builder.audit.traits import Trait
from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.order import ordered
from builder.layers.pack import pack
from builder.lock.model import CODEC
from builder.oci.config import ImageConfig
from builder.oci.image import Manifest, PlatformImage
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or host_platform() != "linux/amd64", reason="needs a C++ compiler for x86-64"
)
SOURCE = """
#include <immintrin.h>
extern "C" __m128 planted(__m128 x) { return _mm_rsqrt_ps(x); }
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "op.cc").write_text(SOURCE)
    line = ["g++", "-O2", "-shared", "-fPIC", "-nostartfiles", "-o", "op.so", "op.cc"]
    subprocess.run(line, check=True, cwd=folder)
    return (folder / "op.so").read_bytes()


def layer(store: Store, name: str, files: dict[str, bytes]) -> Layer:
    entries = [
        Entry(path, Kind.FILE, 0o644, 0, size=len(data), source=lambda data=data: io.BytesIO(data))
        for path, data in files.items()
    ]
    return pack(name, ordered(entries, epoch=0), store, CODEC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def manifest(store: Store, elf: bytes, schema: Schema, samples: dict[str, bytes]) -> Manifest:
    layers = (
        layer(store, "base", {"usr/lib/libone.so": elf, "usr/lib/libone.a": b"!<arch>\n", "usr/lib/other": b"text"}),
        layer(store, "jaxlib", {f"usr/x/{LIBRARY}": elf + schema.files + bytes(64)}),
        layer(store, "aot", {"opt/kernel/aot/0.xla": samples["inverse"], "opt/kernel/aot/manifest.json": b"{}",
                             "opt/kernel/bent.so": b"\x7fELF"}),
    )  # fmt: skip
    config = ImageConfig(epoch=0, environment={}, labels={})
    return Manifest("linux/amd64", "sha256:" + "0" * 64, 0, "", 0, PlatformImage(layers, config), {})


def audited(store: Store, manifest: Manifest) -> Contents:
    return contents(store, manifest, jobs=1, progress=Silent())


def test_everything_in_an_image(store: Store, manifest: Manifest) -> None:
    found = audited(store, manifest)
    assert [item.path for item in found.libraries] == ["usr/lib/libone.so", f"usr/x/{LIBRARY}"]
    assert {item.mnemonic for item in found.libraries[0].audit.findings} == {"rsqrtps"}
    assert [(item.path, item.layer) for item in found.unread] == [
        ("opt/kernel/bent.so", "aot"),
        ("usr/lib/libone.a", "base"),
    ]
    (program,) = found.programs
    assert (program.path, program.module, program.threads) == ("opt/kernel/aot/0.xla", "jit_inverse", 2)
    assert program.audit.tally()[Trait.ESTIMATE] > 0


def test_the_second_time_nothing_is_decoded(store: Store, manifest: Manifest) -> None:
    first = audited(store, manifest)
    for item in manifest.image.layers:
        store.blob_path(item.digest.removeprefix("sha256:")).unlink()
    assert audited(store, manifest) == first


def test_programs_without_the_library_that_wrote_them_are_refused(store: Store, manifest: Manifest) -> None:
    kept = tuple(item for item in manifest.image.layers if item.name != "jaxlib")
    with pytest.raises(IntegrityError, match="no layer holds"):
        audited(store, replace(manifest, image=replace(manifest.image, layers=kept)))


def test_a_bent_program_is_refused(store: Store, manifest: Manifest, samples: dict[str, bytes]) -> None:
    bent = layer(store, "aot", {"opt/kernel/aot/0.xla": samples["inverse"][:-100]})
    layers = (*manifest.image.layers[:2], bent)
    with pytest.raises(IntegrityError):
        audited(store, replace(manifest, image=replace(manifest.image, layers=layers)))


def test_the_page_shows_all_of_it(store: Store, manifest: Manifest) -> None:
    found = audited(store, manifest)
    rows = (
        Reached("usr/lib/libone.so", "planted", Trait.ESTIMATE, resolver=False, calls=1234, executed=1, instructions=2),
        Reached("usr/lib/libone.so", "<b>asked", Trait.DISPATCH, resolver=True, calls=None, executed=1, instructions=1),
    )  # fmt: skip
    recording = Recording("Haswell", ("usr/lib/libone.so",), rows)
    text = page("sha256:" + "0" * 64, {"linux/amd64": found}, {"linux/amd64": recording})
    for shown in (
        "1,234",
        "1 of 2",
        "emulated Haswell",
        "jit(inverse)/rsqrt",
        "usr/lib/libone.a",
        "malformed",
    ):
        assert shown in text
    assert "&lt;b&gt;asked" in text
    assert "<b>asked" not in text
    assert "<script" not in text
    assert "style=" not in text, "which the page's own policy would not let act"
    assert page("sha256:" + "0" * 64, {"linux/amd64": found}).count("reached") == 0


def test_a_recording_is_plain_data() -> None:
    made = Recording("Haswell", (), ())
    assert json.loads(json.dumps(made.dump())) == {"cpu": "Haswell", "libraries": [], "reached": []}
