"""Whether this host may run this kernel: what the spec asks for, compared with what was observed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from kernels.runtime import environment
from kernels.runtime.declared import Declared
from kernels.runtime.errors import HostError, KernelError
from kernels.runtime.host import Host

NEEDED = ("jax", "numpy", "safetensors")
"""What the runtime itself imports, later."""

# x86-64 psABI, "Micro-Architecture Levels". What a level adds beyond what every x86-64 CPU has.
_V2 = frozenset({"cx16", "lahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
# Arm ARM: what 8.2-A makes mandatory of what Linux reports, and what 9-A adds.
_A8 = frozenset({"asimd", "fp"})
_A82 = _A8 | {"asimdrdm", "atomics", "crc32", "dcpop"}
_A9 = _A82 | {"sve", "sve2"}

LEVELS = {
    "x86-64-v2": _V2,
    "x86-64-v3": _V3,
    "x86-64-v4": _V4,
    "armv8-a": _A8,
    "armv8.2-a": _A82,
    "armv9-a": _A9,
}


def admit(declared: Declared, host: Host, pinned: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Let a host in.

    Args:
        declared: what the spec asks for.
        host: what was observed.
        pinned: the environment that the image was built for.
        environ: the environment that there is.

    Raises:
        HostError: it may not run the kernel; the message names every reason.
    """
    lacking, altered = problems(declared, host), environment.problems(pinned, environ)
    if lacking or altered:
        hint = "start the image with the environment that its own configuration sets" if altered else None
        raise HostError("; ".join(lacking + altered), hint=hint)


def problems(declared: Declared, host: Host) -> list[str]:
    """One sentence per reason to refuse a machine, whatever the environment."""
    found: list[str] = []
    level = declared.cpu.get(host.platform.removeprefix("linux/"))
    if level is None or level not in LEVELS:
        found.append(f"there is no image of this kernel for {host.platform}")
    elif missing := sorted(LEVELS[level] - host.features):
        found.append(f"the CPU is not of level {level}, which this kernel needs: it lacks {', '.join(missing)}")
    if host.memory < declared.memory:
        found.append(f"the kernel needs {declared.memory} bytes of memory and this host gives {host.memory}")
    if not host.nearest:
        found.append("floating-point results are not rounded to nearest")
    if not host.denormals:
        found.append("the CPU is set to flush subnormal numbers to zero")
    return found


def require_modules() -> None:
    """Find what the runtime will import, without the time that importing takes.

    Raises:
        KernelError: the image lacks some of it.
    """
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        names = " and ".join(absent)
        raise KernelError(f"the image has no {names}", hint=f"name {names} in the spec's python.requirements")
