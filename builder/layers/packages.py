"""Reading the packages of a build: each at most once at a time, several side by side.

An image's packages are wanted in three places at nearly the same time: its base layer, the root that its interpreter
runs in, and the sources of its bytecode. Decompressing them is most of the work of each.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from builder.layers.deb import Deb, read_deb
from builder.store.artifact import Artifact
from builder.store.blobs import Store


class PackageReader:
    """Reads debs from a store, and hands out what somebody still holds.

    Args:
        store: has the debs.
        jobs: how many to read at a time; decompressors release the GIL.
    """

    def __init__(self, store: Store, jobs: int) -> None:
        self._store = store
        self._jobs = jobs
        self._held: WeakValueDictionary[str, Deb] = WeakValueDictionary()
        self._reading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def read(self, artifacts: Sequence[Artifact]) -> list[Deb]:
        """The packages, in the order given.

        Raises:
            IntegrityError: one is not what the lock says, or is malformed.
        """
        order = sorted(range(len(artifacts)), key=lambda index: -artifacts[index].size)
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="deb") as pool:
            found = dict(zip(order, pool.map(self._one, (artifacts[index] for index in order)), strict=True))
        return [found[index] for index in range(len(artifacts))]

    def _one(self, item: Artifact) -> Deb:
        with self._reading[item.sha256]:
            deb = self._held.get(item.sha256)
            if deb is None:
                deb = read_deb(self._store.verified(item.sha256, item.size), item)
                self._held[item.sha256] = deb
            return deb
