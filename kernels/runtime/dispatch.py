"""Which of its variants of a function the C library picked for this CPU, seen from where the function is.

A variant has no public name, but an address: within one image, equal offsets from the library's start mean the same
code. Under the pins they are equal on every host of a platform.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Final

FUNCTIONS: Final = (
    "atan", "ceil", "cos", "cosf", "exp2f", "expf", "expm1", "floor", "fma", "fmaf", "log1p", "log2", "log2f", "logf",
    "nearbyint", "powf", "rint", "sin", "sincosf", "sinf", "sinh", "tan", "tanf", "tanh", "trunc",
)  # fmt: skip
"""Of libm, those that some glibc has in variants (sysdeps/x86_64/fpu/multiarch). exp, log and pow are not among them:
what can be seen from here is a wrapper, behind which they are chosen as expf, logf and powf are."""

_HWCAPS = re.compile(r"\S*/glibc-hwcaps/\S+")


class _Info(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def libm() -> list[str]:
    """`NAME+0xOFFSET` per function, as this process would call it."""
    library, find = ctypes.CDLL("libm.so.6"), ctypes.CDLL(None).dladdr
    find.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Info))
    found = []
    for name in FUNCTIONS:
        address, info = ctypes.cast(getattr(library, name), ctypes.c_void_p).value, _Info()
        if address and find(address, ctypes.byref(info)) and info.base:
            found.append(f"{name}+{address - info.base:#x}")
    return found


def variants() -> list[str]:
    """Libraries that the loader took from a folder for newer CPUs instead of the ordinary one."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return sorted(set(_HWCAPS.findall(file.read())))
    except OSError:
        return []


def libc() -> str:
    """Name and version of the C library."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "unknown"
