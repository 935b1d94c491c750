"""From a planned layer to a packed one, and back from the store; what does not fit the lock is refused."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from builder.backends.action import Action
from builder.errors import EnvironmentFault, IntegrityError, KernelError
from builder.layers import codec
from builder.layers.entry import Kind, Layer
from builder.layers.packages import PackageReader
from builder.layers.tar import tar_entries, write_tar
from builder.layers.tree import file_entries
from builder.pipeline import layers as layering
from builder.pipeline.layers import Workshop
from builder.plan.compiler import Compiler
from builder.plan.model import LayerKind, LayerPlan, NativeObject, PlacedFile
from builder.progress import Progress, Silent
from builder.spec.model import NativeTable
from builder.store.artifact import Artifact, Member
from builder.store.blobs import Store

EPOCH = 1_789_199_741


class Recording:
    """A backend that keeps what it was asked, and gives one shared object for everything."""

    name = "recording"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.actions: list[Action] = []

    def check(self) -> None:
        pass

    def run(self, action: Action, progress: Progress) -> str:
        self.actions.append(action)
        with self.store.writer() as writer:
            write_tar(file_entries({f"{action.name.split()[-1]}.so": LIBRARY}, epoch=action.epoch), writer.write)
            return writer.commit()


class Counting(Silent):
    """A progress that adds up what its steps report."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def step(self, name: str, total: int | None = None, unit: str = "bytes") -> Counting:
        self.total = total
        return self

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def workshop(store: Store) -> Workshop:
    return Workshop(store, PackageReader(store, 2), Recording(store), Silent())


LIBRARY = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
    "<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0
)
"""An ELF file for x86-64 without a section."""


def plan(kind: LayerKind, name: str = "layer", **fields: object) -> LayerPlan:
    values = {"platform": "linux/amd64", "epoch": EPOCH, "format": 2, "codec": codec.CODEC, "python": "3.13"}
    return LayerPlan(name=name, kind=kind, **values | fields)


def placed(store: Store, path: str, data: bytes) -> PlacedFile:
    return PlacedFile(path, store.add(data), len(data))


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def weights(store: Store, data: bytes, member: Member | None = None, **fields: object) -> Artifact:
    values = {
        "kind": "weights", "name": "net", "version": "1.0", "architecture": "all", "registry": "pypi",
        "path": "net/net-1.0-py3-none-any.whl", "sha256": store.add(data), "size": len(data), "roles": ("image",),
        "platforms": ("linux/amd64",), "member": member,
    }  # fmt: skip
    return Artifact(**values | fields)


def member(path: str, data: bytes) -> Member:
    return Member(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def contents(layer: Layer, store: Store) -> dict[str, bytes | None]:
    """What a packed layer holds: files with their content, folders left out."""
    import zstandard

    with store.open(layer.digest.removeprefix("sha256:")) as stream:
        tar = zstandard.ZstdDecompressor().stream_reader(stream).read()
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert layer.tar_size == len(tar)
    digest = store.add(tar)
    found: dict[str, bytes | None] = {}
    for entry in tar_entries(store.verified(digest)):
        if entry.kind is Kind.FILE:
            assert entry.source is not None
            with entry.source() as file:
                found[entry.path] = file.read()
    return found


def test_files_stand_where_the_plan_puts_them(workshop: Workshop, store: Store) -> None:
    files = (placed(store, "opt/kernel/spec.json", b"{}"), placed(store, "opt/kernel/model.py", b"code"))
    layer = layering.make(plan(LayerKind.KERNEL, "kernel", files=files), workshop)
    assert contents(layer, store) == {"opt/kernel/model.py": b"code", "opt/kernel/spec.json": b"{}"}
    assert (layer.name, layer.files) == ("kernel", 2)


def test_a_layer_is_recalled_by_its_key(workshop: Workshop, store: Store) -> None:
    asked = plan(LayerKind.RUNTIME, files=(placed(store, "opt/x.py", b"x"),))
    assert layering.recall(asked, store) is None
    made = layering.make(asked, workshop)
    assert layering.recall(asked, Store(store.root)) == made
    other = replace(asked, epoch=EPOCH + 1)
    assert layering.recall(other, store) is None
    store.blob_path(made.digest.removeprefix("sha256:")).unlink()
    assert layering.recall(asked, Store(store.root)) is None


def test_a_damaged_record_is_no_record(workshop: Workshop, store: Store) -> None:
    asked = plan(LayerKind.RUNTIME, files=(placed(store, "opt/x.py", b"x"),))
    layering.make(asked, workshop)
    path = store.record_path(layering.RECORDS, asked.key())
    path.write_bytes(path.read_bytes()[:-9])
    assert layering.recall(asked, Store(store.root)) is None


def test_making_it_twice_gives_the_same(workshop: Workshop, store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    results = []
    for each in (store, other):
        asked = plan(LayerKind.KERNEL, files=(placed(each, "opt/kernel/model.py", b"code"),))
        results.append(layering.make(asked, replace(workshop, store=each)))
    assert results[0] == results[1]


def test_weights_that_are_a_file(workshop: Workshop, store: Store) -> None:
    item = weights(store, b"tensors", registry="local", path="far/down/net.bin")
    layer = layering.make(plan(LayerKind.WEIGHTS, artifacts=(item,)), workshop)
    assert contents(layer, store) == {"opt/kernel/weights/net/net.bin": b"tensors"}


def test_weights_out_of_a_wheel(workshop: Workshop, store: Store) -> None:
    tensors = bytes(range(256)) * 4096
    item = weights(store, zipped({"p/model.bin": tensors, "p/other": b""}), member("p/model.bin", tensors))
    layer = layering.make(plan(LayerKind.WEIGHTS, artifacts=(item,)), workshop)
    assert contents(layer, store) == {"opt/kernel/weights/net/model.bin": tensors}


INSIDE = b"the right bytes"
WRONG_MEMBERS: dict[str, Member] = {
    "absent": member("p/absent.bin", INSIDE),
    "another size": member("p/model.bin", INSIDE + b"!"),
    "another hash": member("p/model.bin", b"THE RIGHT BYTES"),
    "a folder's name": member("p", INSIDE),
}


@pytest.mark.parametrize("wrong", WRONG_MEMBERS)
def test_a_member_that_is_not_what_the_lock_says(workshop: Workshop, store: Store, wrong: str) -> None:
    item = weights(store, zipped({"p/model.bin": INSIDE}), WRONG_MEMBERS[wrong])
    before = sorted(path.name for path in (store.root / "blobs" / "sha256").iterdir())
    asked = plan(LayerKind.WEIGHTS, artifacts=(item,))
    with pytest.raises(IntegrityError) as caught:
        layering.make(asked, workshop)
    assert "net" in caught.value.diagnostics() or "model.bin" in caught.value.diagnostics()
    assert layering.recall(asked, store) is None
    assert sorted(path.name for path in (store.root / "blobs" / "sha256").iterdir()) == before, "nothing half-made"


def damaged(store: Store, item: Artifact) -> None:
    blob = store.blob_path(item.sha256)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)


@pytest.mark.parametrize("kind", [LayerKind.WEIGHTS, LayerKind.WHEEL, LayerKind.WHEELS, LayerKind.BASE])
@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (damaged, IntegrityError),
        (lambda store, item: store.blob_path(item.sha256).unlink(), EnvironmentFault),
    ],
)
def test_an_artifact_that_decayed_or_went(
    workshop: Workshop, store: Store, kind: LayerKind, harm: Callable[[Store, Artifact], None], error: type[Exception]
) -> None:
    item = weights(store, zipped({"p/model.bin": INSIDE}))
    harm(store, item)
    fresh = Store(store.root)
    asked = plan(kind, artifacts=(item,))
    with pytest.raises(error, match=item.sha256):
        layering.make(asked, replace(workshop, store=fresh, packages=PackageReader(fresh, 1)))


def test_an_artifact_of_another_size_than_locked(workshop: Workshop, store: Store) -> None:
    item = weights(store, b"tensors", size=3)
    with pytest.raises(IntegrityError, match="3 were promised"):
        layering.make(plan(LayerKind.WEIGHTS, artifacts=(item,)), workshop)


@pytest.mark.parametrize("kind", [LayerKind.WHEEL, LayerKind.BASE])
def test_an_artifact_that_is_no_package(workshop: Workshop, store: Store, kind: LayerKind) -> None:
    item = weights(store, b"no archive at all", kind="wheel" if kind is LayerKind.WHEEL else "deb")
    with pytest.raises(IntegrityError):
        layering.make(plan(kind, artifacts=(item,)), workshop)


def test_the_bar_ends_full(workshop: Workshop, store: Store) -> None:
    counting = Counting()
    files = tuple(placed(store, f"opt/{number}", bytes(number)) for number in range(1, 9))
    layering.make(plan(LayerKind.KERNEL, files=files), replace(workshop, progress=counting))
    assert counting.total == counting.done == sum(range(1, 9))


def gcc(*root: Artifact) -> Compiler:
    return Compiler("gcc", "14.2.0-19", "linux/amd64", "linux/amd64", "14", "2.41", root)


def test_what_must_be_fetched(store: Store) -> None:
    local = weights(store, b"a", registry="local", path="a.bin")
    one, two, three = (weights(store, f"{number}".encode()) for number in range(3))
    asked = plan(LayerKind.NATIVE, artifacts=(local, one), driver=gcc(two), interpreter=(three,))
    assert layering.needed(asked) == (one, two, three)


def test_what_is_compiled_begins_before_what_is_only_packed(store: Store) -> None:
    item = weights(store, bytes(1000))
    packed = plan(LayerKind.WHEEL, artifacts=(item,))
    compiled = plan(LayerKind.BYTECODE, artifacts=(item,), interpreter=(item,))
    assert layering.effort(compiled) > layering.effort(packed) > layering.effort(plan(LayerKind.KERNEL))


HEADERS = {"jaxlib/include/ffi.h": b"#pragma once\n", "jaxlib/include/deep/api.h": b"", "jaxlib/version.py": b""}


def native(store: Store, *sources: str, headers: tuple[str, ...] = (), **fields: object) -> LayerPlan:
    table = NativeTable(sources=sources, headers=headers)
    item = NativeObject("op", table, ("-O2",), tuple(placed(store, path, path.encode()) for path in sources))
    return plan(LayerKind.NATIVE, native=(item,), driver=gcc(), **fields)


@pytest.mark.parametrize(
    ("sources", "driver"),
    [(("a.c",), "gcc-14"), (("a.c", "b.h"), "gcc-14"), (("a.cc",), "g++-14"), (("a.c", "b.cpp"), "g++-14")],
)
def test_c_alone_is_compiled_as_c(workshop: Workshop, store: Store, sources: tuple[str, ...], driver: str) -> None:
    layer = layering.make(native(store, *sources), workshop)
    assert contents(layer, store) == {"opt/kernel/lib/op.so": LIBRARY}
    (action,) = workshop.backend.actions
    assert any(driver in argument for argument in action.argv)
    assert not any(("g++" if driver.startswith("gcc") else "gcc-14") in argument for argument in action.argv)


def test_headers_come_out_of_the_wheel_that_has_them(workshop: Workshop, store: Store) -> None:
    wheel = weights(store, zipped(HEADERS), kind="wheel", name="jaxlib")
    layering.make(native(store, "op.cc", headers=("jaxlib/include",), artifacts=(wheel,)), workshop)
    (action,) = workshop.backend.actions
    found = {item.path.partition("jaxlib/")[2]: item.sha256 for item in action.inputs if "jaxlib/" in item.path}
    assert found == {
        name.removeprefix("jaxlib/"): hashlib.sha256(data).hexdigest()
        for name, data in HEADERS.items()
        if name.startswith("jaxlib/include/")
    }


@pytest.mark.parametrize("headers", ["jaxlib/inc", "jaxlib/include/absent", "numpy/include"])
def test_headers_that_no_wheel_has(workshop: Workshop, store: Store, headers: str) -> None:
    wheel = weights(store, zipped(HEADERS), kind="wheel", name="jaxlib")
    with pytest.raises(KernelError, match=headers):
        layering.make(native(store, "op.cc", headers=(headers,), artifacts=(wheel,)), workshop)
    assert workshop.backend.actions == []


@pytest.mark.parametrize("content", [b"no library", b"\x7fELF", LIBRARY[:40]])
def test_what_cannot_be_audited_is_no_library(workshop: Workshop, store: Store, content: bytes) -> None:
    class Odd(Recording):
        def run(self, action: Action, progress: Progress) -> str:
            with self.store.writer() as writer:
                write_tar(file_entries({"op.so": content}, epoch=action.epoch), writer.write)
                return writer.commit()

    with pytest.raises(KernelError, match=r"no library|malformed ELF file") as caught:
        layering.make(native(store, "op.cc"), replace(workshop, backend=Odd(store)))
    assert caught.value.where == "[native.op]"


def test_what_a_compiler_leaves_is_read_like_anything_from_outside(workshop: Workshop, store: Store) -> None:
    class Hostile(Recording):
        def run(self, action: Action, progress: Progress) -> str:
            return self.store.add(b"no tar at all")

    with pytest.raises(IntegrityError):
        layering.make(native(store, "op.cc"), replace(workshop, backend=Hostile(store)))
