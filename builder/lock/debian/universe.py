"""All packages that one architecture can choose from, whichever suite offers them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from builder.lock.debian.packages import Package, Packages
from builder.lock.debian.relations import Relation
from builder.lock.debian.versions import version_key

_PRIORITIES = {"required": 0, "important": 1, "standard": 2, "optional": 3, "extra": 4}


@dataclass(frozen=True, slots=True)
class Option:
    """One way to satisfy a relation: any of these versions of a package, highest first."""

    name: str
    versions: tuple[str, ...]


class Universe:
    """Packages of one architecture (and of `all`) out of several suites.

    Looking is lazy and remembered; what is looked at never changes.

    Args:
        architecture: Debian's name of it.
        indexes: the suites' indexes. Where two offer the same version, the earlier one's file is taken.
    """

    def __init__(self, architecture: str, indexes: Sequence[Packages]) -> None:
        self.architecture = architecture
        self.suites = tuple(dict.fromkeys(index.suite for index in indexes))
        self._indexes = tuple(indexes)
        self._versions: dict[str, tuple[Package, ...]] = {}
        self._providers: dict[str, tuple[Package, ...]] = {}
        self._options: dict[Relation, tuple[Option, ...]] = {}

    def versions(self, name: str) -> tuple[Package, ...]:
        """The real packages of a name, highest version first."""
        if name not in self._versions:
            found: dict[object, Package] = {}
            for index in self._indexes:
                for package in index.named(name):
                    found.setdefault(version_key(package.version), package)
            packages = sorted(found.values(), key=lambda package: version_key(package.version), reverse=True)
            self._versions[name] = tuple(packages)
        return self._versions[name]

    def providers(self, name: str) -> tuple[Package, ...]:
        """The packages that provide a name: essential ones first, then by priority, name, and highest version.

        apt asks the same in the same order, as far as it has an answer on a system with nothing installed.
        """
        if name not in self._providers:
            names = {package.name for index in self._indexes for package in index.providing(name)}
            offered = [
                package
                for owner in sorted(names)
                for package in self.versions(owner)  # highest first, and one file for each version
                if any(provided.name == name for provided in package.provides)
            ]
            offered.sort(
                key=lambda package: (not package.essential, _PRIORITIES.get(package.priority, 5), package.name)
            )
            self._providers[name] = tuple(offered)
        return self._providers[name]

    def options(self, relation: Relation) -> tuple[Option, ...]:
        """How a relation can be satisfied: by the package of that name first, then by its providers in order."""
        if relation not in self._options:
            found: dict[str, list[str]] = {}
            for package in (*self.versions(relation.name), *self.providers(relation.name)):
                if self.meets(package, relation):
                    versions = found.setdefault(package.name, [])
                    if package.version not in versions:
                        versions.append(package.version)
            self._options[relation] = tuple(Option(name, tuple(versions)) for name, versions in found.items())
        return self._options[relation]

    def meets(self, package: Package, relation: Relation) -> bool:
        """Whether a package, by its name or what it provides, is what a dependency means.

        `name:any` means a package that says `Multi-Arch: allowed` (Debian policy, multiarch specification), `:native`
        and no qualifier mean this architecture, as its own name does; any other architecture is never here.
        """
        qualifier = relation.qualifier
        if qualifier not in ("", "any", "native", self.architecture):
            return False
        if package.name == relation.name and relation.admits(package.version):
            return qualifier != "any" or package.multi_arch == "allowed"
        return any(
            provided.name == relation.name
            and relation.admits(provided.version)
            and (qualifier != "any" or provided.qualifier == "any" or package.multi_arch == "allowed")
            for provided in package.provides
        )

    def hit(self, package: Package, relation: Relation) -> bool:
        """Whether a package, by its name or what it provides, is what a `Conflicts` or `Breaks` means."""
        if relation.qualifier not in ("", "any", "native", self.architecture):
            return False
        if package.name == relation.name and relation.admits(package.version):
            return True
        return any(
            provided.name == relation.name and relation.admits(provided.version) for provided in package.provides
        )

    def struck(self, package: Package) -> dict[str, tuple[str, ...]]:
        """What a package can't stand beside: versions by name. A package never strikes itself (policy 7.4)."""
        found: dict[str, dict[str, None]] = {}
        for relation in package.conflicts:
            for other in (*self.versions(relation.name), *self.providers(relation.name)):
                if other.name != package.name and self.hit(other, relation):
                    found.setdefault(other.name, {})[other.version] = None
        return {name: tuple(versions) for name, versions in found.items()}

    def like(self, name: str) -> tuple[str, ...]:
        """Up to three names that someone who wrote `name` may have meant."""
        names: set[str] = set().union(*(index.names() for index in self._indexes))
        # difflib over 100 000 names takes seconds; a typo keeps the length and most often a first letter.
        near = sorted(other for other in names if abs(len(other) - len(name)) <= 2 and other[:1] == name[:1])  # noqa: PLR2004
        return tuple(difflib.get_close_matches(name, near, n=3, cutoff=0.75))
