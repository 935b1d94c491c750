"""Roots to a closed set of packages, the way apt would on an empty system, and by backtracking where apt gives up.

Resolvelib searches; this module tells it what packages mean. Three kinds of requirement carry all of Debian's rules,
with every version relation already evaluated against the frozen universe:

`Want`   one of these versions of this package. From roots and from dependencies with one way to satisfy them.
`Avoid`  none of these versions of this package. From `Conflicts` and `Breaks`; `Absent` satisfies it too.
`OneOf`  one of these options. From alternatives and from virtual packages with several providers.

Each package name is a variable, and so is each distinct set of options. Wants are decided first, choices when nothing
else is left, and a choice looks at what is already chosen before it adds anything: a relation that already holds adds
nothing. Otherwise the first option wins (apt's order: alternatives as written, the real package before its
providers), with its highest version. Backtracking changes a decision only when a conflict makes it necessary. Nothing
depends on a hash or a clock, so equal universes give equal answers.

`IMPLICIT` roots. An image has no `Essential` packages by default: dash, coreutils, perl-base and dpkg are there if
something depends on them, since most of them serve maintainer scripts that never run here. Two are always there, for
what they hold that programs take for granted without a dependency (policy 3.8 allows that): base-files with
/etc/os-release, /etc/nsswitch.conf and the folder skeleton, base-passwd with the templates of /etc/passwd and
/etc/group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from resolvelib import AbstractProvider, BaseReporter
from resolvelib.resolvers import Resolution, ResolutionImpossible, ResolutionTooDeep
from resolvelib.structs import State

from builder.errors import ResolveError
from builder.lock.debian.explain import Cause, impossible, no_such_package, no_such_version, several_providers
from builder.lock.debian.packages import Package
from builder.lock.debian.relations import Relation
from builder.lock.debian.requirements import (
    Absent,
    Avoid,
    Candidate,
    Choice,
    OneOf,
    Requirement,
    Want,
    needs,
    spell,
)
from builder.lock.debian.universe import Universe

IMPLICIT = ("base-files", "base-passwd")
"""Roots of every image and toolchain; see the module's text."""

_MAX_ROUNDS = 100_000

_State = State[Requirement, Candidate, str]


class _Matches(Sequence[Candidate]):
    """What a variable may be, put in order at the moment of deciding.

    resolvelib asks for the matches when a requirement turns up, and goes through them when it decides, much later.
    Only then is it known which options hold already, and whether anything still asks: the asker may have been revised
    away, and what no one asks for is decided to be absent.
    """

    def __init__(self, state: Callable[[], _State], identifier: str, matches: tuple[Candidate, ...]) -> None:
        self._state = state
        self._identifier = identifier
        self._matches = matches

    def __len__(self) -> int:
        return len(self._matches)

    def __getitem__(self, place: Any) -> Any:
        return self._matches[place]

    def __iter__(self) -> Iterator[Candidate]:
        state = self._state()
        criterion = state.criteria.get(self._identifier)
        if criterion is not None and not criterion.information:
            return iter((Absent(self._identifier),))
        return iter(sorted(self._matches, key=lambda item: not self._holds(item, state.mapping)))

    @staticmethod
    def _holds(candidate: Candidate, chosen: Mapping[str, Candidate]) -> bool:
        """Whether what is chosen by now makes an option true already."""
        if not isinstance(candidate, Choice):
            return False
        package = chosen.get(candidate.option.name)
        return isinstance(package, Package) and package.version in candidate.option.versions


class _Reporter(BaseReporter[Requirement, Candidate, str]):
    """Remembers what could not be had at all, since resolvelib only tells of the last conflict."""

    def __init__(self) -> None:
        self.hopeless: list[Cause] = []

    def rejecting_candidate(self, criterion: Any, candidate: Candidate) -> None:
        del candidate
        for item in criterion.information:
            if isinstance(item.requirement, OneOf) and not item.requirement.options:
                self.hopeless.append(Cause(item.requirement, item.parent))


class _Provider(AbstractProvider[Requirement, Candidate, str]):
    """Debian's rules in resolvelib's words."""

    def __init__(self, universe: Universe, state: Callable[[], _State]) -> None:
        self.universe = universe
        self.state = state
        self._choices: dict[str, OneOf] = {}
        self._needs: dict[str, tuple[Requirement, ...]] = {}

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        match requirement_or_candidate:
            case OneOf() | Choice():
                return requirement_or_candidate.key
            case _:
                return requirement_or_candidate.name

    def narrow_requirement_selection(
        self,
        identifiers: Iterable[str],
        resolutions: Mapping[str, Candidate],
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> Iterable[str]:
        """Wants in the order of their discovery, then choices, then what is only avoided."""
        del resolutions, candidates, backtrack_causes
        waiting: dict[type, str] = {}
        for identifier in identifiers:
            kinds = {type(item.requirement) for item in information[identifier]}
            if Want in kinds:
                return [identifier]
            waiting.setdefault(OneOf if OneOf in kinds else Avoid, identifier)
        return [waiting.get(OneOf) or waiting[Avoid]]

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> int:
        """Never asked: the narrowed selection has one member."""
        raise NotImplementedError

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> _Matches:
        """What a variable may be, best first."""
        asked = list(requirements[identifier])
        refused = list(incompatibilities[identifier])
        possible: list[Candidate]
        if identifier.startswith("|"):
            self._choices.update((item.key, item) for item in asked if isinstance(item, OneOf))
            choice = self._choices[identifier]
            possible = [Choice(identifier, option, spell(choice.group)) for option in choice.options]
        else:
            possible = [*self.universe.versions(identifier)]
        if not any(isinstance(item, Want | OneOf) for item in asked):
            possible.insert(0, Absent(identifier))
        fitting = (item for item in possible if all(self.is_satisfied_by(need, item) for need in asked))
        return _Matches(self.state, identifier, tuple(item for item in fitting if item not in refused))

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        match requirement:
            case OneOf():
                return isinstance(candidate, Choice)
            case Want():
                return isinstance(candidate, Package) and candidate.version in requirement.versions
            case Avoid():
                return not (isinstance(candidate, Package) and candidate.version in requirement.versions)

    def get_dependencies(self, candidate: Candidate) -> Iterable[Requirement]:
        match candidate:
            case Absent():
                return ()
            case Choice():
                return (Want(candidate.option.name, candidate.option.versions, candidate.text),)
            case Package():
                known = self._needs.get(str(candidate))
                if known is None:
                    known = self._needs[str(candidate)] = needs(candidate, self.universe)
                return known


def root(text: str, universe: Universe) -> Want:
    """What a root asks for: `name`, the only provider of a virtual `name`, or `name=version`.

    Raises:
        ResolveError: there is no such package or version, or several packages provide the name.
    """
    name, pinned, version = text.partition("=")
    packages = universe.versions(name)
    if pinned:
        if not packages:
            raise no_such_package(text, universe)
        if version not in (package.version for package in packages):
            raise no_such_version(name, version, universe)
        return Want(name, (version,), text)
    if packages:
        return Want(name, tuple(package.version for package in packages), text)
    options = universe.options(Relation(name))
    if not options:
        raise no_such_package(text, universe)
    if len(options) > 1:
        raise several_providers(name, options, universe)
    return Want(options[0].name, options[0].versions, text)


def resolve(roots: Sequence[str], universe: Universe, *, implicit: Sequence[str] = IMPLICIT) -> tuple[Package, ...]:
    """Everything that the roots need, and nothing that they don't.

    Args:
        roots: names, or `name=version`.
        universe: what there is to choose from.
        implicit: further roots; none for programs that are used outside an image.

    Returns:
        The packages, sorted by name.

    Raises:
        ResolveError: it can't be done; the message says who asked for what, and what there is.
        IntegrityError: a stanza that had to be read is malformed.
    """
    wants = [root(text, universe) for text in dict.fromkeys((*implicit, *roots))]
    resolution: Resolution[Requirement, Candidate, str]
    provider, reporter = _Provider(universe, lambda: resolution.state), _Reporter()
    resolution = Resolution(provider, reporter)
    try:
        chosen = resolution.resolve(wants, max_rounds=_MAX_ROUNDS).mapping
    except ResolutionImpossible as error:
        causes = [*reporter.hopeless, *(Cause(item.requirement, item.parent) for item in error.causes)]
        raise impossible(causes, wants, universe) from error
    except ResolutionTooDeep as error:
        raise ResolveError(
            f"no set of packages was found for {', '.join(roots)} in {_MAX_ROUNDS} attempts",
            where=f"Debian {universe.architecture}",
            hint="pin versions of some packages (`name=version`) to narrow the search",
        ) from error
    return _reachable(wants, chosen, provider)


def _reachable(wants: Sequence[Want], chosen: Mapping[str, Candidate], provider: _Provider) -> tuple[Package, ...]:
    """What the roots still lead to: a decision that was revised may leave something behind that no one needs."""
    found: dict[str, Package] = {}
    waiting: list[Requirement] = list(wants)
    while waiting:
        item = waiting.pop()
        if isinstance(item, Avoid):
            continue
        candidate = chosen[provider.identify(item)]
        if isinstance(candidate, Package):
            if candidate.name in found:
                continue
            found[candidate.name] = candidate
        waiting += provider.get_dependencies(candidate)
    return tuple(found[name] for name in sorted(found))
