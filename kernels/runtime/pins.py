"""The environment that a profile demands inside the image, derived from the spec alone.

The image's own configuration sets these variables; the runtime derives them a second time and refuses to run where
they have been lost or changed, since each of them moves result bits. Measured on jax 0.10.2:

==================================================  ================================================================
`NPROC`                                             size of XLA's thread pool; sums split by it
`XLA_FLAGS` `--xla_cpu_enable_platform_dependent_math=false`  one YNNPACK arithmetic, no hardware `rsqrt` guess
`XLA_FLAGS` `--xla_cpu_max_isa`                     one vector width and FMA rule for code made by XLA
`DNNL_MAX_CPU_ISA`, `ONEDNN_MAX_CPU_ISA`            one dispatch of oneDNN's matrix product
`JAX_PLATFORMS`                                     no other back end is looked for
==================================================  ================================================================
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from kernels.runtime.declared import Declared

ISA = {"x86-64-v2": "SSE4_2", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512"}
ONEDNN = {"x86-64-v2": "SSE41", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512_CORE"}


def variables(declared: Declared, platform: str) -> dict[str, str]:
    """Environment variables, other than `XLA_FLAGS`, that must have exactly these values."""
    pins = {"JAX_PLATFORMS": "cpu"}
    if declared.profile == "none":
        return pins
    pins["NPROC"] = str(declared.threads)
    if platform == "linux/amd64":
        pins |= dict.fromkeys(("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"), ONEDNN[declared.cpu["amd64"]])
    return pins


def xla_flags(declared: Declared, platform: str) -> dict[str, str]:
    """XLA flags that must be set to exactly these values; the spec's own have the last word."""
    flags: dict[str, str] = {}
    if declared.profile != "none":
        flags["xla_cpu_enable_platform_dependent_math"] = "false"
        if platform == "linux/amd64":
            flags["xla_cpu_max_isa"] = ISA[declared.cpu["amd64"]]
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
