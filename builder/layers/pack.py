"""From a tree to a layer blob in one pass: tar, its digest, the tree's digest, zstd, its digest.

The calling thread reads sources and hashes contents, one thread hashes the tar, one feeds zstd (which has threads of
its own) and writes the blob. hashlib and zstandard release the GIL, so these run side by side. Chunks are shared,
never copied, and at most `DEPTH` wait in each lane.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from builder.layers import codec as codecs
from builder.layers.digest import TreeDigest
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.tar import ordered, ordered_size, tar_chunks
from builder.lock.model import Codec
from builder.machine import usable_cores
from builder.store.blobs import Store

DEPTH = 4
"""Chunks (1 to 2 MiB each) that may wait in a lane."""


def pack(name: str, entries: Sequence[Entry], store: Store, codec: Codec, *, threads: int | None = None) -> Layer:
    """Pack a tree into a layer blob.

    Args:
        name: of the layer, for people.
        entries: in any order, every parent stated (`ordered` with an epoch states them).
        store: takes the blob; keeps nothing if packing fails.
        codec: from the lock.
        threads: for compression, default the usable cores; has no influence on the bytes.

    Raises:
        IntegrityError: the tree is not allowed, or a source is not of its promised size.
        EnvironmentFault: this machine cannot write the codec's bytes, or the store cannot take them.
    """
    entries = ordered(entries)
    total = ordered_size(entries)
    zstd = codecs.compressor(codec, total, threads=threads or usable_cores())
    tree, diff = TreeDigest(), hashlib.sha256()
    with store.writer() as writer:

        def compress(chunk: bytes) -> None:
            writer.write(zstd.compress(chunk))

        with _Lane("kbuild diff-id", diff.update) as hashing, _Lane("kbuild zstd", compress) as compressing:
            for chunk in tar_chunks(entries, tree):
                hashing.feed(chunk)
                compressing.feed(chunk)
        writer.write(zstd.flush())
        digest = writer.commit()
    return Layer(
        name=name,
        tree_digest=tree.digest(),
        diff_id=f"sha256:{diff.hexdigest()}",
        digest=f"sha256:{digest}",
        size=writer.size,
        tar_size=total,
        files=sum(entry.kind is not Kind.DIRECTORY for entry in entries),
        media_type=codecs.MEDIA_TYPE,
    )


class _Lane:
    """A thread that hands chunks to a function, in order; leaving the `with` block waits for it."""

    def __init__(self, name: str, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._queue: queue.Queue[bytes | None] = queue.Queue(DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def feed(self, chunk: bytes) -> None:
        """Hand over a chunk; waits while `DEPTH` are waiting.

        Raises:
            BaseException: what the function raised at an earlier chunk.
        """
        if self._error:
            raise self._error
        self._queue.put(chunk)

    def _run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._work(chunk)
                except BaseException as error:  # noqa: BLE001  # raised again where the lane is fed or left
                    self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error
