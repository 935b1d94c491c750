"""From a layer blob back to its tree, every identity checked on the way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from builder.errors import IntegrityError
from builder.layers.codec import decompressed
from builder.layers.entry import Entry, Layer
from builder.layers.tar import CHUNK, read_tar
from builder.store.blobs import Store


def open_tar(store: Store, layer: Layer) -> BinaryIO:
    """The layer's tar as a stream, read from the store's blob.

    Returns:
        A stream of `layer.tar_size` bytes; its end raises `IntegrityError` if they do not have the diff ID.

    Raises:
        EnvironmentFault: the blob is not in the store.
        IntegrityError: it is corrupt, or no zstd frame of that size.
    """
    hex_digest = layer.digest.removeprefix("sha256:")
    store.verified(hex_digest, layer.size)
    blob = store.open(hex_digest)
    try:
        content = decompressed(blob, size=layer.tar_size, where=f"layer {layer.name}")
    except BaseException:
        blob.close()
        raise
    return cast("BinaryIO", _Checked(content, layer))


def read_layer(store: Store, layer: Layer) -> Iterator[tuple[Entry, BinaryIO]]:
    """The layer's entries and their contents, as `read_tar` gives them; the diff ID is known to be right at the end."""
    with open_tar(store, layer) as stream:
        yield from read_tar(stream, limit=layer.tar_size)


class _Checked(io.RawIOBase):
    """Hashes a stream and compares at its end."""

    def __init__(self, stream: BinaryIO, layer: Layer) -> None:
        super().__init__()
        self._stream = stream
        self._layer = layer
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = self._stream.read(size)
        self._hash.update(data)
        if size and not data:
            found = f"sha256:{self._hash.hexdigest()}"
            if found != self._layer.diff_id:
                raise IntegrityError(
                    f"its tar is {found}, not the promised {self._layer.diff_id}", where=f"layer {self._layer.name}"
                )
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(CHUNK), b""))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
