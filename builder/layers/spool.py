"""Decompressed bytes at rest, small ones in memory and large ones in an unlinked file, opened slice by slice.

A package's data arrives as one compressed stream but its files are wanted in another order, by several threads.
Everything is decompressed once, under a bound, and each file is then a window on the result.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

from builder.errors import EnvironmentFault, IntegrityError

_CHUNK = 1 << 20
_IN_MEMORY = 4 << 20
"""Bytes kept in memory per spool. An image has a hundred packages: at 4 MiB, those of Python's closure hold some 40 MB
in memory and the rest stands in the page cache."""

_SMALL = 1 << 16
_XZ_MEMORY = 192 << 20
"""`xz -9` needs 65 MiB to decompress; larger dictionaries are nobody's default."""

_ZSTD_WINDOW = 1 << 27
_ZSTD_FEED = 2048
"""zstd's decompressor takes no bound on its output: an RLE block turns 4 bytes into 128 KiB, so 2 KiB fed at once can
grow to 64 MiB at most."""

_MOST = 8 << 30
_RATIO = 400
_RATIO_FREE = 64 << 20
"""A stream may grow by `_RATIO` beyond its first 64 MiB; Debian's most compressible data stay below 100."""


_TRAILING = "bytes follow its end"


class _Decompressor(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def finished(self) -> bool: ...


class Spool:
    """Bytes written once from front to back, then read at any offset from any thread."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            EnvironmentFault: the temporary folder is full or not writable.
        """
        self.size += len(data)
        if self._file is None:
            self._memory += data
            if self.size <= _IN_MEMORY:
                return
            data, self._memory = bytes(self._memory), bytearray()
        try:
            if self._file is None:
                self._file = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise EnvironmentFault(
                f"cannot keep unpacked data in {tempfile.gettempdir()}: {error.strerror}",
                hint="free some space there, or set TMPDIR to a folder with more",
            ) from error

    def read(self, offset: int, size: int) -> bytes:
        """The `size` bytes at `offset`, or fewer where the spool ends before."""
        if self._file is None:
            return bytes(self._memory[offset : offset + size])
        parts = []
        while size > 0:
            part = os.pread(self._file.fileno(), size, offset)
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def open(self, offset: int, size: int) -> BinaryIO:
        """A reader of the `size` bytes at `offset` that keeps its own position."""
        if size <= _SMALL or self._file is None:
            return io.BytesIO(self.read(offset, size))
        return cast("BinaryIO", _Slice(self, offset, size))


class _Slice(io.RawIOBase):
    def __init__(self, spool: Spool, offset: int, size: int) -> None:
        super().__init__()
        self._spool = spool
        self._start = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._position)
        data = self._spool.read(self._start + self._position, left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


class _Bounded:
    """Adapts the standard library's decompressors, all of which can stop after `max_length` bytes."""

    def __init__(self, decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> None:
        self._decompressor = decompressor

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._decompressor.eof:
            out = self._decompressor.decompress(data, _CHUNK)
            if out:
                yield out
            data = b""
            if self._decompressor.needs_input or not out:
                return
        if data:
            raise ValueError(_TRAILING)

    def finished(self) -> bool:
        return self._decompressor.eof and not self._decompressor.unused_data


class _Gzip:
    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._decompressor.eof:
            out = self._decompressor.decompress(data, _CHUNK)
            if out:
                yield out
            data = self._decompressor.unconsumed_tail
        if data:
            raise ValueError(_TRAILING)

    def finished(self) -> bool:
        return self._decompressor.eof and not self._decompressor.unused_data


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415

        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_FEED):
            if self._decompressor.eof:
                raise ValueError(_TRAILING)
            yield self._decompressor.decompress(data[start : start + _ZSTD_FEED])

    def finished(self) -> bool:
        return self._decompressor.eof and not self._decompressor.unused_data


class _Stored:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finished(self) -> bool:
        return True


_FORMATS = (".gz", ".xz", ".zst", ".bz2", "")


def _decompressor(suffix: str) -> _Decompressor:
    match suffix:
        case ".xz":
            return _Bounded(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))
        case ".bz2":
            return _Bounded(bz2.BZ2Decompressor())
        case ".gz":
            return _Gzip()
        case ".zst":
            return _Zstd()
        case _:
            return _Stored()


def _foreign_errors() -> tuple[type[Exception], ...]:
    import zstandard  # noqa: PLC0415

    return lzma.LZMAError, zlib.error, OSError, EOFError, ValueError, zstandard.ZstdError


def decompress(file: BinaryIO, offset: int, size: int, suffix: str, where: str, *, most: int = _MOST) -> Spool:
    """Decompress the `size` bytes at `offset` of `file` into a spool.

    Args:
        file: seekable; read in order from `offset`.
        offset: where the compressed stream starts.
        size: its length in bytes; it has to fill that exactly.
        suffix: `.xz`, `.gz`, `.zst`, `.bz2`, or nothing for bytes that are not compressed.
        where: what to call the stream in errors.
        most: the most bytes that may come out.

    Raises:
        IntegrityError: the stream is malformed, truncated, followed by other bytes, or a bomb.
        EnvironmentFault: there is no room for what comes out.
    """
    if suffix not in _FORMATS:
        raise IntegrityError(f"the compression {suffix} is not one of Debian's", where=where)
    spool = Spool()
    decompressor = _decompressor(suffix)
    bound = min(most, _RATIO_FREE + _RATIO * size)
    file.seek(offset)
    try:
        for out in _pump(file, size, decompressor):
            if spool.size + len(out) > bound:
                raise IntegrityError(
                    f"{size} compressed bytes grow to more than {bound}: it looks like a bomb", where=where
                )
            spool.write(out)
    except _foreign_errors() as error:
        raise IntegrityError(f"a compressed stream is damaged: {error}", where=where) from error
    if not decompressor.finished():
        raise IntegrityError("a compressed stream is truncated, or other bytes follow it", where=where)
    return spool


def _pump(file: BinaryIO, size: int, decompressor: _Decompressor) -> Iterator[bytes]:
    while size:
        data = file.read(min(_CHUNK, size))
        if not data:
            raise EOFError("the file ends inside it")
        size -= len(data)
        yield from decompressor.feed(data)
