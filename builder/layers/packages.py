"""Reading many packages at once: decompression takes most of the time, and the decompressors release the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from builder.layers.deb import Deb, read_deb
from builder.machine import usable_cores
from builder.store.artifact import Artifact
from builder.store.blobs import Store


def read_debs(store: Store, artifacts: Sequence[Artifact]) -> list[Deb]:
    """Read debs from the store, in the order given; the largest are begun first.

    Raises:
        IntegrityError: one is not what the lock says, or is malformed.
    """

    def read(item: Artifact) -> Deb:
        return read_deb(store.verified(item.sha256, item.size), item)

    order = sorted(range(len(artifacts)), key=lambda index: -artifacts[index].size)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="deb") as pool:
        found = dict(zip(order, pool.map(read, (artifacts[index] for index in order)), strict=True))
    return [found[index] for index in range(len(artifacts))]
