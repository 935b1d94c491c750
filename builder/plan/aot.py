"""What is compiled ahead of time for a platform: under which CPU, and out of what. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from builder.determinism.pins import environment, xla_flags
from builder.platforms import NAMES, Platform
from builder.spec.model import KernelTable, Spec

CPUS: Final = {"x86-64-v3": "Haswell", "armv8-a": "cortex-a72", "armv8.2-a": "neoverse-n1"}
"""The CPU that QEMU is while programs are compiled, by the level that a spec declares: the first of its kind, which has
what the level asks for and little beside it."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """How programs are compiled: for a level of the architecture, on an emulated CPU, in the image's environment.

    `flags` are those of that environment that XLA must have seen, `profile` decides what its code may hold.
    """

    level: str
    cpu: str
    profile: str
    environment: tuple[tuple[str, str], ...]
    flags: tuple[tuple[str, str], ...]


def compilation(spec: Spec, platform: Platform) -> Compilation:
    """How a spec's programs are compiled for a platform."""
    level = getattr(spec.hardware.cpu, NAMES[platform].debian)
    return Compilation(
        level=level,
        cpu=CPUS[level],
        profile=spec.determinism.profile,
        environment=tuple(sorted(environment(spec, platform).items())),
        flags=tuple(xla_flags(spec, platform).items()),
    )


def what_counts(spec: Spec) -> Spec:
    """The spec without what reaches no program, so that another description compiles nothing again."""
    told = KernelTable.model_fields
    kernel = spec.kernel.model_copy(
        update={"name": "kernel", "version": "0.0.0", "description": told["description"].default, "license": ""}
    )
    return spec.model_copy(update={"kernel": kernel, "examples": {}})
