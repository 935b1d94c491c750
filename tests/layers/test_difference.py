"""Where two layers part: every way that builders are known to part in, and every random one."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import EPOCH, file, fixed_tree, folder, hardlink, symlink, trees

from builder.layers.difference import Difference, first_difference
from builder.layers.entry import Entry, Kind
from builder.layers.header import encode, padding
from builder.layers.order import ordered
from builder.layers.tar import CHUNK, END, write_tar


def tar(entries: Sequence[Entry]) -> bytes:
    out: list[bytes] = []
    write_tar(entries, out.append)
    return b"".join(out)


def as_they_come(entries: Sequence[Entry]) -> bytes:
    """A tar in no order but the given one."""
    pieces = [encode(entry) + entry.source().read() + bytes(padding(entry.size)) for entry in entries]
    return b"".join((*pieces, END))


def parted(left: bytes, right: bytes) -> Difference | None:
    found = first_difference(io.BytesIO(left), io.BytesIO(right))
    mirrored = first_difference(io.BytesIO(right), io.BytesIO(left))
    if found is None:
        assert mirrored is None
    else:
        assert mirrored == replace(found, left=found.right, right=found.left)
    return found


BASE = [folder("lib"), file("lib/fold.so", b"\x7fELF" + bytes(1000)), file("lib/other.so", b"o"), symlink("so", "lib")]


def changed(path: str, **fields: object) -> list[Entry]:
    return [replace(entry, **fields) if entry.path == path else entry for entry in BASE]


def test_equal_layers_do_not_part() -> None:
    assert parted(tar(fixed_tree()), tar(fixed_tree())) is None
    assert parted(tar([]), tar([])) is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (changed("lib/fold.so", mtime=EPOCH + 1), ("lib/fold.so", "mtime", str(EPOCH), str(EPOCH + 1))),
        (changed("lib/fold.so", mode=0o755), ("lib/fold.so", "mode", "0644", "0755")),
        (changed("lib", uid=1000), ("lib", "uid", "0", "1000")),
        (changed("lib", gid=7), ("lib", "gid", "0", "7")),
        (changed("so", target="/lib"), ("so", "target", "'lib'", "'/lib'")),
        (changed("lib/fold.so", xattrs=(("user.a", b"1"),)), ("lib/fold.so", "xattrs", "none", "user.a=31")),
        ([*BASE[:3], file("so", b"lib")], ("so", "kind", "a symlink", "a file")),
        ([*BASE, file("lib/fold.map", b"map")], ("lib/fold.map", "presence", "missing", "a file of 3 bytes")),
        ([*BASE[:3]], ("so", "presence", "a symlink", "missing")),
        ([], ("lib", "presence", "a directory", "missing")),
        ([*BASE, hardlink("z", "lib/other.so")], ("z", "presence", "missing", "a hardlink")),
    ],
)
def test_a_header_that_differs(entries: list[Entry], expected: tuple[str, str, str, str]) -> None:
    assert parted(tar(BASE), tar(entries)) == Difference(*expected)


def content(data: bytes) -> bytes:
    return tar([file("a.so", data), file("later", b"too" if data else b"")])


@pytest.mark.parametrize("at", [0, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 99])
def test_the_first_byte_that_differs(at: int) -> None:
    one = random.Random(1).randbytes(2 * CHUNK + 100)
    two = bytearray(one)
    two[at] ^= 0xFF
    two[-1] ^= 1
    found = parted(content(one), content(bytes(two)))
    assert found == Difference("a.so", "content", one[at : at + 8].hex(" "), two[at : at + 8].hex(" "), at)
    assert found.sentence("embedded", "docker") == (
        f"a.so differs in its byte {at} (0x{at:x}): embedded has {found.left}, docker has {found.right}"
    )


def test_a_file_that_goes_on_where_the_other_ends() -> None:
    found = parted(content(b"same"), content(b"same and more"))
    assert found == Difference("a.so", "content", "its end after 4 bytes", b" and mor".hex(" "), 4)


def test_the_first_of_several_differences_is_told() -> None:
    left = tar([file("a", b"1"), file("b", b"1")])
    right = tar([file("b", b"2"), file("c", b"1")])
    assert parted(left, right) == Difference("a", "presence", "a file of 1 bytes", "missing")


@pytest.mark.parametrize("swapped", [("b", "a", "c"), ("a", "c", "b")])
def test_the_same_files_in_another_order(swapped: tuple[str, ...]) -> None:
    left = tar([file(name, name.encode()) for name in "abc"])
    found = parted(left, as_they_come([file(name, name.encode()) for name in swapped]))
    assert found.what == "order"
    assert found.left == "in order"
    assert "out of order" in found.right


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 2000])
def test_a_tar_that_is_cut_off(cut: int) -> None:
    found = parted(tar(BASE), tar(BASE)[:cut])
    assert found.what in ("order", "content")


def test_what_stands_behind_the_end_is_a_difference() -> None:
    assert parted(tar(BASE), tar(BASE) + bytes(512)).what == "order"


@given(one=trees(), two=trees())
def test_layers_part_exactly_if_their_bytes_do(one: list[Entry], two: list[Entry]) -> None:
    left, right = tar(one), tar(two)
    assert (parted(left, right) is None) == (left == right)


@given(tree=trees(), chance=st.randoms(use_true_random=False))
def test_one_flipped_bit_of_content_is_found_where_it_is(tree: list[Entry], chance: random.Random) -> None:
    files = [entry for entry in ordered(tree, epoch=EPOCH) if entry.kind is Kind.FILE and entry.size]
    if not files:
        return
    victim = chance.choice(files)
    data = bytearray(victim.source().read())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    other = [
        replace(entry, source=lambda: io.BytesIO(bytes(data))) if entry.path == victim.path else entry
        for entry in ordered(tree, epoch=EPOCH)
    ]
    found = parted(tar(tree), tar(other))
    assert (found.path, found.what, found.offset) == (victim.path, "content", at)
