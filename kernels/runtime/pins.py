"""The environment that a profile demands inside the image, derived from the spec alone.

The image's own configuration sets these variables. The runtime derives a second time those that can move result
bits, and refuses to run where one has been lost or changed. Why each is there, and where that was measured, stands in
`builder/determinism/table.py`, which sets them; a test holds the two to each other.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from kernels.runtime.declared import Declared

PLATFORM = "JAX_PLATFORMS"
THREADS = ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FIXED = {
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "true",
}
LEVELLED = {
    "x86-64-v2": {
        "DNNL_MAX_CPU_ISA": "SSE41",
        "GLIBC_TUNABLES": ("glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD"),
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "x86-64-v3": {
        "DNNL_MAX_CPU_ISA": "AVX2",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "x86-64-v4": {
        "DNNL_MAX_CPU_ISA": "AVX512_CORE",
        "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL AVX512_SPR",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
}
ARM = {"NPY_DISABLE_CPU_FEATURES": "ASIMDHP ASIMDDP ASIMDFHM SVE", "OPENBLAS_CORETYPE": "ARMV8"}

XLA_FIXED = {
    "xla_cpu_enable_fast_math": "false",
    "xla_cpu_enable_fast_min_max": "false",
    "xla_cpu_enable_platform_dependent_math": "false",
    "xla_cpu_experimental_ynn_fusion_type": "-reduce",
    "xla_cpu_ftz": "false",
}
XLA_LEVELLED = {
    "x86-64-v2": {"xla_cpu_max_isa": "SSE4_2", "xla_cpu_prefer_vector_width": "128"},
    "x86-64-v3": {"xla_cpu_max_isa": "AVX2", "xla_cpu_prefer_vector_width": "256"},
    "x86-64-v4": {"xla_cpu_max_isa": "AVX512", "xla_cpu_prefer_vector_width": "256"},
}


def variables(declared: Declared, platform: str) -> dict[str, str]:
    """Environment variables, other than `XLA_FLAGS`, that must have exactly these values."""
    pins = {PLATFORM: "cpu"}
    if declared.profile == "none":
        return pins
    pins |= dict.fromkeys(THREADS, str(declared.threads)) | FIXED
    return pins | (LEVELLED[declared.cpu["amd64"]] if platform == "linux/amd64" else ARM)


def xla_flags(declared: Declared, platform: str) -> dict[str, str]:
    """XLA flags that must be set to exactly these values; the spec's own have the last word."""
    flags: dict[str, str] = {}
    if declared.profile != "none":
        flags |= XLA_FIXED
        flags |= XLA_LEVELLED[declared.cpu["amd64"]] if platform == "linux/amd64" else {}
    return flags | {name: flag_text(value) for name, value in declared.xla_flags.items()}


def flag_text(value: bool | int | str) -> str:  # noqa: FBT001  # a flag's value, not a switch
    """A flag's value as XLA reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_flags(text: str) -> dict[str, str]:
    """The flags in an `XLA_FLAGS` value; the last of a name counts, as in XLA.

    Raises:
        ValueError: a quote is left open.
    """
    pairs = (word.removeprefix("--").partition("=") for word in shlex.split(text))
    return {name: value if equals else "true" for name, equals, value in pairs}


def lost(declared: Declared, platform: str, environ: Mapping[str, str]) -> list[str]:
    """One sentence per pin that the environment does not have."""
    found = [
        f"{name} is {_quoted(environ.get(name))}, not {value!r}"
        for name, value in variables(declared, platform).items()
        if environ.get(name) != value
    ]
    try:
        flags = parse_flags(environ.get("XLA_FLAGS", ""))
    except ValueError:
        return [*found, "XLA_FLAGS has an unfinished quote"]
    return found + [
        f"XLA_FLAGS has --{name}={flags[name]}, not {value}" if name in flags else f"XLA_FLAGS lacks --{name}={value}"
        for name, value in xla_flags(declared, platform).items()
        if flags.get(name) != value
    ]


def _quoted(value: str | None) -> str:
    return "unset" if value is None else repr(value)
