"""What a kernel asks of a machine, held against what the machine offers. Pure.

These are the requirements of the runtime's own gate (docs/protocol.md, section 5), but for those that only a process
inside the image can see: its environment and its floating-point mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from builder.hosts.offer import Accelerator, Offer
from builder.platforms import NAMES, Platform
from builder.spec import features
from builder.spec.model import Spec, bytes_of

UNPINNED: Final[Mapping[str, tuple[str, ...]]] = {"arm64": ("sme",)}
"""Features that the profile `pinned` has no pin for, as docs/protocol.md, section 5, says."""

_OTHER_MACHINE = "run it on a machine that has one, and give the process access to it"
_OTHER_CPU = "run it on a newer CPU, or declare a lower hardware.cpu and build again"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that is asked of a machine.

    Attributes:
        name: of what is asked for.
        needed: how much of it, or which.
        found: what there is.
        met: whether that is enough.
        remedy: what to do if it is not.
        optional: whether the machine does without, for all but some uses that `needed` names.
    """

    name: str
    needed: str
    found: str
    met: bool
    remedy: str
    optional: bool = False


def requirements(spec: Spec, offer: Offer) -> tuple[Requirement, ...]:
    """What a kernel needs of a machine, one for one."""
    wanted = {_debian(platform): platform for platform in spec.kernel.platforms}
    here = offer.architecture
    architecture = Requirement(
        "architecture",
        " or ".join(sorted(wanted)),
        here,
        here in wanted,
        f"run it on such a machine; `kbuild run --platform {spec.kernel.platforms[0]}` emulates one",
    )
    cpu = _cpu(spec, offer) if here in wanted else ()
    needed = bytes_of(spec.hardware.memory)
    return (
        architecture,
        *cpu,
        Requirement(
            "memory",
            _gib(needed),
            _gib(offer.memory),
            offer.memory >= needed,
            "give it more: the machine's memory or the limit of the control group or process is too small",
        ),
        *_accelerators(spec, offer.accelerators),
    )


def _cpu(spec: Spec, offer: Offer) -> Iterator[Requirement]:
    level: str = getattr(spec.hardware.cpu, offer.architecture)
    missing = sorted(features.LEVELS[level] - offer.features)
    found = f"a CPU without {', '.join(missing)}" if missing else level
    yield Requirement("CPU level", level, found, not missing, _OTHER_CPU)
    for name in getattr(spec.hardware.features, offer.architecture):
        has = name in offer.features
        yield Requirement(f"CPU feature {name}", "it", _having(has), has, "run it on a CPU with it")
    unpinned = UNPINNED.get(offer.architecture, ()) if spec.determinism.profile == "pinned" else ()
    for name in dict.fromkeys((*getattr(spec.hardware.without, offer.architecture), *unpinned)):
        has = name in offer.features
        yield Requirement(f"CPU feature {name}", _having(False), _having(has), not has, "run it on a CPU without it")


def _accelerators(spec: Spec, found: Sequence[Accelerator]) -> Iterator[Requirement]:
    """What is asked of accelerators: of each that there is, since nothing says which one will be used."""
    if spec.hardware.accelerator == "none":
        yield Requirement("accelerator", "none", "; ".join(map(str, found)) or "none", met=True, remedy="")
        return
    models = ", ".join(one.model for one in found) or "none"
    yield Requirement("accelerator", "an NVIDIA GPU and its driver", models, bool(found), _OTHER_MACHINE)
    drivers, capabilities = [one.driver for one in found], [one.capability for one in found]
    for name, least, own, remedy in (
        ("accelerator driver", spec.hardware.cuda.driver, drivers, "install a newer driver"),
        ("compute capability", spec.hardware.cuda.capability, capabilities, "run it on a newer GPU"),
    ):
        if least:
            met = bool(own) and all(_at_least(one, least) for one in own)
            says = ", ".join(dict.fromkeys(own)) or "none"
            yield Requirement(name, f"{least} or newer", says, met, remedy if found else _OTHER_MACHINE)


def _at_least(found: str, needed: str) -> bool:
    """Whether a version is another or a later one; one that nobody knows is not."""
    if not found.replace(".", "").isdecimal():
        return False
    return [int(part) for part in found.split(".") if part] >= [int(part) for part in needed.split(".")]


def _having(has: bool) -> str:  # noqa: FBT001
    return "a CPU with it" if has else "a CPU without it"


def _debian(platform: Platform) -> str:
    return NAMES[platform].debian


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
