"""The built-in hosts: other CPUs, other cores and a hostile environment, all on this machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from builder.hosts.host import Conditions, Host, Variant
from builder.platforms import Platform

MODELS: Final[Mapping[Platform, Sequence[str]]] = {
    "linux/amd64": ("Haswell", "Skylake-Client", "EPYC-Rome", "EPYC-Milan"),
    "linux/arm64": ("cortex-a72", "neoverse-n1", "max,sme=off"),
}
"""QEMU's CPU models. Those of x86-64 are of two vendors and four generations, with AVX2 and FMA and no more; of the Arm
ones only `max` has SVE, here without SME: measured with jaxlib 0.10.2, YNNPACK's matrix kernels for SME sum long rows
in another order than those for NEON, whatever the flags, and no program can turn SME off."""

_SHIFT: Final = 7919
"""Bytes; odd, and so large that a copy comes out of malloc's own heap."""

HOSTILE_INSIDE: Final[Mapping[str, str]] = MappingProxyType({
    "CFLAGS": "-ffast-math -Ofast",
    "COLUMNS": "7",
    "HOSTNAME": "\u00fcber-host",
    "LANGUAGE": "tr:de",
    "LC_NUMERIC": "de_DE.UTF-8",
    "LOGNAME": "nobody",
    "SOURCE_DATE_EPOCH": "1",
    "TERM": "dumb",
    "USER": "nobody",
})  # fmt: skip
"""Variables that an engine or a user may set inside without being refused; no result may follow them."""

HOSTILE_OUTSIDE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "tr_TR.UTF-8",
        "LD_LIBRARY_PATH": "/nonexistent",
        "MALLOC_PERTURB_": "165",
        "OMP_NUM_THREADS": "7",
        "PYTHONHASHSEED": "4242",
        "TZ": "Pacific/Chatham",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    }
)
"""Variables of whoever starts the run. None of them may get inside, where the runtime would refuse most of them."""


def simulated(hosts: Mapping[Platform, tuple[Host, Host]], cores: int, native: Platform) -> list[Variant]:
    """The built-in variants, the reference of each platform first.

    Args:
        hosts: of each platform that is to be simulated, the host that runs it on this machine's own CPU, and the one
            that runs it on a CPU model.
        cores: that this process may use.
        native: this machine's platform.
    """
    found: list[Variant] = []
    for platform, (real, emulated) in sorted(hosts.items(), key=lambda item: item[0] != native):
        if platform == native:
            found.append(Variant("native", real))
            found += [Variant(_cores(count), real, Conditions(cores=count)) for count in core_counts(cores)]
            found.append(Variant("hostile", real, hostile(cores)))
        found += [Variant(_named(model), emulated, Conditions(cpu=model)) for model in MODELS[platform]]
    return found


def core_counts(cores: int) -> list[int]:
    """Core counts other than all of them: one, two, and in large machines about half and all but one."""
    return sorted({count for count in (1, 2, cores // 2, cores - 1) if 0 < count < cores})


def hostile(cores: int) -> Conditions:
    """What a host may do to a run without breaking the protocol."""
    return Conditions(
        environment=HOSTILE_INSIDE,
        starter=HOSTILE_OUTSIDE,
        umask=0o077,
        randomised=False,
        shift=_SHIFT,
        load=cores,
    )


def _cores(count: int) -> str:
    return f"{count}-core" if count == 1 else f"{count}-cores"


def _named(model: str) -> str:
    return "arm-max" if model.startswith("max,") else model.lower()
