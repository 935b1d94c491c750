"""How layer blobs are compressed, pinned so that equal tars give equal blobs everywhere.

Compressed bytes depend on libzstd's version, its parameters, whether it runs multi-threaded at all (not on how many
threads), and whether the content's size is declared; all of these are fixed here, and a golden vector is compressed
before the codec's first use. `docs/layer-format.md` is the normative text.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from typing import BinaryIO, Protocol, cast

from builder.errors import EnvironmentFault, IntegrityError
from builder.lock.model import Codec

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
LIBZSTD = "1.5.7"
BINDING = "0.25.0"
CODEC = Codec(name="zstd", version=LIBZSTD, level=3)
"""What this kbuild writes; goes into new locks."""
MAX_THREADS = 4
"""More would outrun SHA-256 of one core (1-2 GB/s), and each costs some 16 MiB of buffers."""
MAX_WINDOW = 2**27
"""Bytes of history that a blob to be read may ask for: what `zstd -d` takes by default."""

_FRAME_HEADER = 18
"""Bytes of the longest zstd frame header."""
_GOLDEN = "e8138ff63db6258b06997c53a732904c2f9fe2f8aac6d0be781a48117169d1fb"


class Compressor(Protocol):
    """One frame in the making."""

    def compress(self, data: bytes, /) -> bytes:
        """Take more content; give what is ready of the frame."""

    def flush(self) -> bytes:
        """End the frame."""


def check(codec: Codec) -> None:
    """Make sure that this process writes the very bytes that `codec` stands for.

    Raises:
        EnvironmentFault: it names another compressor than this kbuild has, or this one's output is not as pinned.
    """
    if codec != CODEC:
        raise EnvironmentFault(
            f"the lock's layers are compressed with {_name(codec)}; this kbuild writes {_name(CODEC)}",
            hint="use the kbuild that wrote the lock, or run `kbuild lock --upgrade`",
        )
    _self_test()


def compressor(codec: Codec, size: int, *, threads: int = 1) -> Compressor:
    """Begin a frame over content of exactly `size` bytes.

    Args:
        codec: from the lock; checked.
        size: declared in the frame; another length is refused by libzstd at the end.
        threads: how many to use; has no influence on the bytes.
    """
    check(codec)
    return _compressor(codec.level, size, threads)


def decompressed(stream: BinaryIO, *, size: int | None = None, where: str = "layer") -> BinaryIO:
    """Read a zstd blob's content, bounded.

    Args:
        stream: the blob; closed with what is returned.
        size: the exact length of its content, where that is known.
        where: what to call it in errors.

    Returns:
        A stream that raises `IntegrityError` where the blob is malformed, has trailing bytes, or is longer or shorter
        than `size`. (Only a cut through the frame's last four bytes, its checksum, goes unseen: libzstd does not tell.
        What guards a blob is its own digest.)
    """
    return cast("BinaryIO", _Decompressed(stream, size, where))


def _name(codec: Codec) -> str:
    return f"{codec.name} {codec.version} at level {codec.level}"


def _compressor(level: int, size: int, threads: int) -> Compressor:
    import zstandard  # noqa: PLC0415

    # threads=1 is multi-threaded mode with one worker; 0 would be the single-threaded mode with other bytes.
    return zstandard.ZstdCompressor(
        level=level,
        threads=max(1, min(threads, MAX_THREADS)),
        write_content_size=True,
        write_checksum=True,
        write_dict_id=False,
    ).compressobj(size=size)


@cache
def _self_test() -> None:
    """Compress a fixed vector and compare; once per process, some 15 ms."""
    import zstandard  # noqa: PLC0415

    linked = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
    if linked != LIBZSTD or zstandard.__version__ != BINDING or zstandard.backend != "cext":
        raise EnvironmentFault(
            f"layers are compressed by libzstd {LIBZSTD} through zstandard {BINDING} (cext); this Python has libzstd "
            f"{linked} through zstandard {zstandard.__version__} ({zstandard.backend})",
            hint=f"install the wheel zstandard=={BINDING} from PyPI in place of a distribution's build",
        )
    data = _vector()
    stream = _compressor(CODEC.level, len(data), 1)
    found = hashlib.sha256(stream.compress(data) + stream.flush()).hexdigest()
    if found != _GOLDEN:
        raise EnvironmentFault(
            f"zstandard {BINDING} with libzstd {LIBZSTD} compresses the test vector to {found}, not to {_GOLDEN}",
            hint=f"reinstall the wheel zstandard=={BINDING}; if it persists, this CPU's build of libzstd differs",
        )


def _vector() -> bytes:
    """2 MiB with matches at many distances, enough for libzstd to stay in multi-threaded mode."""
    noise = hashlib.shake_256(b"kbuild codec").digest(2**18)
    pieces = (noise[at : at + 16 + noise[at] * 2] for at in (index * index * 37 % 2**18 for index in range(8000)))
    return b"".join(pieces)[: 2**21]


class _Decompressed(io.RawIOBase):
    """Bounds a decompressor and turns its errors into ours."""

    def __init__(self, stream: BinaryIO, size: int | None, where: str) -> None:
        super().__init__()
        import zstandard  # noqa: PLC0415

        self._stream = stream
        self._where = where
        self._failure = zstandard.ZstdError
        start = stream.read(_FRAME_HEADER)
        try:
            declared = zstandard.get_frame_parameters(start).content_size
        except zstandard.ZstdError as error:
            raise IntegrityError("not a zstd blob", where=where) from error
        if declared in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise IntegrityError("a zstd blob that does not declare its content's size", where=where)
        if size is not None and declared != size:
            raise IntegrityError(f"a zstd blob of {declared} bytes of content, not {size}", where=where)
        self._left = declared
        # Reading on after the frame finds trailing bytes: they are no frame, or one that adds to the size.
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(
            cast("BinaryIO", _Rejoined(start, stream)), read_across_frames=True
        )

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        try:
            data = self._reader.read(size)
        except self._failure as error:
            raise IntegrityError(f"a malformed zstd blob ({error})", where=self._where) from error
        self._left -= len(data)
        if self._left < 0 or (size and not data and self._left):
            raise IntegrityError("a zstd blob whose content is not of its declared size", where=self._where)
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(2**20), b""))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._rest.read(size)
