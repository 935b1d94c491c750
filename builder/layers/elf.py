"""The few facts about an ELF file that a dynamic linker asks for, read without loading it and within bounds.

System V ABI, chapters 4 and 5 (gABI). A file that is cut off or inconsistent counts as no library at all, which is
what ldconfig makes of it too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

MAGIC: Final = b"\x7fELF"
SHARED: Final = 3
"""`e_type` of shared objects and position-independent programs."""

_LOAD, _DYNAMIC, _INTERP, _PROPERTY = 1, 2, 3, 0x6474E553
_NULL, _NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 0, 1, 5, 10, 14, 15, 29
_MOST_SEGMENTS: Final = 256
_MOST_TAGS: Final = 4096
_MOST_STRINGS: Final = 16 << 20
_MOST_PATH: Final = 4096
_MOST_OFFSET: Final = 1 << 62
_MOST_PROPERTIES: Final = 4096
_NOTE_PROPERTY: Final = 5
_ISA_NEEDED: Final = 0xC0008002
"""GNU_PROPERTY_X86_ISA_1_NEEDED (x86-64 psABI, 11.2.1): bit n stands for level n + 1."""


@dataclass(frozen=True, slots=True)
class Elf:
    """What an ELF file says of itself; `machine` and `bits` as in its header, `interpreter` empty if it has none."""

    machine: int
    bits: int
    type: int
    interpreter: str
    soname: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    """Directories of DT_RUNPATH, or of DT_RPATH without one; `$ORIGIN` stands as written."""
    isa_level: int
    """How far above the baseline the x86-64 level is that the file is marked to need; 0 without a mark."""


def read_elf(file: BinaryIO) -> Elf | None:
    """Read an ELF file, or None if it is none or is malformed.

    Args:
        file: seekable, at its start.
    """
    head = file.read(64)
    if len(head) < 52 or head[:4] != MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):  # noqa: PLR2004
        return None
    try:
        return _read(file, head, wide=head[4] == 2, order="<" if head[5] == 1 else ">")  # noqa: PLR2004
    except (struct.error, UnicodeDecodeError, _Malformed):
        return None


class _Malformed(Exception):
    pass


def _read(file: BinaryIO, head: bytes, *, wide: bool, order: str) -> Elf:
    kind, machine = struct.unpack_from(order + "HH", head, 16)
    if wide:
        (table,) = struct.unpack_from(order + "Q", head, 32)
        entry, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (table,) = struct.unpack_from(order + "I", head, 28)
        entry, count = struct.unpack_from(order + "HH", head, 42)
    size = 56 if wide else 32
    if count > _MOST_SEGMENTS or (count and entry != size):
        raise _Malformed
    segments = []
    raw = _at(file, table, count * size)
    for start in range(0, count * size, size):
        if wide:
            tag, _, offset, address, _, length, memory, _ = struct.unpack_from(order + "IIQQQQQQ", raw, start)
        else:
            tag, offset, address, _, length, memory, _, _ = struct.unpack_from(order + "IIIIIIII", raw, start)
        segments.append((tag, offset, address, length, memory))
    interpreter, level = "", 0
    tags: list[tuple[int, int]] = []
    for tag, offset, _, length, _ in segments:
        if tag == _INTERP:
            interpreter = _at(file, offset, min(length, _MOST_PATH)).split(b"\0", 1)[0].decode()
        elif tag == _PROPERTY:
            level = _isa_level(_at(file, offset, min(length, _MOST_PROPERTIES)), 8 if wide else 4, order)
        elif tag == _DYNAMIC:
            step = 16 if wide else 8
            data = _at(file, offset, min(length, _MOST_TAGS * step) // step * step)
            tags = list(struct.iter_unpack(order + ("qQ" if wide else "iI"), data))
    strings = _strings(file, tags, segments)
    return Elf(machine, 64 if wide else 32, kind, interpreter, *_names(tags, strings), level)


def _isa_level(note: bytes, align: int, order: str) -> int:
    name, size, kind = struct.unpack_from(order + "III", note)
    if (name, kind, note[12:16]) != (4, _NOTE_PROPERTY, b"GNU\0"):
        return 0
    at, end = 16, min(16 + size, len(note))
    while at + 8 <= end:
        tag, length = struct.unpack_from(order + "II", note, at)
        if tag == _ISA_NEEDED:
            (mask,) = struct.unpack_from(order + "I", note, at + 8)
            return max(0, int(mask).bit_length() - 1)
        at += 8 + length + -length % align
    return 0


def _strings(file: BinaryIO, tags: list[tuple[int, int]], segments: list[tuple[int, int, int, int, int]]) -> bytes:
    values = dict(tags)
    if _STRTAB not in values or _STRSZ not in values:
        return b""
    address, size = values[_STRTAB], values[_STRSZ]
    if size > _MOST_STRINGS:
        raise _Malformed
    for tag, offset, start, length, _ in segments:
        if tag == _LOAD and start <= address < start + length:
            return _at(file, offset + address - start, size)
    raise _Malformed


def _names(tags: list[tuple[int, int]], strings: bytes) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    soname, needed, paths = "", [], {}
    for tag, value in tags:
        if tag == _NULL:
            break
        if tag in (_NEEDED, _SONAME, _RPATH, _RUNPATH):
            end = strings.find(b"\0", value)
            if not 0 <= value < end:
                if tag in (_RPATH, _RUNPATH) and value == end:
                    continue
                raise _Malformed
            text = strings[value:end].decode()
            if tag == _NEEDED:
                needed.append(text)
            elif tag == _SONAME:
                soname = text
            else:
                paths[tag] = text
    search = paths.get(_RUNPATH, paths.get(_RPATH, ""))
    return soname, tuple(needed), tuple(part for part in search.split(":") if part)


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset > _MOST_OFFSET:
        raise _Malformed
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise _Malformed
    return data
