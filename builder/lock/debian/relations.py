"""Debian's language of dependencies (Debian policy 7.1, deb-control(5)).

A field is groups separated by commas, all of which must hold; a group is alternatives separated by `|`, one of which
must. `Provides`, `Conflicts` and `Breaks` have groups of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from builder.lock.debian.versions import Operator, satisfies, version_key

_OPERATORS: dict[str, Operator] = {
    "<<": "<<",
    "<=": "<=",
    "=": "=",
    ">=": ">=",
    ">>": ">>",
    "<": "<=",  # the old single signs, as dpkg takes them
    ">": ">=",
}

_RELATION = re.compile(
    r"""\s* (?P<name>[A-Za-z0-9][A-Za-z0-9+._-]*)
        (?: : (?P<qualifier>[a-z0-9-]+) )?
        \s* (?: \( \s* (?P<operator><<|<=|=|>=|>>|<|>) \s* (?P<version>[^()\s]+) \s* \) )?
        \s* (?: \[ (?P<architectures>[^\[\]]*) \] )?
        \s* """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One package as another names it: `name:qualifier (operator version)`.

    `qualifier` is "", "any", "native" or an architecture; `operator` and `version` are both None or neither.
    """

    name: str
    qualifier: str = ""
    operator: Operator | None = None
    version: str | None = None

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name

    def admits(self, version: str | None) -> bool:
        """Whether something of this version is meant; None is what a `Provides` without a version gives."""
        if self.operator is None or self.version is None:
            return True
        return version is not None and satisfies(version, self.operator, self.version)


Group = tuple[Relation, ...]


def _applies(restriction: str | None, architecture: str) -> bool:
    """Whether `[amd64 arm64]` or `[!i386]` includes an architecture; no restriction includes all."""
    if restriction is None:
        return True
    names = restriction.split()
    if not names or len({name.startswith("!") for name in names}) > 1:
        raise ValueError(f"[{restriction}] is not a list of architectures")
    wildcards = {architecture, "any", f"linux-{architecture}", "linux-any", f"any-{architecture}"}
    if names[0].startswith("!"):
        return not any(name[1:] in wildcards for name in names)
    return any(name in wildcards for name in names)


def _relation(text: str, architecture: str) -> Relation | None:
    found = _RELATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text.strip()[:80]!r} is not a relation to a package")
    operator = _OPERATORS[found["operator"]] if found["operator"] else None
    if operator is not None:
        version_key(found["version"])
    if not _applies(found["architectures"], architecture):
        return None
    return Relation(found["name"], found["qualifier"] or "", operator, found["version"])


@lru_cache(maxsize=1 << 14)
def parse_groups(field: str, architecture: str) -> tuple[Group, ...]:
    """Read a `Depends`-like field for one architecture; a group of which nothing applies to it is left out.

    Raises:
        ValueError: the field is malformed; the message says where.
    """
    groups = []
    for part in field.split(","):
        if not part.strip():
            continue  # a trailing comma, which dpkg allows
        alternatives = [_relation(text, architecture) for text in part.split("|")]
        group = tuple(relation for relation in alternatives if relation is not None)
        if group:
            groups.append(group)
    return tuple(groups)


def parse_list(field: str, architecture: str) -> tuple[Relation, ...]:
    """Read a `Provides`- or `Conflicts`-like field, in which there are no alternatives.

    Raises:
        ValueError: the field is malformed or has alternatives.
    """
    groups = parse_groups(field, architecture)
    if any(len(group) > 1 for group in groups):
        raise ValueError(f"{field[:80]!r} has alternatives where none may be")
    return tuple(group[0] for group in groups)
