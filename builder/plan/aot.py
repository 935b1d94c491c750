"""What is compiled ahead of time for a platform: under which CPU, and out of what. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from builder.determinism.pins import environment, xla_flags
from builder.platforms import NAMES, Platform
from builder.spec.model import ArrayTable, KernelTable, Spec, TensorTable

Tensor = tuple[str, tuple[int, ...]]
"""Element type and shape."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """An emulated CPU: its name for QEMU, its name for LLVM, and the features that LLVM sees in it and records."""

    model: str
    llvm: str
    features: frozenset[str]


_HASWELL: Final = frozenset({
    "64bit", "aes", "avx", "avx2", "bmi", "bmi2", "cmov", "crc32", "cx16", "cx8", "f16c", "fma", "fsgsbase", "fxsr",
    "invpcid", "lzcnt", "mmx", "movbe", "pclmul", "popcnt", "rdrnd", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2",
    "ssse3", "xsave", "xsaveopt",
})  # fmt: skip

CPUS: Final = {
    "x86-64-v3": Cpu("Haswell", "haswell", _HASWELL),
    "armv8-a": Cpu("cortex-a72", "cortex-a72", frozenset({"aes", "crc", "fp-armv8", "neon", "sha2"})),
    "armv8.2-a": Cpu("neoverse-n1", "neoverse-n1", frozenset({"aes", "crc", "fp-armv8", "lse", "neon", "sha2"})),
}
"""The CPU that QEMU is while programs are compiled, by the level that a spec declares: the first of its kind, which has
what the level asks for and little beside it. Features as QEMU 10.0.13 shows them and LLVM of jaxlib 0.10.2 calls them.
"""


@dataclass(frozen=True, slots=True)
class Compilation:
    """How programs are compiled: for a level of the architecture, on an emulated CPU, in the image's environment.

    Attributes:
        level: of the architecture.
        cpu: that is emulated.
        profile: decides what code may hold.
        environment: the image's.
        flags: those of that environment that XLA must have seen.
        seed: of the key that programs receive.
        programs: for each, in their order, the arrays that it is for, by name.
    """

    level: str
    cpu: Cpu
    profile: str
    environment: tuple[tuple[str, str], ...]
    flags: tuple[tuple[str, str], ...]
    seed: int
    programs: tuple[Mapping[str, Tensor], ...]


def compilation(spec: Spec, platform: Platform) -> Compilation:
    """How a spec's programs are compiled for a platform."""
    level = getattr(spec.hardware.cpu, NAMES[platform].debian)
    return Compilation(
        level=level,
        cpu=CPUS[level],
        profile=spec.determinism.profile,
        environment=tuple(sorted(environment(spec, platform).items())),
        flags=tuple(xla_flags(spec, platform).items()),
        seed=spec.determinism.seed,
        programs=tuple(programs(spec)),
    )


def programs(spec: Spec) -> Iterator[dict[str, Tensor]]:
    """The arrays of every program, in the order of the sizes; names in sorted order, the last one fastest.

    The runtime has the same function: it ships alone.
    """
    if spec.aot is None:
        return
    arrays: Mapping[str, ArrayTable | TensorTable] = spec.aot.arrays or spec.inputs
    names = sorted({one for table in arrays.values() for one in table.shape if isinstance(one, str)})
    for lengths in itertools.product(*(spec.aot.sizes[name] for name in names)):
        chosen = dict(zip(names, lengths, strict=True))
        yield {
            name: (table.dtype, tuple(chosen[one] if isinstance(one, str) else one for one in table.shape))
            for name, table in arrays.items()
        }


def what_counts(spec: Spec) -> Spec:
    """The spec without what reaches no program, so that another description compiles nothing again."""
    told = KernelTable.model_fields
    kernel = spec.kernel.model_copy(
        update={"name": "kernel", "version": "0.0.0", "description": told["description"].default, "license": ""}
    )
    return spec.model_copy(update={"kernel": kernel, "examples": {}})
