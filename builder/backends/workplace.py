"""A private folder of the store for one run, gone afterwards however the run ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.store.atomic import faults, remove_tree
from builder.store.blobs import Store


@contextmanager
def workplace(store: Store) -> Iterator[Path]:
    """Make a folder, and remove it at the end.

    It is held by a lock, so what a killed process leaves is known as left over, and swept with the store's other
    remains.

    Raises:
        EnvironmentFault: the store cannot be written to, or is full.
    """
    place = store.temporary()
    with faults(place):
        place.mkdir()
        place.chmod(0o700)
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with faults(place):
            yield place
    except BaseException:
        with suppress(OSError):  # somebody who was told to end may still write there; what is said is why he was
            remove_tree(place)
        raise
    else:
        with faults(place):
            remove_tree(place)
    finally:
        os.close(handle)
