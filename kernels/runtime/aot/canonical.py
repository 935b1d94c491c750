"""The canonical form of an executable that XLA serialised: equal compilations give equal bytes.

XLA generates code for a program's parts side by side and writes the objects down in the order in which they were
finished (measured: three compilations of one program, three orders; sorted, one hash). Nothing refers to an object by
its place, for symbols are looked up by name. So the objects are put into the order of their own bytes.

The bytes are a message of XLA's IFRT layer with its length in front, then a message of PJRT's, both in protobuf's wire
format (https://protobuf.dev/programming-guides/encoding/), of which this needs fields and lengths only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

EXECUTABLE: Final = 1
"""Field of PJRT's `ExecutableAndOptionsProto` that holds XLA's `CompilationResultProto`."""
OBJECTS: Final = 8
"""Repeated field of `CompilationResultProto`: the object files."""

_LONGEST = 10
"""Bytes of the longest varint, one of 64 bits."""

Field = tuple[int, int, int, int]
"""Number, where the field begins, where its payload begins, where it ends."""


def canonical(serialised: bytes) -> bytes:
    """The same executable with its object files in order.

    Raises:
        ValueError: it is not of the form that jaxlib 0.10 writes.
    """
    length, begin = _varint(serialised, 0)
    header = begin + length
    if header > len(serialised):
        raise ValueError("an executable that ends within its header")
    outer = list(_fields(serialised, header, len(serialised)))
    results = [field for field in outer if field[0] == EXECUTABLE]
    if len(results) != 1:
        raise ValueError(f"an executable with {len(results)} results of a compilation")
    _, _, payload, end = results[0]
    inner = _sorted(serialised, payload, end)
    if len(inner) != end - payload:
        raise ValueError("an executable that changed its length when it was put in order")
    return serialised[:payload] + inner + serialised[end:]


def _sorted(data: bytes, begin: int, end: int) -> bytes:
    fields = list(_fields(data, begin, end))
    objects = iter(sorted(data[start:stop] for number, start, _, stop in fields if number == OBJECTS))
    return b"".join(next(objects) if number == OBJECTS else data[start:stop] for number, start, _, stop in fields)


def _fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    at = begin
    while at < end:
        start = at
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:  # a varint
                payload = at
                _, at = _varint(data, at)
            case 1:  # 64 bits
                payload, at = at, at + 8
            case 2:  # a length, and so many bytes
                length, payload = _varint(data, at)
                at = payload + length
            case 5:  # 32 bits
                payload, at = at, at + 4
            case other:
                raise ValueError(f"an executable with a field of wire type {other}")
        if at > end:
            raise ValueError("an executable that ends within a field")
        yield tag >> 3, start, payload, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST):
        if at + index >= len(data):
            raise ValueError("an executable that ends within a number")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value, at + index + 1
    raise ValueError("an executable with a number of more than 64 bits")
