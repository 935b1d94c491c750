"""A zip archive that every reader understands the same way, and bounded readers of its members.

The format leaves room for archives that two tools unpack differently: members that the directory does not list, two
members of one name, bytes before, between or behind the members, headers that contradict the directory. All of these
are refused, so whoever scanned a wheel has seen what the image gets. APPNOTE.TXT is PKWARE's specification of the
format.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from isal import isal_zlib

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.order import check_path

_CHUNK = 1 << 20
_SMALL = 1 << 18
"""Members up to this many bytes are read whole when they are opened."""

_MOST_MEMBERS = 0xFFFE  # more need zip64
_MOST_DIRECTORY = 64 << 20
_RATIO = 1000
_RATIO_FREE = 64 << 20
"""Deflate reaches 1032:1 on zeros; a member above 64 MiB that comes near is a bomb."""

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UNKNOWN = 0xFFFFFFFF  # "see the zip64 field"

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11
_STORED, _DEFLATED = 0, 8
_DESCRIPTORS = (12, 16, 20, 24)
_UNICODE_PATH = 0x7075


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive: `size` bytes, `packed` of them compressed, from `start` in the archive."""

    name: str
    size: int
    packed: int
    deflated: bool
    executable: bool
    start: int


class Archive:
    """An open archive: its regular files by name. It may be read by several threads at once.

    Args:
        path: of the archive.
        where: what to call it in errors.

    Raises:
        IntegrityError: the archive is malformed, ambiguous, or holds something that no image may hold.
    """

    def __init__(self, path: Path, where: str) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise EnvironmentFault(f"cannot open {path}: {error.strerror}", where=where) from error
        weakref.finalize(self, os.close, self._handle)
        self.where = where
        self.members: Mapping[str, Member] = _members(self._handle, where)

    def open(self, name: str, checksum: tuple[str, bytes] | None = None) -> BinaryIO:
        """A reader of one member that gives exactly the promised bytes.

        Args:
            name: of the member.
            checksum: name of a hash and its value over the content, checked when the last byte is read.

        Raises:
            IntegrityError: here or while reading: the compressed data are damaged, hold more or fewer bytes than
                promised, or have another checksum.
        """
        member = self.members[name]
        reader = _Reader(self, member, checksum)
        if member.size <= _SMALL:
            return io.BytesIO(reader.readall())
        return cast("BinaryIO", reader)

    def read(self, name: str, most: int) -> bytes:
        """A whole member of at most `most` bytes.

        Raises:
            IntegrityError: it is missing, larger, or damaged.
        """
        member = self.members.get(name)
        if member is None:
            raise IntegrityError(f"{name} is missing", where=self.where)
        if member.size > most:
            raise IntegrityError(f"{name} holds {member.size} bytes; {most} are plausible", where=self.where)
        return _Reader(self, member, None).readall()

    def raw(self, offset: int, size: int) -> bytes:
        """The archive's own bytes, compressed as they are."""
        return os.pread(self._handle, size, offset)


class _Reader(io.RawIOBase):
    """One member's content, inflated as it is read, never more than a chunk ahead."""

    def __init__(self, archive: Archive, member: Member, checksum: tuple[str, bytes] | None) -> None:
        super().__init__()
        self._archive = archive
        self._member = member
        self._offset = member.start
        self._packed = member.packed
        self._left = member.size
        self._inflate = isal_zlib.decompressobj(wbits=-15) if member.deflated else None
        self._pending = b""
        self._hash = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
        self._expected = checksum[1] if checksum else b""
        if not self._left:
            self._finish()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        wanted = min(size, self._left, _CHUNK)
        if not wanted:
            return b""
        data = self._more(wanted)
        if not data:
            raise self._damaged(f"ends {self._left} bytes too early")
        self._left -= len(data)
        if self._hash is not None:
            self._hash.update(data)
        if not self._left:
            self._finish()
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(_CHUNK), b""))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _more(self, wanted: int) -> bytes:
        if self._inflate is None:
            return self._take(wanted)
        while not self._inflate.eof:
            source = self._pending or self._take(_CHUNK)
            try:
                data = self._inflate.decompress(source, wanted)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub states no base class
                raise self._damaged(f"does not decompress ({error})") from error
            self._pending = self._inflate.unconsumed_tail
            if data or not (source or self._pending):
                return data
        return b""

    def _take(self, wanted: int) -> bytes:
        data = self._archive.raw(self._offset, min(wanted, self._packed))
        self._offset += len(data)
        self._packed -= len(data)
        return data

    def _finish(self) -> None:
        """The last promised byte is out: nothing may follow, and the checksum has to agree."""
        if self._inflate is not None:
            surplus = self._more(1)
            if surplus or not self._inflate.eof or self._inflate.unused_data:
                raise self._damaged(f"is not {self._member.size} bytes as promised")
        if self._packed:
            raise self._damaged(f"is not {self._member.packed} compressed bytes as promised")
        if self._hash is not None and self._hash.digest() != self._expected:
            raise self._damaged(f"has another {self._hash.name} than its archive records")

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._member.name} {what}", where=self._archive.where)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the central directory."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    header: int


def _members(handle: int, where: str) -> dict[str, Member]:
    rows, directory = _directory(handle, where)
    members: dict[str, Member] = {}
    folders: set[str] = set()
    end = 0
    for row in sorted(rows, key=lambda row: row.header):
        start = _after_local_header(handle, row, end, where)
        end = start + row.packed
        if row.flags & _DESCRIPTOR:
            end = _after_descriptor(handle, row, end, where)
        _check_row(row, where)
        if row.name.endswith("/"):
            folders.add(row.name[:-1])
            continue
        if row.name in members:
            raise IntegrityError(f"{row.name} is there twice", where=where)
        executable = stat.S_ISREG(row.mode) and bool(row.mode & 0o111)
        members[row.name] = Member(row.name, row.size, row.packed, row.method == _DEFLATED, executable, start)
    if end != directory:
        raise IntegrityError(f"{directory - end} bytes between the last member and the directory", where=where)
    _check_tree(members, folders, where)
    return members


def _directory(handle: int, where: str) -> tuple[list[_Row], int]:
    """The rows of the central directory, and where it begins."""
    length = os.fstat(handle).st_size
    if length < _END.size:
        raise IntegrityError("too short for a zip archive", where=where)
    mark, disk, first_disk, here, count, size, offset, comment = _END.unpack(
        os.pread(handle, _END.size, length - _END.size)
    )
    if mark != b"PK\5\6" or comment or disk or first_disk or here != count:
        raise IntegrityError("not a plain zip archive: it does not end with its directory", where=where)
    if _UNKNOWN in (offset, size) or count > _MOST_MEMBERS:
        raise IntegrityError("a zip64 archive: larger than 4 GiB or 65,534 members", where=where)
    if offset + size != length - _END.size or size > _MOST_DIRECTORY:
        raise IntegrityError("its directory is not where the archive says, or is not plausible", where=where)
    data = os.pread(handle, size, offset)
    rows: list[_Row] = []
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"PK\1\2" or at + _CENTRAL.size > len(data):
            raise IntegrityError("its directory is malformed", where=where)
        row = _CENTRAL.unpack_from(data, at)
        names, extras, comments = row[10:13]
        raw = data[at + _CENTRAL.size : at + _CENTRAL.size + names]
        extra = data[at + _CENTRAL.size + names : at + _CENTRAL.size + names + extras]
        at += _CENTRAL.size + names + extras + comments
        if at > len(data):
            raise IntegrityError("its directory is malformed", where=where)
        rows.append(_row(row, raw, extra, where))
    if len(rows) != count:
        raise IntegrityError(f"its directory has {len(rows)} rows, not {count}", where=where)
    return rows, offset


def _row(row: tuple[int, ...], raw: bytes, extra: bytes, where: str) -> _Row:
    flags, method, crc, packed, size, attributes, header = (row[index] for index in (3, 4, 7, 8, 9, 15, 16))
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"the name {raw[:60]!r} is in no stated encoding", where=where) from error
    while len(extra) >= 4:  # noqa: PLR2004 - APPNOTE 4.5.1: id and length, two bytes each
        kind, length = struct.unpack_from("<2H", extra)
        if kind == _UNICODE_PATH:
            raise IntegrityError(f"{name!r} has a second name", where=where)
        extra = extra[4 + length :]
    return _Row(raw, name, flags, method, crc, packed, size, attributes >> 16, header)


def _after_local_header(handle: int, row: _Row, expected: int, where: str) -> int:
    """Where a member's data begin; its own header has to say what the directory says."""
    if row.header != expected:
        raise IntegrityError(f"{row.name!r} begins at byte {row.header}, not at {expected}", where=where)
    head = os.pread(handle, _LOCAL.size + len(row.raw), row.header)
    if len(head) != _LOCAL.size + len(row.raw) or not head.startswith(b"PK\3\4"):
        raise IntegrityError(f"{row.name!r} has no header", where=where)
    _, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL.unpack_from(head)
    same = head[_LOCAL.size :] == row.raw and names == len(row.raw) and (flags, method) == (row.flags, row.method)
    if flags & _DESCRIPTOR:
        same = same and crc in (0, row.crc)
    else:
        same = same and crc == row.crc and packed in (row.packed, _UNKNOWN) and size in (row.size, _UNKNOWN)
    if not same:
        raise IntegrityError(f"{row.name!r} has a header that contradicts the directory", where=where)
    return row.header + len(head) + cast("int", extras)


def _after_descriptor(handle: int, row: _Row, end: int, where: str) -> int:
    """Skip the data descriptor (APPNOTE 4.3.9): with or without a mark, sizes of four or eight bytes."""
    data = os.pread(handle, max(_DESCRIPTORS), end)
    for mark in (b"PK\7\10", b""):
        for form in ("<3L", "<LQQ"):
            body = mark + struct.pack(form, row.crc, row.packed, row.size)
            if data.startswith(body):
                return end + len(body)
    raise IntegrityError(f"{row.name!r} has a trailer that contradicts the directory", where=where)


def _check_row(row: _Row, where: str) -> None:
    folder = row.name.endswith("/")
    check_path(row.name[:-1] if folder else row.name, where)
    if "\\" in row.name or row.name[1:2] == ":" or not row.name.isprintable():
        raise IntegrityError(f"{row.name!r} is not a portable name", where=where)
    if row.flags & _ENCRYPTED:
        raise IntegrityError(f"{row.name!r} is encrypted", where=where)
    if row.method not in (_STORED, _DEFLATED) or (row.method == _STORED and row.size != row.packed):
        raise IntegrityError(f"{row.name!r} is neither stored nor deflated", where=where)
    if stat.S_IFMT(row.mode) not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise IntegrityError(f"{row.name!r} is no regular file: a link or device has no place here", where=where)
    if folder and row.size:
        raise IntegrityError(f"{row.name!r} is a folder with content", where=where)
    if _UNKNOWN in (row.size, row.packed):
        raise IntegrityError(f"{row.name!r} is larger than 4 GiB", where=where)
    if row.size > _RATIO_FREE and row.size > _RATIO * max(row.packed, 1):
        raise IntegrityError(f"{row.name!r} grows from {row.packed} to {row.size} bytes: a bomb", where=where)


def _check_tree(members: Mapping[str, Member], folders: set[str], where: str) -> None:
    for name in members:
        parent = name.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    for name in members:
        if name in folders:
            raise IntegrityError(f"{name!r} is both a file and a folder", where=where)
