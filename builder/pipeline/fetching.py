"""Bringing a lock's artifacts into the store from wherever this machine gets them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from builder.lock.model import Lock
from builder.machine import Machine
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store
from builder.store.registries import sources
from builder.store.transfer import Wanted, fetch


def bring(artifacts: Sequence[Artifact], lock: Lock, machine: Machine, store: Store, progress: Progress) -> None:
    """Have these artifacts in the store afterwards.

    Raises:
        EnvironmentFault: something is missing and the machine is offline.
        FetchError: no source delivered one of them.
        IntegrityError: its sources have other bytes than the lock names.
    """
    wanted = [Wanted(item.name, item.version, item.sha256, item.size, item.registry, item.path) for item in artifacts]
    where = partial(sources, machine=machine, snapshots=dates(lock))
    fetch(wanted, store, where, progress, jobs=max(4, 2 * machine.jobs), offline=machine.offline)


def dates(lock: Lock) -> dict[str, str]:
    """The newest index of each registry: the moment for which the snapshot archive has everything."""
    dates: dict[str, str] = {}
    for index in lock.index:
        dates[index.registry] = max(dates.get(index.registry, ""), index.date)
    return dates
