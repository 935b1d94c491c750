"""Zip archives: what everyone reads alike is read, and what two readers could read differently is refused."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import zipfile
import zlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wheels import Item, archive, write

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers import zip as zips
from builder.layers.zip import Archive


def opened(folder: Path, data: bytes) -> Archive:
    return Archive(write(folder, data), "demo.zip")


def refused(folder: Path, data: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        opened(folder, data)
    assert caught.value.where == "demo.zip"
    return caught.value.message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("seekable", [True, False])
def test_reads_what_the_standard_library_writes(tmp_path, method, seekable):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return seekable

        def seek(self, *arguments):
            if not seekable:
                raise OSError
            return super().seek(*arguments)

        def tell(self):
            if not seekable:
                raise OSError
            return super().tell()

    target = Pipe()
    files = {"a/b.py": b"x" * 5000, "empty": b"", "c/grün.txt": bytes(range(256)) * 3000, "d/": b""}
    with zipfile.ZipFile(target, "w", method) as out:
        for name, data in files.items():
            out.writestr(name, data)
    found = opened(tmp_path, target.getvalue())
    del files["d/"]
    assert {name: found.open(name).read() for name in found.members} == files


def test_modes(tmp_path):
    items = [Item(b"plain"), Item(b"run", mode=0o100755), Item(b"typeless", mode=0o755), Item(b"dos", mode=0)]
    found = opened(tmp_path, archive(items))
    assert [name for name, member in found.members.items() if member.executable] == ["run"]


@pytest.mark.parametrize("form", ["<4s3L", "<4sLQQ", "<3L", "<LQQ"])
def test_data_descriptors(tmp_path, form):
    data = b"streamed" * 10
    crc = zlib.crc32(data)
    fields = (b"PK\7\10", crc, len(data), len(data)) if "4s" in form else (crc, len(data), len(data))
    items = [Item(b"a", data, flags=0x808, descriptor=struct.pack(form, *fields)), Item(b"b", b"after")]
    found = opened(tmp_path, archive(items))
    assert found.read("a", 1000) == data
    assert found.read("b", 1000) == b"after"


ODD = [
    ("is there twice", [Item(b"a", b"1"), Item(b"a", b"2")]),
    ("begins at", [Item(b"a", b"1", listed=2)]),
    ("begins at", [Item(b"hidden", b"1", listed=0), Item(b"a")]),
    ("bytes between", [Item(b"a", gap=b"hidden")]),
    ("absolute", [Item(b"/etc/passwd")]),
    ("is not plain", [Item(b"a/../../b")]),
    ("'.' or '..'", [Item(b"./a")]),
    ("empty", [Item(b"a//b")]),
    ("not a portable", [Item(b"a\\b")]),
    ("not a portable name", [Item(b"C:evil")]),
    ("not a portable name", [Item(b"a\nb")]),
    ("NUL", [Item(b"a\0b")]),
    ("no stated encoding", [Item(b"\xff\xfe")]),
    ("no stated encoding", [Item("grün".encode(), flags=0)]),
    ("second name", [Item(b"a", extra=struct.pack("<2H", 0x7075, 6) + b"\1\0\0\0\0b")]),
    ("encrypted", [Item(b"a", flags=0x801)]),
    ("neither stored nor deflated", [Item(b"a", method=12)]),
    ("no regular file", [Item(b"link", b"/etc/passwd", mode=0o120777)]),
    ("no regular file", [Item(b"pipe", mode=0o010644)]),
    ("folder with content", [Item(b"a/", b"x", mode=0o40755)]),
    ("both a file and a folder", [Item(b"a", b"x"), Item(b"a/b", b"y")]),
    ("a bomb", [Item(b"a", size=1 << 31, packed=b"x" * 64, method=8)]),
    ("larger than 4 GiB", [Item(b"a", size=0xFFFFFFFF, packed=b"x" * 64, method=8)]),
    ("contradicts the directory", [Item(b"a", local_name=b"b")]),
    ("contradicts", [Item(b"a", b"xx", local_size=1)]),
    ("trailer that contradicts", [Item(b"a", b"x", flags=0x808, descriptor=bytes(16))]),
    ("stored", [Item(b"a", b"xx", size=3)]),
    ("part longer than", [Item(b"a" * 300)]),
]


@pytest.mark.parametrize(("said", "items"), ODD)
def test_refuses_ambiguous_members(tmp_path, said, items):
    assert said in refused(tmp_path, archive(items))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\5\6",
        bytes(100),
        archive([Item(b"a", b"x")], before=b"#!/bin/sh\n"),
        archive([Item(b"a", b"x")], behind=b"x"),
        archive([Item(b"a", b"x")], comment=b"note"),
        archive([Item(b"a", b"x")]) + archive([Item(b"b", b"y")]),
        archive([Item(b"a", b"x")])[:-1],
    ],
)
def test_refuses_bytes_around_the_archive(tmp_path, data):
    refused(tmp_path, data)


def test_names_a_missing_archive(tmp_path):
    with pytest.raises(EnvironmentFault):
        Archive(tmp_path / "absent", "demo.zip")


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Item(b"a", size=10, packed=deflated(b"x" * 9), method=8), "too early"),
        (Item(b"a", size=10, packed=deflated(b"x" * 11), method=8), "as promised"),
        (Item(b"a", size=10, packed=deflated(b"x" * 10) + b"more", method=8), "as promised"),
        (Item(b"a", size=10, packed=deflated(b"x" * 10)[:-3], method=8), "early|as promised"),
        (Item(b"a", size=10, packed=b"\xff" * 20, method=8), "does not decompress"),
        (Item(b"a", size=0, packed=deflated(b"x"), method=8), "as promised"),
    ],
)
@pytest.mark.parametrize("scale", [1, 100_000])
def test_refuses_content_that_is_not_as_promised(tmp_path, item, said, scale):
    if scale > 1:  # large members are streamed, small ones read when they are opened
        data = {"too early": b"y" * (10 * scale - 1), "as promised": b"y" * (10 * scale + 1)}.get(said)
        if data is None:
            pytest.skip("the small form says it all")
        item = Item(b"a", size=10 * scale, packed=deflated(data), method=8)
    found = opened(tmp_path, archive([item]))
    with pytest.raises(IntegrityError) as caught, found.open("a") as stream:
        b"".join(iter(partial(stream.read, 1000), b""))
    assert any(part in caught.value.message for part in said.split("|"))


@pytest.mark.parametrize("size", [0, 1, 300_000, 3_000_000])
def test_checksums_are_checked_with_the_last_byte(tmp_path, size):
    data = bytes(size)
    found = opened(tmp_path, archive([Item(b"a", data, deflate=True)]))
    right = hashlib.sha256(data).digest()
    with found.open("a", ("sha256", right)) as stream:
        assert stream.read() == data
    with pytest.raises(IntegrityError, match="has another sha256"), found.open("a", ("sha256", bytes(32))) as stream:
        stream.read()


def test_a_bomb_is_never_held_in_memory(tmp_path, monkeypatch):
    data = bytes(50 << 20)
    found = opened(tmp_path, archive([Item(b"a", data, deflate=True)]))
    largest = 0
    with found.open("a") as stream:
        while chunk := stream.read(1 << 30):
            largest = max(largest, len(chunk))
    assert largest <= zips._CHUNK


def test_members_are_read_by_several_threads_at_once(tmp_path):
    contents = {f"m{index}": bytes([index]) * 700_000 for index in range(8)}
    items = [Item(name.encode(), data, deflate=bool(index % 2)) for index, (name, data) in enumerate(contents.items())]
    found = opened(tmp_path, archive(items))
    wrong: list[str] = []

    def check(name: str) -> None:
        for _ in range(5):
            with found.open(name) as stream:
                if b"".join(iter(lambda: stream.read(4096), b"")) != contents[name]:
                    wrong.append(name)

    threads = [threading.Thread(target=check, args=(name,)) for name in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reading_a_whole_member_is_bounded(tmp_path):
    found = opened(tmp_path, archive([Item(b"a", b"xyz")]))
    assert found.read("a", 3) == b"xyz"
    with pytest.raises(IntegrityError, match="2 are plausible"):
        found.read("a", 2)
    with pytest.raises(IntegrityError, match="b is missing"):
        found.read("b", 2)


SAMPLE = archive([Item(b"a/b", b"hello" * 20, deflate=True), Item(b"c", b"x"), Item(b"d/")])


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255), st.booleans())
def test_no_flipped_or_missing_byte_escapes_as_another_error(tmp_path_factory, at, value, cut):
    data = SAMPLE[:at] if cut else SAMPLE[:at] + bytes([value]) + SAMPLE[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "flipped.zip"
    path.write_bytes(data)
    try:
        found = Archive(path, "demo.zip")
        for name in found.members:
            found.open(name).read()
    except IntegrityError:
        pass
