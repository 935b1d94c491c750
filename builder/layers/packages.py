"""Reading the packages of a build: each at most once at a time, several side by side.

An image's packages are wanted in several places at nearly the same time: its layers, the root that its interpreter runs
in, and the sources of its bytecode. Decompressing debs is most of the work of each; of a wheel, installing it is.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from builder.layers.deb import Deb, read_deb
from builder.layers.entry import Entry
from builder.layers.wheel import wheel_entries
from builder.store.artifact import Artifact
from builder.store.blobs import Store


class PackageReader:
    """Reads packages from a store: debs are kept while somebody holds them, what wheels install for good.

    (A deb's contents are in memory, a wheel's entries only say where they are.)

    Args:
        store: has the packages.
        jobs: how many to read at a time; decompressors release the GIL.
    """

    def __init__(self, store: Store, jobs: int) -> None:
        self._store = store
        self._jobs = jobs
        self._held: WeakValueDictionary[str, Deb] = WeakValueDictionary()
        self._wheels: dict[tuple[str, str, int], list[Entry]] = {}
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

    def wheel(self, item: Artifact, *, python: str, epoch: int) -> list[Entry]:
        """What a wheel installs, as `builder.layers.wheel.wheel_entries` says.

        Raises:
            IntegrityError: it is not what the lock says, or is malformed.
        """
        with self._reading[item.sha256]:
            key = (item.sha256, python, epoch)
            if key not in self._wheels:
                path = self._store.verified(item.sha256, item.size)
                self._wheels[key] = wheel_entries(path, item, python=python, epoch=epoch)
            return self._wheels[key]

    def _one(self, item: Artifact) -> Deb:
        with self._reading[item.sha256]:
            deb = self._held.get(item.sha256)
            if deb is None:
                deb = read_deb(self._store.verified(item.sha256, item.size), item)
                self._held[item.sha256] = deb
            return deb
