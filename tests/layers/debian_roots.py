"""Real packages, resolved and fetched as a lock would have them; kept for the whole test run."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from builder.layers.deb import Deb, read_deb
from builder.lock.debian.archive import Archive
from builder.lock.debian.packages import artifact
from builder.lock.debian.solver import IMPLICIT, resolve
from builder.lock.debian.toolchain import tools_packages
from builder.lock.debian.universe import Universe
from builder.machine import from_environment
from builder.platforms import NAMES
from builder.progress import Silent
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.client import Client
from builder.store.registries import debian_bases, sources
from builder.store.transfer import Wanted, fetch

PLATFORMS = {names.debian: platform for platform, names in NAMES.items()}

_scratch = tempfile.TemporaryDirectory(prefix="kbuild-roots-")


@functools.cache
def store() -> Store:
    return Store(Path(_scratch.name))


@functools.cache
def universe(suite: str, architecture: str) -> Universe:
    machine = from_environment(os.environ)
    archive = Archive(
        lambda registry: debian_bases(registry, machine, None), Client(Patience()), store(), Silent(), datetime.now(UTC)
    )
    return archive.universes(suite, updates=True, architectures=[architecture])[0][architecture]


def debs(suite: str, architecture: str, roots: Sequence[str], *, implicit: Sequence[str] = IMPLICIT) -> list[Deb]:
    """The closure of some packages, fetched and read."""
    machine = from_environment(os.environ)
    there = universe(suite, architecture)
    found = [
        artifact(package, ["image"], [PLATFORMS[architecture]]) for package in resolve(roots, there, implicit=implicit)
    ]
    wanted = [Wanted(one.name, one.version, one.sha256, one.size, one.registry, one.path) for one in found]
    fetch(wanted, store(), lambda some: sources(some, machine, snapshots={}), Silent(), jobs=4)
    return [read_deb(store().verified(one.sha256, one.size), one) for one in found]


def emulator(suite: str, architecture: str) -> list[Deb]:
    """QEMU's user-mode emulators."""
    return debs(suite, architecture, tools_packages(universe(suite, architecture)), implicit=())
