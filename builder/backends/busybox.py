"""The static BusyBox that starts things where nothing else is: out of its deb, kept in the store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.deb import read_deb
from builder.platforms import Platform
from builder.store.artifact import Artifact
from builder.store.blobs import Store

PACKAGE = "busybox-static"
NAME = "busybox"

_PLACES = ("usr/bin/busybox", "bin/busybox")
"""Where Debian has it: since trixie, before."""


def busybox_deb(tools: Iterable[Artifact], host: Platform) -> Artifact:
    """The package among a lock's tools.

    Raises:
        EnvironmentFault: the lock names none for this platform.
    """
    for item in tools:
        if item.name == PACKAGE and "tools" in item.roles and host in item.platforms:
            return item
    raise EnvironmentFault(f"the lock names no {PACKAGE} for {host}", hint="run `kbuild lock` again")


def busybox(store: Store, deb: Artifact) -> Path:
    """A folder that holds the program and nothing else, under the name `busybox`.

    Args:
        store: has the package, and keeps the folder.
        deb: from `busybox_deb`.

    Raises:
        IntegrityError: the package does not hold it.
    """

    def make(folder: Path) -> None:
        entries = {entry.path: entry for entry in read_deb(store.verified(deb.sha256, deb.size), deb).entries}
        for path in _PLACES:
            entry = entries.get(path)
            if entry is not None and entry.source is not None:
                with entry.source() as content, (folder / NAME).open("xb") as out:
                    shutil.copyfileobj(content, out)
                (folder / NAME).chmod(0o755)
                return
        raise IntegrityError("holds no BusyBox", where=deb.name)

    return store.directory("roots", hashlib.sha256(f"busybox\0{deb.sha256}".encode()).hexdigest(), make)
