"""Whether this host may run this kernel: what it needs, compared with what was found, one line per requirement."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kernels.runtime import environment
from kernels.runtime.accelerator import Accelerator
from kernels.runtime.declared import Cuda, Declared
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

UNPINNED = {"arm64": ("sme",)}
"""Features that code chooses its way by and that no setting keeps it from: YNNPACK's SME kernels add in another order
(minilm's products over 1536 values parted from every other Arm CPU's), and jaxlib 0.10 has no switch for them."""

_OTHER_CPU = "run it on a newer CPU, or declare a lower hardware.cpu and build again"
_OTHER_MACHINE = "run it on a machine that has one, and give the process access to it"
_ENVIRONMENT = "start the image with the environment that its own configuration sets"
_MODE = "start the image from a process that leaves the floating-point mode alone"


class Requirement(NamedTuple):
    """One thing that a kernel asks of a host: what it needs, what was found, and what to do if that is not enough."""

    name: str
    needed: str
    found: str
    met: bool
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: needs {self.needed}, found {self.found}: {self.remedy}"


def admit(declared: Declared, host: Host, pinned: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Let a host in.

    Args:
        declared: what the spec asks for.
        host: what was observed.
        pinned: the environment that the image was built for.
        environ: the environment that there is.

    Raises:
        HostError: it may not run the kernel; the message has a line for each requirement that is not met.
    """
    every = [*machine(declared, host), *variables(pinned, environ)]
    if unmet := [item for item in every if not item.met]:
        lines = "".join(f"\n  {item}" for item in unmet)
        raise HostError(f"this host may not run the kernel{lines}", unmet=unmet)


def machine(declared: Declared, host: Host) -> list[Requirement]:
    """What the kernel asks of a machine, whatever the environment."""
    architecture = host.platform.removeprefix("linux/")
    level = declared.cpu.get(architecture)
    known = level is not None and level in LEVELS
    found = [
        Requirement(
            "architecture",
            " or ".join(sorted(declared.cpu)),
            architecture,
            known,
            "run it on a machine of that architecture",
        )
    ]
    if known and level is not None:
        missing = sorted(LEVELS[level] - host.features)
        says = f"a CPU without {', '.join(missing)}" if missing else level
        found.append(Requirement("CPU level", level, says, not missing, _OTHER_CPU))
    found += [
        Requirement(
            f"CPU feature {name}",
            "it",
            _having(name in host.features),
            name in host.features,
            "run it on a CPU with it",
        )
        for name in declared.features.get(architecture, ())
    ]
    unwanted = list(declared.without.get(architecture, ()))
    if declared.profile == "pinned":
        unwanted += [name for name in UNPINNED.get(architecture, ()) if name not in unwanted]
    found += [
        Requirement(
            f"CPU feature {name}",
            "a CPU without it",
            _having(name in host.features),
            name not in host.features,
            "run it on a CPU without it",
        )
        for name in unwanted
    ]
    return [
        *found,
        Requirement(
            "memory",
            f"{declared.memory} bytes",
            f"{host.memory} bytes",
            host.memory >= declared.memory,
            "give it more: the machine's memory or the limit of the container or process is too small",
        ),
        *_accelerators(declared.cuda, host.accelerators),
        Requirement("rounding", "to nearest", "to nearest" if host.nearest else "another mode", host.nearest, _MODE),
        Requirement(
            "subnormal numbers", "kept", "kept" if host.denormals else "flushed to zero", host.denormals, _MODE
        ),
    ]


def _accelerators(wanted: Cuda | None, found: Sequence[Accelerator]) -> list[Requirement]:
    """What is asked of accelerators: of each that there is, since nothing says which one will be used."""
    if wanted is None:
        return []
    models = ", ".join(one.model for one in found) or "none"
    lines = [Requirement("accelerator", "an NVIDIA GPU and its driver", models, bool(found), _OTHER_MACHINE)]
    for name, least, own, remedy in (
        ("accelerator driver", wanted.driver, [one.driver for one in found], "install a newer driver"),
        ("compute capability", wanted.capability, [one.capability for one in found], "run it on a newer GPU"),
    ):
        if least:
            met = bool(own) and all(_at_least(one, least) for one in own)
            says = ", ".join(dict.fromkeys(own)) or "none"
            lines.append(Requirement(name, f"{least} or newer", says, met, remedy if found else _OTHER_MACHINE))
    return lines


def _at_least(found: str, needed: str) -> bool:
    """Whether one version, of numbers with dots between, is another or a later one; one that nobody knows is not."""
    if not found.replace(".", "").isdecimal():
        return False
    mine, least = ([int(part) for part in text.split(".") if part] for text in (found, needed))
    return mine >= least


def variables(pinned: Mapping[str, str], environ: Mapping[str, str]) -> list[Requirement]:
    """What the image asks of the environment: each variable that is pinned, and none that leaked in."""
    found = [
        Requirement(
            f"variable {name}",
            repr(value),
            repr(environ[name]) if name in environ else "none",
            environ.get(name) == value,
            _ENVIRONMENT,
        )
        for name, value in pinned.items()
    ]
    leaks = environment.leaked(pinned, environ)
    return [*found, *(Requirement(f"variable {name}", "none", "one", False, _ENVIRONMENT) for name in leaks)]


def require_modules() -> None:
    """Find what the runtime will import, without the time that importing takes.

    Raises:
        KernelError: the image lacks some of it.
    """
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        names = " and ".join(absent)
        raise KernelError(f"the image has no {names}", hint=f"name {names} in the spec's python.requirements")


def _having(has: bool) -> str:  # noqa: FBT001
    return "a CPU with it" if has else "a CPU without it"
