"""Facts about the machine that this process runs on.

CPU features come from where the process itself would learn them (glibc's CPUID tables, the auxiliary vector), not
from `/proc/cpuinfo`: under user-mode emulation that file still describes the machine outside.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kernels.runtime.errors import HostError

PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

# Bits of glibc's <sys/platform/x86.h>: name -> (leaf index, register of eax ebx ecx edx, bit). "Active" bits are
# those of features that the CPU has and the kernel lets a process use.
_LEAF_1, _LEAF_7, _LEAF_80000001 = 0, 1, 2
_EBX, _ECX = 1, 2
_X86_BITS = {
    "sse3": (_LEAF_1, _ECX, 0),
    "ssse3": (_LEAF_1, _ECX, 9),
    "fma": (_LEAF_1, _ECX, 12),
    "cx16": (_LEAF_1, _ECX, 13),
    "sse4.1": (_LEAF_1, _ECX, 19),
    "sse4.2": (_LEAF_1, _ECX, 20),
    "movbe": (_LEAF_1, _ECX, 22),
    "popcnt": (_LEAF_1, _ECX, 23),
    "avx": (_LEAF_1, _ECX, 28),
    "f16c": (_LEAF_1, _ECX, 29),
    "bmi1": (_LEAF_7, _EBX, 3),
    "avx2": (_LEAF_7, _EBX, 5),
    "bmi2": (_LEAF_7, _EBX, 8),
    "avx512f": (_LEAF_7, _EBX, 16),
    "avx512dq": (_LEAF_7, _EBX, 17),
    "avx512cd": (_LEAF_7, _EBX, 28),
    "avx512bw": (_LEAF_7, _EBX, 30),
    "avx512vl": (_LEAF_7, _EBX, 31),
    "lahf": (_LEAF_80000001, _ECX, 0),
    "lzcnt": (_LEAF_80000001, _ECX, 5),
}

# Bits of Linux's <asm/hwcap.h> for arm64: name -> (auxiliary vector entry, bit).
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_ARM_BITS = {
    "fp": (_AT_HWCAP, 0),
    "asimd": (_AT_HWCAP, 1),
    "crc32": (_AT_HWCAP, 7),
    "atomics": (_AT_HWCAP, 8),
    "asimdrdm": (_AT_HWCAP, 12),
    "dcpop": (_AT_HWCAP, 16),
    "sve": (_AT_HWCAP, 22),
    "sve2": (_AT_HWCAP2, 1),
}


class _Leaf(ctypes.Structure):
    _fields_ = (("cpuid", ctypes.c_uint32 * 4), ("active", ctypes.c_uint32 * 4))


@dataclass(frozen=True, slots=True)
class Host:
    """What one machine offers this process; `memory` is in bytes."""

    machine: str
    features: frozenset[str]
    cores: int
    memory: int
    nearest: bool
    """Floating-point results round to nearest."""
    denormals: bool
    """Subnormal numbers are kept, neither read nor written as zero."""

    @property
    def platform(self) -> str:
        """The OCI name of the platform; Linux's own name for a machine that has none here."""
        return PLATFORMS.get(self.machine, self.machine)


def observe() -> Host:
    """Look at this machine.

    Raises:
        HostError: its C library can't tell which features the CPU has.
    """
    machine = os.uname().machine
    return Host(
        machine=machine,
        features=_features(machine),
        cores=len(os.sched_getaffinity(0)),
        memory=_memory(),
        nearest=rounds_to_nearest(),
        denormals=keeps_denormals(),
    )


def description() -> dict[str, str | int]:
    """Facts for the reader of a receipt; none of them takes part in a hash."""
    system = os.uname()
    return {"cpu": _cpu_name(), "kernel": system.release, "libc": _libc(), "machine": system.machine}


def rounds_to_nearest() -> bool:
    """Whether this thread's rounding mode is the default one."""
    # FE_TONEAREST is 0 on x86-64 (MXCSR and x87 control word) and on arm64 (FPCR).
    return bool(ctypes.CDLL("libm.so.6").fegetround() == 0)


def keeps_denormals() -> bool:
    """Whether this thread computes with subnormal numbers as IEEE 754 says."""
    smallest_normal = float(sys.float_info.min)
    half = smallest_normal / 2  # zero if results are flushed
    return half != 0.0 and half * 2 == smallest_normal  # unequal if operands are


def _features(machine: str) -> frozenset[str]:
    libc = ctypes.CDLL(None)
    try:
        if machine == "x86_64":
            leaf = getattr(libc, "__x86_get_cpuid_feature_leaf")  # public since glibc 2.33, despite its name
            leaf.restype, leaf.argtypes = ctypes.POINTER(_Leaf), (ctypes.c_uint,)
            active = {index: tuple(leaf(index).contents.active) for index in (_LEAF_1, _LEAF_7, _LEAF_80000001)}
            return frozenset(
                name for name, (index, register, bit) in _X86_BITS.items() if active[index][register] >> bit & 1
            )
        if machine == "aarch64":
            value = libc.getauxval
            value.restype, value.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
            return frozenset(name for name, (entry, bit) in _ARM_BITS.items() if value(entry) >> bit & 1)
    except (AttributeError, ValueError) as error:
        raise HostError(
            f"the C library can't tell the features of the CPU ({error})", hint="use glibc 2.33 or newer"
        ) from error
    return frozenset()


def _memory() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "unknown"
