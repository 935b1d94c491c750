"""What an earlier lock asks a new resolution to keep: nothing moves unless someone wants it to.

`kbuild lock` takes the locked version of everything while the registries still offer it and it still satisfies;
`--upgrade` forgets all of it, `--upgrade NAME` forgets NAME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from packaging.utils import canonicalize_name

from builder.errors import UsageError
from builder.lock.debian.packages import Package
from builder.lock.debian.universe import Universe
from builder.lock.model import Index, Lock
from builder.platforms import Platform
from builder.store.artifact import Artifact, Role


class Everything(Enum):
    """See `ALL`."""

    ALL = "everything"


ALL: Final = Everything.ALL
"""Upgrade whatever can be."""

Upgrade = frozenset[str] | Everything | None
"""Names of packages, projects or weights; all of them; or none."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The artifacts of an earlier lock that are to stay; all its Debian packages, and the indexes they came from."""

    artifacts: tuple[Artifact, ...] = ()
    debs: tuple[Artifact, ...] = ()
    index: tuple[Index, ...] = ()

    def versions(self, kind: str, role: Role, platform: Platform) -> dict[str, str]:
        """The versions to stay at, by name."""
        return {
            item.name: item.version
            for item in self.artifacts
            if item.kind == kind and role in item.roles and platform in item.platforms
        }

    def weights(self) -> tuple[Artifact, ...]:
        """The weights to stay with."""
        return tuple(item for item in self.artifacts if item.kind == "weights")

    def indexes(self, debs: Sequence[Artifact], fresh: tuple[Index, ...]) -> tuple[Index, ...]:
        """The indexes that a new lock should name: the earlier ones, if they lead to just the same packages.

        The archive signs its indexes anew several times a day; a lock and its epoch, and with it every digest, only
        change when something in them does.
        """

        def suites(indexes: Sequence[Index]) -> list[tuple[str, str]]:
            return sorted((item.registry, item.suite) for item in indexes)

        same = set(debs) == set(self.debs) and suites(fresh) == suites(self.index)
        return self.index if same else fresh


def kept(previous: Lock | None, upgrade: Upgrade) -> Kept:
    """What is left of an earlier lock when some of it is to be upgraded.

    A Debian source makes several packages of one version that need each other exactly, so those that are locked at
    the same version as a named one are let go with it.

    Raises:
        UsageError: a name is not in the earlier lock.
    """
    if previous is None:
        return Kept()
    debs = tuple(item for item in previous.artifact if item.kind == "deb")
    if upgrade is ALL:
        return Kept((), debs, previous.index)
    names = frozenset() if upgrade is None else upgrade
    projects: set[str] = {canonicalize_name(name) for name in names}
    named = {item for item in previous.artifact if _is_named(item, names, projects)}
    known = {item.name for item in named}
    if unknown := sorted(name for name in names if not known & {name, canonicalize_name(name)}):
        raise UsageError(
            f"{', '.join(unknown)}: not in the lock, so there is nothing to upgrade",
            hint="name a Debian package, a Python project or weights of the lock; --upgrade alone upgrades everything",
        )
    sources = {item.version for item in named if item.kind == "deb"}
    stay = tuple(
        item for item in previous.artifact if item not in named and not (item.kind == "deb" and item.version in sources)
    )
    return Kept(stay, debs, previous.index)


def _is_named(item: Artifact, names: frozenset[str] | set[str], projects: set[str]) -> bool:
    return item.name in (projects if item.kind == "wheel" else names)


class Keeping(Universe):
    """A universe whose choosers meet the kept version of each package first, and the others as before.

    Args:
        universe: what there is.
        versions: what to prefer, by name; a version that is no longer offered counts for nothing.
    """

    def __init__(self, universe: Universe, versions: Mapping[str, str]) -> None:
        super().__init__(universe.architecture, ())
        self.suites = universe.suites
        self._all = universe
        self._kept = versions

    def versions(self, name: str) -> tuple[Package, ...]:
        """The real packages of a name: the kept version, then the highest first."""
        packages = self._all.versions(name)
        kept_version = self._kept.get(name)
        return tuple(sorted(packages, key=lambda package: package.version != kept_version))

    def providers(self, name: str) -> tuple[Package, ...]:
        """As the whole universe has them."""
        return self._all.providers(name)

    def like(self, name: str) -> tuple[str, ...]:
        """As the whole universe has them."""
        return self._all.like(name)
