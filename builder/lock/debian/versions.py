"""Debian's order of versions (Debian policy 5.6.12, deb-version(7)).

Written here because the one library at hand, debian-inspector, refuses versions that end in `~`, `+` or `.`, and one
package in six of Debian's own index depends on something like `(>= 1.0~)`. A test holds this to dpkg itself.
"""

from __future__ import annotations

import operator as ordering
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

Operator = Literal["<<", "<=", "=", ">=", ">>"]

Key = tuple[int, tuple[object, ...], tuple[object, ...]]

_FORM = re.compile(r"(?:(?P<epoch>[0-9]{1,9}):)?(?P<upstream>[A-Za-z0-9.+:~-]+)", re.ASCII)
_RUN = re.compile(r"([^0-9]*)([0-9]*)")
_LONGEST = 256
_TILDE, _END, _OTHERS = -1, 0, 256


def split(version: str) -> tuple[int, str, str]:
    """Epoch, upstream version and Debian revision ("" if there is none).

    Raises:
        ValueError: it is not of the form of a Debian version.
    """
    found = _FORM.fullmatch(version) if len(version) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{version[:80]!r} is not a Debian version")
    upstream, hyphen, revision = found["upstream"].rpartition("-")
    if not hyphen:
        upstream, revision = revision, ""
    colons = found["epoch"] is not None
    if not upstream or (hyphen and not revision) or ":" in revision or (":" in upstream and not colons):
        raise ValueError(f"{version!r} is not a Debian version")
    return int(found["epoch"] or 0), upstream, revision


def _rank(character: str) -> int:
    """`~` before the end of the string, then letters, then all else."""
    if character == "~":
        return _TILDE
    return ord(character) if character.isalpha() else ord(character) + _OTHERS


def _part_key(part: str) -> tuple[object, ...]:
    """Non-digits and digits in turn, each ended so that plain tuple comparison gives Debian's order."""
    key: list[object] = []
    for letters, digits in _RUN.findall(part):
        if letters or digits or not key:
            key += [(*map(_rank, letters), _END), int(digits or 0)]
    return (*key, (_END,))


@lru_cache(maxsize=1 << 16)
def version_key(version: str) -> Key:
    """A key that sorts versions as dpkg does; equal keys are equal versions.

    Raises:
        ValueError: it is not of the form of a Debian version.
    """
    epoch, upstream, revision = split(version)
    return epoch, _part_key(upstream), _part_key(revision)


def satisfies(version: str, operator: Operator, bound: str) -> bool:
    """Whether `version` stands in the given relation to `bound`."""
    return _COMPARE[operator](version_key(version), version_key(bound))


_COMPARE: dict[Operator, Callable[[Key, Key], bool]] = {
    "<<": ordering.lt,
    "<=": ordering.le,
    "=": ordering.eq,
    ">=": ordering.ge,
    ">>": ordering.gt,
}
