"""What the solver decides about, and what holds a decision down; see `solver`."""

from __future__ import annotations

from dataclasses import dataclass

from builder.lock.debian.packages import Package
from builder.lock.debian.relations import Group
from builder.lock.debian.universe import Option, Universe


@dataclass(frozen=True, slots=True)
class Want:
    """One of `versions` of package `name`; `text` is how the asker put it."""

    name: str
    versions: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Avoid:
    """None of `versions` of package `name`."""

    name: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of `options`, which are what `group` comes to; with no option it can't be had."""

    options: tuple[Option, ...]
    group: Group

    @property
    def key(self) -> str:
        """The name of the decision: equal options are one decision. The bar keeps it apart from package names."""
        return "|" + "|".join(f"{option.name}={','.join(option.versions)}" for option in self.options)


@dataclass(frozen=True, slots=True)
class Absent:
    """The decision to have no package of a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision for one option of a `OneOf`."""

    key: str
    option: Option
    text: str


Requirement = Want | Avoid | OneOf
Candidate = Package | Absent | Choice


def spell(group: Group) -> str:
    """A group as a control file writes it."""
    return " | ".join(map(str, group))


def require(group: Group, universe: Universe) -> Want | OneOf:
    """A dependency, with its relations evaluated against what there is."""
    merged: dict[str, list[str]] = {}
    for relation in group:
        for option in universe.options(relation):
            versions = merged.setdefault(option.name, [])
            versions += [version for version in option.versions if version not in versions]
    options = tuple(Option(name, tuple(versions)) for name, versions in merged.items())
    if len(options) == 1:
        return Want(options[0].name, options[0].versions, spell(group))
    return OneOf(options, group)


def needs(package: Package, universe: Universe) -> tuple[Requirement, ...]:
    """All that a package asks of the others; what it meets itself, it does not ask for."""
    struck = [Avoid(name, versions) for name, versions in universe.struck(package).items()]
    groups = [
        require(group, universe)
        for group in package.depends
        if not any(universe.meets(package, relation) for relation in group)
    ]
    return (*struck, *groups)
