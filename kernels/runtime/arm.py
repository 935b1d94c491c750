"""What a 64-bit Arm CPU says of itself: the auxiliary vector, and the identification register that Linux lets read."""

from __future__ import annotations

import ctypes
from typing import Final

from kernels.runtime.machine_code import place

_AT_HWCAP, _AT_HWCAP2 = 16, 26

# Bits of Linux's <asm/hwcap.h>, by the names of its documentation (Documentation/arch/arm64/elf_hwcaps.rst).
BITS: Final = {
    "fp": (_AT_HWCAP, 0),
    "asimd": (_AT_HWCAP, 1),
    "aes": (_AT_HWCAP, 3),
    "pmull": (_AT_HWCAP, 4),
    "sha1": (_AT_HWCAP, 5),
    "sha2": (_AT_HWCAP, 6),
    "crc32": (_AT_HWCAP, 7),
    "atomics": (_AT_HWCAP, 8),
    "fphp": (_AT_HWCAP, 9),
    "asimdhp": (_AT_HWCAP, 10),
    "cpuid": (_AT_HWCAP, 11),
    "asimdrdm": (_AT_HWCAP, 12),
    "jscvt": (_AT_HWCAP, 13),
    "fcma": (_AT_HWCAP, 14),
    "lrcpc": (_AT_HWCAP, 15),
    "dcpop": (_AT_HWCAP, 16),
    "sha3": (_AT_HWCAP, 17),
    "asimddp": (_AT_HWCAP, 20),
    "sha512": (_AT_HWCAP, 21),
    "sve": (_AT_HWCAP, 22),
    "asimdfhm": (_AT_HWCAP, 23),
    "uscat": (_AT_HWCAP, 25),
    "ilrcpc": (_AT_HWCAP, 26),
    "flagm": (_AT_HWCAP, 27),
    "sve2": (_AT_HWCAP2, 1),
    "flagm2": (_AT_HWCAP2, 7),
    "frint": (_AT_HWCAP2, 8),
    "svei8mm": (_AT_HWCAP2, 9),
    "svef32mm": (_AT_HWCAP2, 10),
    "svef64mm": (_AT_HWCAP2, 11),
    "svebf16": (_AT_HWCAP2, 12),
    "i8mm": (_AT_HWCAP2, 13),
    "bf16": (_AT_HWCAP2, 14),
    "sme": (_AT_HWCAP2, 23),
}
"""Feature to the entry of the auxiliary vector and its bit."""

VENDORS: Final = {
    0x41: "Arm", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA", 0x51: "Qualcomm",
    0x61: "Apple", 0x6D: "Microsoft", 0xC0: "Ampere",
}  # fmt: skip
"""Implementers by the code in MIDR_EL1 (Arm ARM, section D24.2.122, and Linux's <asm/cputype.h>)."""

_MRS_MIDR = (0xD5380000).to_bytes(4, "little") + (0xD65F03C0).to_bytes(4, "little")  # mrs x0, midr_el1; ret
_PR_SVE_GET_VL = 51
_LENGTH_MASK = 0xFFFF


def usable() -> frozenset[str]:
    """Features that the kernel lets this process use."""
    value = ctypes.CDLL(None).getauxval
    value.restype, value.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
    words = {entry: value(entry) for entry in (_AT_HWCAP, _AT_HWCAP2)}
    return frozenset(name for name, (entry, bit) in BITS.items() if words[entry] >> bit & 1)


def identity(features: frozenset[str]) -> dict[str, str | int]:
    """Vendor, family (architecture), model (part) and stepping (variant and revision); the vector length if it has SVE.

    Empty where the kernel does not answer for the register (a feature of its own, `cpuid`).
    """
    found: dict[str, str | int] = {}
    if "cpuid" in features and (midr := _midr()) is not None:
        implementer = midr >> 24 & 0xFF
        found = {
            "vendor": VENDORS.get(implementer, f"0x{implementer:02x}"),
            "family": midr >> 16 & 0xF,
            "model": midr >> 4 & 0xFFF,
            "stepping": (midr >> 20 & 0xF) << 4 | midr & 0xF,
        }
    if "sve" in features and (length := ctypes.CDLL(None).prctl(_PR_SVE_GET_VL)) > 0:
        found["sve_bytes"] = length & _LENGTH_MASK
    return found


def _midr() -> int | None:
    try:
        return int(ctypes.CFUNCTYPE(ctypes.c_uint64)(place(_MRS_MIDR))())
    except OSError:
        return None
