"""The canonical tar: one tree, one sequence of bytes, written and read as a stream.

`docs/layer-format.md` is the normative text.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from builder.errors import IntegrityError
from builder.layers.digest import TreeDigest
from builder.layers.entry import Entry, Kind
from builder.layers.header import BLOCK, decode, encode, encoded_size, padding, pax_size
from builder.layers.order import check_entry, ordered, sort_key

__all__ = ["CHUNK", "END", "ordered", "ordered_size", "read_tar", "tar_chunks", "tar_entries", "tar_size", "write_tar"]

CHUNK = 2**20
"""Bytes read and handed on at once."""
END = bytes(2 * BLOCK)
MAX_ENTRIES = 2**20
"""Entries that a reader accepts in one tar."""


def tar_size(entries: Sequence[Entry]) -> int:
    """Exact length in bytes of what `write_tar` writes."""
    return ordered_size(ordered(entries))


def ordered_size(entries: Sequence[Entry]) -> int:
    """As `tar_size`, for entries that `ordered` returned."""
    return len(END) + sum(encoded_size(entry) + entry.size + padding(entry.size) for entry in entries)


def write_tar(entries: Sequence[Entry], out: Callable[[bytes], object]) -> None:
    """Write the canonical tar of a tree, in chunks of about a mebibyte.

    Args:
        entries: in any order; every parent stated (`ordered` with an epoch states them).
        out: takes the chunks.

    Raises:
        IntegrityError: the tree is not allowed (see `ordered`), or a source gives more or fewer bytes than its
            entry's size.
    """
    for chunk in tar_chunks(ordered(entries), None):
        out(chunk)


def tar_chunks(entries: Sequence[Entry], tree: TreeDigest | None) -> Iterator[bytes]:
    """The canonical tar of entries that `ordered` returned, in chunks of at least `CHUNK` bytes but the last.

    Large reads are handed on as they are; only headers and small files are copied, to be gathered.

    Args:
        entries: in canonical order.
        tree: takes each entry and its content's hash on the way.
    """
    pending: list[bytes] = []
    held = 0
    for piece in _pieces(entries, tree):
        if len(piece) >= CHUNK:
            if pending:
                yield b"".join(pending)
            yield piece
            pending, held = [], 0
            continue
        pending.append(piece)
        held += len(piece)
        if held >= CHUNK:
            yield b"".join(pending)
            pending, held = [], 0
    yield b"".join((*pending, END))


def read_tar(stream: BinaryIO, *, limit: int | None = None) -> Iterator[tuple[Entry, BinaryIO]]:
    """Read a canonical tar from anywhere; whatever `write_tar` would not have written is refused.

    So a reader meets only plain paths in order, below directories stated before, with hard links to files stated
    before, and no other kinds of object.

    Args:
        stream: read once, forward.
        limit: most bytes of content in all.

    Yields:
        Each entry (without a source) and its content, which is open until the next one is asked for.

    Raises:
        IntegrityError: the tar is truncated, too large, or not canonical.
    """
    order = _Order(limit)
    while (entry := _header(stream)) is not None:
        order.accept(entry)
        content = _Window(stream, entry.size, repr(entry.path))
        yield entry, cast("BinaryIO", content)
        content.drain()
        _skip_padding(stream, entry)
    if stream.read(1):
        raise IntegrityError("bytes after the end of the tar")


def tar_entries(path: Path, *, limit: int | None = None) -> list[Entry]:
    """Index a canonical tar on disk: its entries, with sources that open their part of the file.

    Args:
        path: of a file that nobody changes, such as a blob of the store.
        limit: most bytes of content in all.

    Raises:
        IntegrityError: as `read_tar`.
    """
    order = _Order(limit)
    found: list[Entry] = []
    with path.open("rb") as stream:
        while (entry := _header(stream)) is not None:
            order.accept(entry)
            if entry.kind is Kind.FILE:
                offset = stream.tell()
                entry = replace(entry, source=partial(open_part, path, offset, entry.size))
                stream.seek(entry.size, io.SEEK_CUR)
                _skip_padding(stream, entry)
            found.append(entry)
        if stream.read(1):
            raise IntegrityError("bytes after the end of the tar", where=path.name)
    return found


def _pieces(entries: Iterable[Entry], tree: TreeDigest | None) -> Iterator[bytes]:
    for entry in entries:
        yield encode(entry)
        if entry.kind is not Kind.FILE:
            if tree:
                tree.add(entry, "")
            continue
        content = None if entry.sha256 or tree is None else hashlib.sha256()
        for data in _content(entry):
            if content:
                content.update(data)
            yield data
        if tree:
            tree.add(entry, content.hexdigest() if content else entry.sha256)
        if gap := padding(entry.size):
            yield bytes(gap)


def _content(entry: Entry) -> Iterator[bytes]:
    if entry.source is None:
        if entry.size:
            raise IntegrityError("a file without a source", where=repr(entry.path))
        return
    with entry.source() as stream:
        left = entry.size
        while left:
            data = stream.read(min(left, CHUNK))
            if not data:
                raise IntegrityError(
                    f"its content ends after {entry.size - left} bytes; {entry.size} were promised",
                    where=repr(entry.path),
                )
            left -= len(data)
            yield data
        if stream.read(1):
            raise IntegrityError(f"its content goes on after the promised {entry.size} bytes", where=repr(entry.path))


class _Order:
    """Holds a stream of entries to canonical order, one at a time."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._count = 0
        self._bytes = 0
        self._last = b""
        self._folders: list[str] = []  # the open folders, outermost first
        self._files: dict[str, tuple[int, int, int, int]] = {}

    def accept(self, entry: Entry) -> None:
        where = repr(entry.path)
        self._count += 1
        self._bytes += entry.size
        if self._count > MAX_ENTRIES:
            raise IntegrityError(f"a tar of more than {MAX_ENTRIES} entries")
        if self._limit is not None and self._bytes > self._limit:
            raise IntegrityError(f"a tar that holds more than {self._limit} bytes", where=where)
        key = sort_key(entry.path)
        if key <= self._last:
            raise IntegrityError("a tar entry out of order, or stated twice", where=where)
        self._last = key
        parent = entry.path.rpartition("/")[0]
        while self._folders and self._folders[-1] != parent:
            self._folders.pop()
        if parent and not self._folders:
            raise IntegrityError(f"{parent!r} is not a folder stated before", where=where)
        if entry.kind is Kind.SYMLINK and entry.mode != 0o777:  # noqa: PLR2004
            raise IntegrityError(f"a symlink with mode {entry.mode:o}", where=where)
        facts = (entry.mode, entry.mtime, entry.uid, entry.gid)
        if entry.kind is Kind.DIRECTORY:
            self._folders.append(entry.path)
        elif entry.kind is Kind.FILE:
            self._files[entry.path] = facts
        elif entry.kind is Kind.HARDLINK and self._files.get(entry.target) != facts:
            raise IntegrityError(
                f"a hard link to {entry.target!r}, which is no file stated before, or has other metadata", where=where
            )


class _Window(io.RawIOBase):
    """A part of a stream, from where it stands, as a stream of its own."""

    def __init__(self, stream: BinaryIO, size: int, where: str, *, owner: bool = False) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._where = where
        self._owner = owner

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        wanted = min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        if wanted and not data:
            raise IntegrityError("the tar ends inside this file", where=self._where)
        self._left -= len(data)
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(CHUNK), b""))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        while self.read(CHUNK):
            pass

    def close(self) -> None:
        if self._owner:
            self._stream.close()
        super().close()


def open_part(path: Path, offset: int, size: int) -> BinaryIO:
    """The `size` bytes of a file from `offset` on, as a stream that owns the file."""
    stream = path.open("rb", buffering=0)
    stream.seek(offset)
    return cast("BinaryIO", _Window(cast("BinaryIO", stream), size, path.name, owner=True))


def _header(stream: BinaryIO) -> Entry | None:
    """The next entry, or None after the two zero blocks."""
    block = _exactly(stream, BLOCK)
    if not any(block):
        if any(_exactly(stream, BLOCK)):
            raise IntegrityError("a zero block inside the tar")
        return None
    raw, records = block, b""
    if (size := pax_size(block)) is not None:
        body = _exactly(stream, size + padding(size))
        block = _exactly(stream, BLOCK)
        raw, records = raw + body + block, body[:size]
    entry = decode(block, records)
    check_entry(entry)
    if encode(entry) != raw:
        raise IntegrityError("a tar header that is not in canonical form", where=repr(entry.path))
    return entry


def _skip_padding(stream: BinaryIO, entry: Entry) -> None:
    if any(_exactly(stream, padding(entry.size))):
        raise IntegrityError("bytes between two tar entries", where=repr(entry.path))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        data = stream.read(size)
        if not data:
            raise IntegrityError("the tar is truncated")
        parts.append(data)
        size -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
