"""Where two layers part: the first path, and there the field of its header or the bytes of its content; pure.

Two canonical tars are read side by side, so it costs one pass and no memory, whatever their size. A tar that is not
canonical parts from one that is at the entry that breaks a rule (its order, say).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.order import sort_key
from builder.layers.tar import CHUNK, read_tar

_SHOWN = 8
"""Bytes shown of both contents from where they part."""

_FIELDS = ("kind", "target", "mode", "uid", "gid", "mtime", "xattrs")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first path at which two layers are not the same, and how each of them has it.

    `what` is a field of the header, `content`, `presence` or `order`. For content, `offset` is the first byte's, and
    `left` and `right` are up to eight bytes from there in hex.
    """

    path: str
    what: str
    left: str
    right: str
    offset: int | None = None

    def sentence(self, left: str, right: str) -> str:
        """The difference for a person, with the names of the two sides."""
        if self.what == "presence":
            return f"{self.path} is {self.left} in what {left} made and {self.right} in what {right} made"
        if self.what == "order":
            return f"{self.path} is {self.left} for {left} and {self.right} for {right}"
        what = self.what if self.offset is None else f"byte {self.offset} (0x{self.offset:x})"
        return f"{self.path} differs in its {what}: {left} has {self.left}, {right} has {self.right}"


def first_difference(left: BinaryIO, right: BinaryIO) -> Difference | None:
    """The first difference of two layers' tars.

    Args:
        left: a canonical tar, or what claims to be one.
        right: the other one.

    Returns:
        None if they are the same, byte for byte.
    """
    ours, theirs = _entries(left), _entries(right)
    while True:
        mine, other = next(ours, None), next(theirs, None)
        if mine is None and other is None:
            return None
        if found := _broken(mine, other):
            return found
        if found := _missing(mine, other):
            return _broken_later(ours, theirs) or found
        assert isinstance(mine, tuple)  # noqa: S101 - both are there and whole, or it was found
        assert isinstance(other, tuple)  # noqa: S101
        try:
            if found := _header(mine[0], other[0]) or _content(mine, other):
                return found
        except IntegrityError as error:  # one of the two ends inside this file
            return Difference(mine[0].path, "content", error.message, error.message)


_Found = tuple[Entry, BinaryIO] | IntegrityError


def _entries(stream: BinaryIO) -> Iterator[_Found]:
    """What a tar holds, and at last the error, should it break a rule."""
    try:
        yield from read_tar(stream)
    except IntegrityError as error:
        yield error


def _broken(mine: _Found | None, other: _Found | None) -> Difference | None:
    for error in (mine, other):
        if isinstance(error, IntegrityError):
            sides = [side.message if isinstance(side, IntegrityError) else "in order" for side in (mine, other)]
            return Difference(error.where or "the tar", "order", sides[0], sides[1])
    return None


def _broken_later(ours: Iterator[_Found], theirs: Iterator[_Found]) -> Difference | None:
    """Whether a path was only seen to be missing because a tar has it at the wrong place."""
    ends = [next((found for found in side if isinstance(found, IntegrityError)), None) for side in (ours, theirs)]
    return _broken(ends[0], ends[1])


def _missing(mine: _Found | None, other: _Found | None) -> Difference | None:
    """A path that only one of the two has: the one that comes first, if both stand at different ones."""
    here = mine[0] if isinstance(mine, tuple) else None
    there = other[0] if isinstance(other, tuple) else None
    if here and (there is None or sort_key(here.path) < sort_key(there.path)):
        return Difference(here.path, "presence", _shape(here), "missing")
    if there and (here is None or sort_key(there.path) < sort_key(here.path)):
        return Difference(there.path, "presence", "missing", _shape(there))
    return None


def _shape(entry: Entry) -> str:
    return f"a file of {entry.size} bytes" if entry.kind is Kind.FILE else f"a {entry.kind.value}"


def _header(mine: Entry, other: Entry) -> Difference | None:
    for field in _FIELDS:
        if getattr(mine, field) != getattr(other, field):
            return Difference(mine.path, field, _said(mine, field), _said(other, field))
    return None


def _said(entry: Entry, field: str) -> str:
    match field:
        case "kind":
            return f"a {entry.kind.value}"
        case "mode":
            return f"{entry.mode:04o}"
        case "target":
            return repr(entry.target)
        case "xattrs":
            return ", ".join(f"{name}={value.hex()}" for name, value in entry.xattrs) or "none"
        case _:
            return str(getattr(entry, field))


def _content(mine: tuple[Entry, BinaryIO], other: tuple[Entry, BinaryIO]) -> Difference | None:
    (entry, left), (_, right) = mine, other
    at = 0
    while True:
        one, two = _exactly(left, CHUNK), _exactly(right, CHUNK)
        if one != two:
            first = _part(one, two)
            more = [_exactly(side, _SHOWN) for side in (left, right)]
            shown = [(data + rest)[first : first + _SHOWN] for data, rest in zip((one, two), more, strict=True)]
            ends = [
                data.hex(" ") if data else f"its end after {size} bytes"
                for data, size in zip(shown, (entry.size, other[0].size), strict=True)
            ]
            return Difference(entry.path, "content", ends[0], ends[1], at + first)
        if not one:
            return None
        at += len(one)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (data := stream.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _part(one: bytes, two: bytes) -> int:
    """The index of the first byte that two strings, which are not equal, do not share; found by halving."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
