"""CPU features that a spec may ask for or rule out, and what `/proc/cpuinfo` calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from builder.spec.refusal import Refusal, shown

AMD64: Final[Mapping[str, str]] = {
    "adx": "adx",
    "aes": "aes",
    "amx-bf16": "amx_bf16",
    "amx-int8": "amx_int8",
    "amx-tile": "amx_tile",
    "avx": "avx",
    "avx2": "avx2",
    "avx512bf16": "avx512_bf16",
    "avx512bitalg": "avx512_bitalg",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512f": "avx512f",
    "avx512fp16": "avx512_fp16",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avxvnni": "avx_vnni",
    "bmi1": "bmi1",
    "bmi2": "bmi2",
    "cx16": "cx16",
    "f16c": "f16c",
    "fma": "fma",
    "gfni": "gfni",
    "lahf": "lahf_lm",
    "lzcnt": "abm",
    "movbe": "movbe",
    "pclmulqdq": "pclmulqdq",
    "popcnt": "popcnt",
    "sha": "sha_ni",
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "ssse3": "ssse3",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
}
"""Linux names some otherwise than the manuals, or than all others of their family (<asm/cpufeatures.h>)."""

ARM64: Final[Mapping[str, str]] = {
    name: name
    for name in (
        "aes", "asimd", "asimddp", "asimdfhm", "asimdhp", "asimdrdm", "atomics", "bf16", "cpuid", "crc32", "dcpop",
        "fcma", "flagm", "flagm2", "fp", "fphp", "frint", "i8mm", "ilrcpc", "jscvt", "lrcpc", "pmull", "sha1", "sha2",
        "sha3", "sha512", "sme", "sve", "sve2", "svebf16", "svef32mm", "svef64mm", "svei8mm", "uscat",
    )
}  # fmt: skip

LEVELS: Final[Mapping[str, frozenset[str]]] = {
    "x86-64-v2": (_v2 := frozenset({"cx16", "lahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"})),
    "x86-64-v3": (_v3 := _v2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"}),
    "x86-64-v4": _v3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
    "armv8-a": (_a8 := frozenset({"asimd", "fp"})),
    "armv8.2-a": (_a82 := _a8 | {"asimdrdm", "atomics", "crc32", "dcpop"}),
    "armv9-a": _a82 | {"sve", "sve2"},
}
"""What a level of `hardware.cpu` needs: the x86-64 psABI's levels beyond what every x86-64 CPU has; of the Arm
architecture, what a version makes mandatory of what Linux reports. The runtime has the same table: it ships alone."""


def amd64(name: str) -> Refusal | None:
    """Refuse what is no feature of x86-64 CPUs."""
    return _known(name, AMD64)


def arm64(name: str) -> Refusal | None:
    """Refuse what is no feature of 64-bit Arm CPUs."""
    return _known(name, ARM64)


def _known(name: str, known: Mapping[str, str]) -> Refusal | None:
    if name in known:
        return None
    from difflib import get_close_matches  # noqa: PLC0415 - only for those who mistype

    near = get_close_matches(name, known, 1) or [other for other, linux in known.items() if linux == name]
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return Refusal(f"{shown(name)} is not a CPU feature that kbuild knows", hint)
