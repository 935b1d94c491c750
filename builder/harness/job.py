"""One run that is to be made: which inputs, on which host, for the how-manieth time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from builder.errors import UsageError
from builder.hosts.host import Runnable, Variant
from builder.store.blobs import hash_file

_VERSION = 1
"""Of what `Job.key` is made from; another one forgets every remembered run."""


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs under a name; `content` is a hash of the files' names and bytes, in order."""

    name: str
    inputs: tuple[Path, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Job:
    """One run; `repeat` counts from 1."""

    case: Case
    variant: Variant
    repeat: int
    image: Runnable

    def key(self) -> str:
        """What its result is remembered under: everything that went in.

        Raises:
            EnvironmentFault: its host cannot be reached.
        """
        parts: dict[str, Any] = {
            "version": _VERSION,
            "image": self.image.digest,
            "index": self.image.index,
            "inputs": self.case.content,
            "host": self.variant.name,
            "identity": dict(self.variant.host.identity()),
            "conditions": self.variant.conditions.described(),
            "repeat": self.repeat,
        }
        return hashlib.sha256(rfc8785.dumps(parts)).hexdigest()


def case(name: str, inputs: Sequence[Path]) -> Case:
    """A case from its files.

    Raises:
        UsageError: one of them is no file, or cannot be read.
    """
    state = hashlib.sha256()
    for path in inputs:
        try:
            if not path.is_file():
                raise UsageError("no such file" if not path.exists() else "not a file", where=str(path))
            state.update(f"{hash_file(path)[0]} {path.name}\0".encode("utf-8", "surrogateescape"))
        except PermissionError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return Case(name, tuple(inputs), state.hexdigest())


def jobs(
    cases: Sequence[Case], variants: Sequence[Variant], images: Sequence[Runnable], *, repeat: int
) -> tuple[Job, ...]:
    """Every run to be made, in the order of cases, then hosts, then repeats; hosts without an image are left out."""
    by_platform = {image.platform: image for image in images}
    return tuple(
        Job(case, variant, number, by_platform[variant.host.platform])
        for case in cases
        for variant in variants
        if variant.host.platform in by_platform
        for number in range(1, repeat + 1)
    )
