from __future__ import annotations

import errno
import hashlib
import io
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from trees import file, fixed_tree, folder

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers import codec
from builder.layers.digest import tree_digest
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.pack import pack
from builder.layers.tar import read_tar, tar_size, write_tar
from builder.store.blobs import BlobWriter, Store

GOLDEN_BLOB = "edc839b1010589353104d62bf606b4c3e019b87ba9f4710e6bf088b3504ea7e3"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def blobs(store: Store) -> list[str]:
    folders = [store.root / "blobs" / "sha256", store.root / "tmp"]
    return sorted(path.name for folder in folders if folder.exists() for path in folder.iterdir())


def large_tree() -> list[Entry]:
    chance = random.Random(5)
    words = [chance.randbytes(20) for _ in range(500)]
    return [
        folder("d"),
        *(file(f"d/{at:04}", b"".join(chance.choices(words, k=at * 13 % 300))) for at in range(2000)),
        file("large", b"".join(chance.choices(words, k=600_000))),
        file("noise", chance.randbytes(3_000_000)),
    ]


def test_format_1_golden(store: Store) -> None:
    """A change here is a new format: raise FORMAT in builder/lock/model.py and say so in docs/layer-format.md."""
    layer = pack("fixed", fixed_tree(), store, codec.CODEC)
    assert layer.digest == f"sha256:{GOLDEN_BLOB}"


def test_every_identity_is_what_it_says(store: Store) -> None:
    tree = large_tree()
    layer = pack("large", tree, store, codec.CODEC)
    out: list[bytes] = []
    write_tar(tree, out.append)
    tar = b"".join(out)
    blob = store.open(layer.digest.removeprefix("sha256:")).read()
    assert layer == Layer(
        name="large",
        tree_digest=tree_digest(read_tar(io.BytesIO(tar))),
        diff_id=f"sha256:{hashlib.sha256(tar).hexdigest()}",
        digest=f"sha256:{hashlib.sha256(blob).hexdigest()}",
        size=len(blob),
        tar_size=tar_size(tree),
        files=2002,
        media_type="application/vnd.oci.image.layer.v1.tar+zstd",
    )
    assert codec.decompressed(io.BytesIO(blob), size=layer.tar_size).read() == tar


def test_threads_and_order_change_nothing(store: Store) -> None:
    tree = large_tree()
    first = pack("x", tree, store, codec.CODEC, threads=1)
    for threads in (2, 4, 64):
        random.Random(threads).shuffle(tree)
        assert pack("x", tree, store, codec.CODEC, threads=threads) == first
    assert len(blobs(store)) == 1


def test_an_empty_tree_is_a_layer(store: Store) -> None:
    layer = pack("nothing", [], store, codec.CODEC)
    assert (layer.tar_size, layer.files) == (1024, 0)
    assert layer.diff_id == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"  # two zero blocks


def threads_now() -> int:
    return sum(thread.name.startswith("kbuild ") for thread in threading.enumerate())


class Breaks(io.RawIOBase):
    def __init__(self, error: Exception) -> None:
        self._error = error
        self._left = 20

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if not self._left:
            raise self._error
        return bytes(size or 0)


def test_a_failing_source_leaves_nothing_behind(store: Store) -> None:
    def source() -> BinaryIO:
        return Breaks(IntegrityError("the deb is bad"))  # type: ignore[return-value]

    bad = replace(file("f", b""), size=2**30, source=source)
    with pytest.raises(IntegrityError, match="the deb is bad"):
        pack("x", [bad], store, codec.CODEC)
    assert blobs(store) == []
    assert threads_now() == 0


def test_a_full_disk_stops_the_reader_and_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    class Counts(io.RawIOBase):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            read += size or 0
            return random.randbytes(size or 0)

    def full(self: BlobWriter, data: bytes) -> None:
        if data:
            raise EnvironmentFault(f"the disk is full: {errno.ENOSPC}")

    monkeypatch.setattr(BlobWriter, "write", full)
    huge = replace(file("f", b""), size=2**34, source=Counts)
    with pytest.raises(EnvironmentFault, match="the disk is full"):
        pack("x", [huge], store, codec.CODEC)
    assert read < 2**27
    assert blobs(store) == []
    assert threads_now() == 0


def test_a_wrong_size_leaves_nothing_behind(store: Store) -> None:
    for wrong in (1, 3, 2**20):
        with pytest.raises(IntegrityError):
            pack("x", [replace(file("f", b"12"), size=wrong)], store, codec.CODEC)
    assert blobs(store) == []


def test_a_refused_tree_touches_no_store(store: Store) -> None:
    with pytest.raises(IntegrityError):
        pack("x", [file("a/b", b"")], store, codec.CODEC)
    assert not store.root.exists()


def test_memory_is_bounded(tmp_path: Path) -> None:
    """300 MB through a process whose peak grows by less than 150 MB."""
    program = """
import resource, sys
from pathlib import Path
from builder.layers import codec
from builder.layers.entry import Entry, Kind
from builder.layers.pack import pack
from builder.store.blobs import Store
import io, random
class Noise(io.RawIOBase):
    def __init__(self): self.data = random.Random(1).randbytes(2**20)
    def read(self, size=-1): return self.data[:size]
class Fixed(Noise):
    left = 300_000_000
    def read(self, size=-1):
        data = self.data[:min(size, self.left)]
        self.left -= len(data)
        return data
codec.check(codec.CODEC)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tree = [Entry("f", Kind.FILE, 0o644, 0, size=300_000_000, source=Fixed)]
pack("x", tree, Store(Path(sys.argv[1])), codec.CODEC, threads=64)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "s"], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 150_000, done.stdout


def test_kinds_are_counted(store: Store) -> None:
    expected = sum(entry.kind is not Kind.DIRECTORY for entry in fixed_tree())
    assert pack("x", fixed_tree(), store, codec.CODEC).files == expected
