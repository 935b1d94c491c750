"""Facts about the machine that this process runs on.

CPU features come from where the process itself would learn them (CPUID, the auxiliary vector), not from
`/proc/cpuinfo`: under user-mode emulation that file still describes the machine outside.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kernels.runtime import dispatch, memory
from kernels.runtime.accelerator import Accelerator
from kernels.runtime.errors import HostError

PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
Fact = str | int | list[str]


class Host(NamedTuple):
    """What one machine offers this process; `memory` is in bytes."""

    machine: str
    features: frozenset[str]
    """Those that the CPU has and the kernel lets a process use."""
    cores: int
    memory: int
    nearest: bool
    """Floating-point results round to nearest."""
    denormals: bool
    """Subnormal numbers are kept, neither read nor written as zero."""
    facts: Mapping[str, Fact] = MappingProxyType({})
    """What else is worth knowing when results differ."""
    accelerators: tuple[Accelerator, ...] = ()
    """What computes besides the CPU; empty too if nobody looked."""

    @property
    def platform(self) -> str:
        """The OCI name of the platform; Linux's own name for a machine that has none here."""
        return PLATFORMS.get(self.machine, self.machine)

    def described(self) -> dict[str, Fact]:
        """The `host` of a receipt."""
        own: dict[str, Fact] = {
            "machine": self.machine,
            "features": sorted(self.features),
            "cores": self.cores,
            "memory": self.memory,
        }
        return own | dict(self.facts)


def observe() -> Host:
    """Look at this machine.

    Raises:
        HostError: there is no way to tell which features the CPU has.
    """
    machine = os.uname().machine
    features, facts = _cpu(machine)
    usable = os.sched_getaffinity(0)
    facts |= {
        "affinity": ",".join(map(str, sorted(usable))),
        "caches_kernel": _caches(min(usable)),
        "kernel": os.uname().release,
        "libc": dispatch.libc(),
        "libm": dispatch.libm(),
        "library_variants": dispatch.variants(),
    }
    return Host(
        machine=machine,
        features=features,
        cores=len(usable),
        memory=memory.available(),
        nearest=rounds_to_nearest(),
        denormals=keeps_denormals(),
        facts=facts,
    )


def rounds_to_nearest() -> bool:
    """Whether this thread's rounding mode is the default one."""
    # FE_TONEAREST is 0 on x86-64 (MXCSR and x87 control word) and on arm64 (FPCR).
    return bool(ctypes.CDLL("libm.so.6").fegetround() == 0)


def keeps_denormals() -> bool:
    """Whether this thread computes with subnormal numbers as IEEE 754 says."""
    smallest_normal = float(sys.float_info.min)
    half = smallest_normal / 2  # zero if results are flushed
    return half != 0.0 and half * 2 == smallest_normal  # unequal if operands are


def threads() -> int:
    """How many threads this process has."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return 0


def _cpu(machine: str) -> tuple[frozenset[str], dict[str, Fact]]:
    """The CPU's features, and what it is."""
    if machine == "x86_64":
        return _x86()
    if machine == "aarch64":
        from kernels.runtime import arm  # noqa: PLC0415  # the other architecture's tables stay unread

        features = arm.usable()
        return features, {"cpu": _name(), **arm.identity(features)}
    return frozenset(), {"cpu": _name()}


def _x86() -> tuple[frozenset[str], dict[str, Fact]]:
    from kernels.runtime import x86  # noqa: PLC0415  # as above

    try:
        in_libc = x86.in_libc()
    except (AttributeError, ValueError):
        in_libc = None
    try:
        cpuid, states = x86.instruction()
    except OSError as error:
        # Without leave to run code of its own, what glibc read is the next best: less than there is, never more.
        if in_libc is None:
            raise HostError(
                f"the features of the CPU can't be told ({error.strerror})", hint="use glibc 2.33 or newer"
            ) from error
        return in_libc, {"cpu": _name()}
    features = x86.usable(cpuid, states)
    facts: dict[str, Fact] = {"cpu": _name(), **x86.identity(cpuid), "caches_cpu": x86.caches(cpuid)}
    if in_libc is not None:
        facts["features_off"] = sorted(features - in_libc)
    return features, facts


def _name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def _caches(core: int) -> list[str]:
    """Caches as the kernel lists them, which XLA's matrix code cuts its blocks by: `L1 data 32768`."""
    found = []
    for folder in sorted(Path(f"/sys/devices/system/cpu/cpu{core}/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii", errors="replace").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if size.endswith("K") and size[:-1].isdecimal():
            found.append(f"L{level} {kind.lower()} {int(size[:-1]) * 1024}")
    return found
