"""What an x86-64 CPU says of itself: the CPUID instruction, run by this process.

Not `/proc/cpuinfo`, which under user-mode emulation describes the machine outside; and not glibc's tables alone, from
which GLIBC_TUNABLES, a pin of the image, takes away what the CPU nevertheless has.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Final

from kernels.runtime.machine_code import place

Registers = tuple[int, int, int, int]
Cpuid = Callable[[int, int], Registers]
"""Leaf and subleaf to EAX, EBX, ECX, EDX."""

# void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]), by the System V calling convention:
#   push rbx; mov eax, edi; mov ecx, esi; mov r8, rdx; cpuid
#   mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx; mov [r8+12], edx; pop rbx; ret
_CPUID = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
# uint64_t xgetbv(void): xor ecx, ecx; xgetbv; shl rdx, 32; or rax, rdx; ret
_XGETBV = bytes.fromhex("31c9 0f01d0 48c1e220 4809d0 c3")

_EAX, _EBX, _ECX, _EDX = range(4)
_LEAVES: Final = {0: (1, 0), 1: (7, 0), 2: (0x80000001, 0), 6: (7, 1)}
"""Leaf and subleaf by the index that glibc's <sys/platform/x86.h> gives them."""

# What the kernel must keep across context switches before code may use a feature: bits of XCR0
# (Intel SDM volume 1, section 13.1).
_AVX, _AVX512, _AMX = 0x6, 0xE6, 0x60000

BITS: Final = {
    "sse3": (0, _ECX, 0, 0),
    "pclmulqdq": (0, _ECX, 1, 0),
    "ssse3": (0, _ECX, 9, 0),
    "fma": (0, _ECX, 12, _AVX),
    "cx16": (0, _ECX, 13, 0),
    "sse4.1": (0, _ECX, 19, 0),
    "sse4.2": (0, _ECX, 20, 0),
    "movbe": (0, _ECX, 22, 0),
    "popcnt": (0, _ECX, 23, 0),
    "aes": (0, _ECX, 25, 0),
    "avx": (0, _ECX, 28, _AVX),
    "f16c": (0, _ECX, 29, _AVX),
    "bmi1": (1, _EBX, 3, 0),
    "avx2": (1, _EBX, 5, _AVX),
    "bmi2": (1, _EBX, 8, 0),
    "avx512f": (1, _EBX, 16, _AVX512),
    "avx512dq": (1, _EBX, 17, _AVX512),
    "adx": (1, _EBX, 19, 0),
    "avx512ifma": (1, _EBX, 21, _AVX512),
    "avx512cd": (1, _EBX, 28, _AVX512),
    "sha": (1, _EBX, 29, 0),
    "avx512bw": (1, _EBX, 30, _AVX512),
    "avx512vl": (1, _EBX, 31, _AVX512),
    "avx512vbmi": (1, _ECX, 1, _AVX512),
    "avx512vbmi2": (1, _ECX, 6, _AVX512),
    "gfni": (1, _ECX, 8, 0),
    "vaes": (1, _ECX, 9, _AVX),
    "vpclmulqdq": (1, _ECX, 10, _AVX),
    "avx512vnni": (1, _ECX, 11, _AVX512),
    "avx512bitalg": (1, _ECX, 12, _AVX512),
    "avx512vpopcntdq": (1, _ECX, 14, _AVX512),
    "amx-bf16": (1, _EDX, 22, _AMX),
    "avx512fp16": (1, _EDX, 23, _AVX512),
    "amx-tile": (1, _EDX, 24, _AMX),
    "amx-int8": (1, _EDX, 25, _AMX),
    "lahf": (2, _ECX, 0, 0),
    "lzcnt": (2, _ECX, 5, 0),
    "avxvnni": (6, _EAX, 4, _AVX),
    "avx512bf16": (6, _EAX, 5, _AVX512),
}
"""Feature to leaf (a key of `_LEAVES`), register, bit, and the bits of XCR0 that it rests on."""

_OSXSAVE = 27
_CACHE_TYPES = {1: "data", 2: "instruction", 3: "unified"}
_MOST_CACHES = 16


class _Leaf(ctypes.Structure):
    _fields_ = (("cpuid", ctypes.c_uint32 * 4), ("active", ctypes.c_uint32 * 4))


def instruction() -> tuple[Cpuid, int]:
    """The CPUID instruction as a function, and XCR0 (0 where the CPU or the kernel has none).

    Raises:
        OSError: this process may not run code that it made.
    """
    start = place(_CPUID.ljust(64, b"\xcc") + _XGETBV)
    run = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(start)

    def cpuid(leaf: int, subleaf: int = 0) -> Registers:
        out = (ctypes.c_uint32 * 4)()
        run(leaf, subleaf, ctypes.addressof(out))
        return out[0], out[1], out[2], out[3]

    saves = cpuid(1)[_ECX] >> _OSXSAVE & 1
    return cpuid, int(ctypes.CFUNCTYPE(ctypes.c_uint64)(start + 64)()) if saves else 0


def usable(cpuid: Cpuid, states: int) -> frozenset[str]:
    """Features that the CPU has and whose registers the kernel keeps.

    Args:
        cpuid: the instruction.
        states: XCR0.
    """
    known = {0: cpuid(0, 0)[_EAX], 0x80000000: cpuid(0x80000000, 0)[_EAX]}
    words = {
        index: cpuid(leaf, subleaf) if leaf <= known[leaf & 0x80000000] else (0, 0, 0, 0)
        for index, (leaf, subleaf) in _LEAVES.items()
    }
    if known[0] >= 7 and words[1][_EAX] < 1:  # noqa: PLR2004  # leaf 7 says how many subleaves it has
        words[6] = (0, 0, 0, 0)
    return frozenset(
        name
        for name, (index, register, bit, needed) in BITS.items()
        if words[index][register] >> bit & 1 and states & needed == needed
    )


def in_libc() -> frozenset[str]:
    """Features that glibc picks functions and libraries by: those that its tunables leave of what it knows.

    Raises:
        AttributeError: glibc is older than 2.33.
        ValueError: it does not know one of the leaves.
    """
    leaf = getattr(ctypes.CDLL(None), "__x86_get_cpuid_feature_leaf")  # public, despite its name
    leaf.restype, leaf.argtypes = ctypes.POINTER(_Leaf), (ctypes.c_uint,)
    words = {index: tuple(leaf(index).contents.active) for index in _LEAVES}
    return frozenset(name for name, (index, register, bit, _) in BITS.items() if words[index][register] >> bit & 1)


def identity(cpuid: Cpuid) -> dict[str, str | int]:
    """Vendor, family, model, stepping and name, as the CPU gives them (Intel SDM volume 2, CPUID)."""
    _, first, third, second = cpuid(0, 0)
    signature = cpuid(1, 0)[_EAX]
    family, model = signature >> 8 & 0xF, signature >> 4 & 0xF
    if family in {6, 15}:
        model |= signature >> 12 & 0xF0
    if family == 15:  # noqa: PLR2004  # the largest; the rest of the number stands elsewhere
        family += signature >> 20 & 0xFF
    found: dict[str, str | int] = {
        "vendor": _text(struct.pack("<3I", first, second, third)),
        "family": family,
        "model": model,
        "stepping": signature & 0xF,
    }
    if cpuid(0x80000000, 0)[_EAX] >= 0x80000004:  # noqa: PLR2004  # the last of the leaves with the name
        found["cpu"] = _text(b"".join(struct.pack("<4I", *cpuid(0x80000002 + part, 0)) for part in range(3)))
    return found


def caches(cpuid: Cpuid) -> list[str]:
    """Caches by the CPU's own leaves, which oneDNN cuts its blocks by: `L1 data 32768`, sizes in bytes."""
    leaf = 4
    if cpuid(0x80000000, 0)[_EAX] >= 0x8000001D and cpuid(0x80000001, 0)[_ECX] >> 22 & 1:  # noqa: PLR2004
        leaf = 0x8000001D  # AMD, where the CPU has "topology extensions"
    elif cpuid(0, 0)[_EAX] < leaf:
        return []
    found = []
    for index in range(_MOST_CACHES):
        eax, ebx, ecx, _ = cpuid(leaf, index)
        if (kind := _CACHE_TYPES.get(eax & 0x1F)) is None:
            break
        size = ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)
        found.append(f"L{eax >> 5 & 7} {kind} {size}")
    return found


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("ascii", "replace").strip()
