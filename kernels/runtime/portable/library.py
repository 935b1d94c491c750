"""Which compiled library serves the specification's operations on this host.

`native/vector/` is compiled once per feature level and the host's CPU decides which of them is loaded; all of them give
the same bits. The rest of `native/` is compiled once. `referee/` holds the same operations once more, slow and plain,
under the same symbols.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Final, Literal

from kernels.runtime import native, x86
from kernels.runtime.errors import HostError

Family = Literal["native", "referee"]

V3: Final = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
"""What x86-64-v3 has over v2, of the System V psABI's list (all CPUs with avx2 have v2)."""
V4: Final = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

VECTOR: Final = frozenset({"conv", "dot", "fused", "reduce"})
"""The operations of `native/vector/`."""

_family: ContextVar[Family] = ContextVar("family", default="native")


@contextmanager
def arbitrated() -> Iterator[None]:
    """Within it, operations are traced to the referee's instead of the fast ones."""
    token = _family.set("referee")
    try:
        yield
    finally:
        _family.reset(token)


def target(symbol: str) -> str:
    """The registered name of an operation, for `jax.ffi.ffi_call`.

    Raises:
        HostError: the CPU is below the specification's floor.
        KernelError: the image lacks the library or the operation.
    """
    if _family.get() == "referee":
        return native.handler("referee", symbol)
    chosen = level()
    if symbol not in VECTOR or chosen == _own():  # one name on every CPU: a program's hash has it
        return native.handler(chosen if symbol in VECTOR else "portable", symbol, f"portable.{symbol}")
    return native.handler(chosen, symbol)


def level() -> str:
    """The library of vector operations for this CPU.

    Raises:
        HostError: the CPU is below the specification's floor.
    """
    return _own()


@cache
def _own() -> str:
    return "portable" if platform.machine() == "aarch64" else suited(_features())


def suited(features: frozenset[str]) -> str:
    """The library of vector operations for an x86-64 CPU with these features.

    Raises:
        HostError: the CPU is below the specification's floor.
    """
    if features >= V4:
        return "portable-v4"
    if features >= V3:
        return "portable-v3"
    lacking = ", ".join(sorted(V3 - features))
    raise HostError(
        f"portable numerics need an x86-64-v3 CPU; this one lacks {lacking}", hint="run on a CPU with AVX2 and FMA"
    )


def _features() -> frozenset[str]:
    cpuid, states = x86.instruction()
    return x86.usable(cpuid, states)
