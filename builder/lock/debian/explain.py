"""Why there is no answer, in words that name who asked for what, and what there is instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.errors import ResolveError
from builder.lock.debian.packages import Package
from builder.lock.debian.relations import Relation
from builder.lock.debian.requirements import Avoid, Candidate, Choice, OneOf, Requirement, Want, needs, spell
from builder.lock.debian.universe import Option, Universe

_MOST = 8
"""Findings, versions or providers that one message lists."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A requirement that could not be met beside others, and the decision that brought it; None is a root."""

    requirement: Requirement
    parent: Candidate | None


def _where(universe: Universe) -> str:
    return f"Debian {', '.join(universe.suites)} for {universe.architecture}"


def _listing(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_MOST])
    return f"{shown} and {len(items) - _MOST} more" if len(items) > _MOST else shown


def no_such_package(root: str, universe: Universe) -> ResolveError:
    """A root that nothing has or provides."""
    name = root.partition("=")[0]
    near = universe.like(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "look for its name in this release, or choose another one"
    return ResolveError(f"there is no package {name}", where=_where(universe), hint=hint)


def no_such_version(name: str, version: str, universe: Universe) -> ResolveError:
    """A root pinned to a version that is gone or never was."""
    there = [package.version for package in universe.versions(name)]
    return ResolveError(
        f"{name} is not there in version {version}, but in {_listing(there)}",
        where=_where(universe),
        hint=f"write {name}={there[0]}, or {name} alone for the newest; superseded versions are in no index",
    )


def several_providers(name: str, options: Sequence[Option], universe: Universe) -> ResolveError:
    """A root that names no package, but something that several provide."""
    return ResolveError(
        f"{name} is not a package, but provided by {_listing([option.name for option in options])}",
        where=_where(universe),
        hint="write the one that you want",
    )


def impossible(causes: Sequence[Cause], roots: Sequence[Want], universe: Universe) -> ResolveError:
    """No set of packages meets all requirements."""
    askers = _askers(roots, universe)
    telling = sorted(causes, key=_latitude)
    findings = list(dict.fromkeys(_finding(cause, askers, universe) for cause in telling))
    return ResolveError(
        f"the packages do not fit together: {'; '.join(findings[:_MOST])}",
        where=_where(universe),
        hint="leave out one of the packages that ask, or pin a version that exists (`name=version`)",
    )


def _latitude(cause: Cause) -> int:
    """How much a requirement leaves open: the narrowest says the most about why there is no way."""
    match cause.requirement:
        case OneOf(options, _):
            return sum(len(option.versions) for option in options)
        case Avoid():
            return 0
        case Want(_, versions, _):
            return len(versions)


def _finding(cause: Cause, askers: dict[str, Package | None], universe: Universe) -> str:
    who = _who(cause.parent, askers)
    match cause.requirement:
        case Avoid(name, versions):
            return f"{who} does not go with {name} {_listing(versions)}"
        case Want(_, _, text):
            return f"{who} needs {text}"
        case OneOf(options, group):
            what = f"{who} needs {spell(group)}"
            return what if options else f"{what}, but {' and '.join(_found(item, universe) for item in group)}"


def _found(relation: Relation, universe: Universe) -> str:
    """What there is of something that nothing fits."""
    versions = [package.version for package in universe.versions(relation.name)]
    providers = [str(package) for package in universe.providers(relation.name) if package.name != relation.name]
    if versions:
        return f"{relation.name} is there in {_listing(versions)}"
    if providers:
        return f"{relation.name} is only provided by {_listing(providers)}"
    return f"there is no {relation.name}"


def _who(parent: Candidate | None, askers: dict[str, Package | None]) -> str:
    """The asker, with the chain of those it is there for up to a root."""
    match parent:
        case None:
            return "the spec"
        case Choice():
            asker = askers.get(parent.key)
            return _who(asker, askers) if asker is not None else "the spec"
        case Package():
            chain: list[str] = []
            above = askers.get(parent.name)
            while above is not None and str(above) not in chain:
                chain.append(str(above))
                above = askers.get(above.name)
            return f"{parent} (for {', for '.join(chain)})" if chain else str(parent)
        case _:
            return f"no {parent.name}"


def _askers(roots: Sequence[Want], universe: Universe) -> dict[str, Package | None]:
    """For each package name and each choice within reach: the package that asks for it on a shortest way from a root.

    Roots map to None. Every version and every option counts as within reach, so that each cause has its chain.
    """
    askers: dict[str, Package | None] = {}
    waiting: list[tuple[Requirement, Package | None]] = [(root, None) for root in roots]
    for item, asker in waiting:
        if isinstance(item, OneOf):
            if item.key not in askers:
                askers[item.key] = asker
                waiting += [(Want(option.name, option.versions, ""), asker) for option in item.options]
        elif isinstance(item, Want) and item.name not in askers:
            askers[item.name] = asker
            for package in universe.versions(item.name):
                waiting += [(need, package) for need in needs(package, universe)]
    return askers
