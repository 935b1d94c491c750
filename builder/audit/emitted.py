"""The code that XLA emitted for a program: what it holds, and what of it fails a build.

    found = emitted(read(serialised, schema))                      # builder.audit.executable.read
    require_portable(found, "classify", libraries={"portable"})    # or require_clean(found, "classify", allowed=())

Under the profile `pinned` code must hold no instruction whose bits are not the same everywhere; under `portable` it
must also not compute in floating point at all, nor have XLA's libraries do so: both are the runtime's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from builder.audit.binary import Machine, parse
from builder.audit.executable import Executable
from builder.audit.floats import floats
from builder.audit.scan import Audit, Finding, audit_content, order
from builder.audit.traits import MEANINGS, REFUSED, Trait
from builder.errors import IntegrityError, KernelError

_SHOWN: Final = 8
_HINTS: Final[Mapping[Trait, str]] = {
    Trait.ESTIMATE: "set xla_cpu_enable_platform_dependent_math to false, as the profile pinned does",
    Trait.FLOAT: "the transform left this operation to XLA; the profile pinned lets XLA compute it",
}


@dataclass(frozen=True, slots=True)
class Emitted:
    """An executable and its audit; each finding's function is a symbol of `executable.kernels`."""

    executable: Executable
    audit: Audit

    def described(self, function: str) -> str:
        """A function, and the operations and source lines that it was emitted for."""
        kernel = self.executable.kernels.get(function)
        return f"{function}: {'; '.join(kernel.operations)}" if kernel and kernel.operations else function

    def calls(self) -> dict[str, int]:
        """How many steps code outside of the executable computes, by kind and target."""
        return dict(sorted(Counter(f"{call.kind} {call.target}".strip() for call in self.executable.calls).items()))


def emitted(executable: Executable) -> Emitted:
    """Decode every object of an executable.

    Raises:
        IntegrityError: one is for another machine than the executable.
    """
    made: list[Audit] = []
    for symbol, content in executable.objects.items():
        binary, found = parse(content), audit_content(content)
        if binary is None or found is None or not executable.target.triple.startswith(binary.machine.replace("-", "_")):
            raise IntegrityError(f"{symbol}: the code is not for {executable.target.triple}")
        known = {item.mnemonic for item in found.findings if item.trait in REFUSED}
        computing = [
            Finding(Trait.FLOAT, mnemonic, binary.function(place), 1, place, binary.start(place))
            for mnemonic, places in floats(binary, content).items()
            if mnemonic not in known
            for place in places
        ]
        made.append(replace(found, findings=(*found.findings, *_merged(computing))))
    if not made:
        machine: Machine = "aarch64" if executable.target.triple.startswith("aarch64") else "x86-64"
        return Emitted(executable, Audit(machine, 0, 0, ()))
    return Emitted(
        executable,
        Audit(
            made[0].machine,
            sum(item.instructions for item in made),
            sum(item.functions for item in made),
            tuple(sorted((finding for item in made for finding in item.findings), key=order)),
        ),
    )


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[tuple[str, str], Finding] = {}
    for item in findings:
        key = (item.function, item.mnemonic)
        found[key] = replace(found[key], count=found[key].count + 1) if key in found else item
    return list(found.values())


def require_clean(found: Emitted, where: str, *, allowed: Collection[str] = ()) -> None:
    """Raise `KernelError` if emitted code holds an instruction that does not give the same bits on every CPU.

    Args:
        found: of one program.
        where: the program's name, for people.
        allowed: traits that pass, by name.
    """
    _require(found, where, REFUSED - {Trait(name) for name in allowed})


def require_portable(found: Emitted, where: str, *, libraries: Collection[str], allowed: Collection[str] = ()) -> None:
    """As `require_clean`, and raise too if anything but the image's own libraries computes in floating point.

    Args:
        found: of one program.
        where: the program's name, for people.
        libraries: native libraries that were compiled for the image; a call's target begins with one and a point.
        allowed: traits that pass, by name.
    """
    _require(found, where, (REFUSED | {Trait.FLOAT}) - {Trait(name) for name in allowed})
    foreign = [
        call
        for call in found.executable.calls
        if call.floats and not (call.kind == "custom-call" and call.target.partition(".")[0] in libraries)
    ]
    if foreign:
        lines = [
            f"  {call.kind} {call.target}".rstrip() + f": {'; '.join(call.operations)}" for call in foreign[:_SHOWN]
        ]
        message = "the program leaves floating-point arithmetic to XLA's libraries, whose order is their own"
        raise KernelError(
            "\n".join((message, *lines)),
            where=where,
            hint=_HINTS[Trait.FLOAT],
        )


def _require(found: Emitted, where: str, refused: Collection[Trait]) -> None:
    bad = [item for item in found.audit.findings if item.trait in refused]
    if not bad:
        return
    held: dict[str, dict[str, int]] = {}
    for item in bad:
        held.setdefault(found.described(item.function), {})[item.mnemonic] = item.count
    lines = [
        f"  {', '.join(f'{count} {name}' for name, count in names.items())} in {function}"
        for function, names in list(held.items())[:_SHOWN]
    ]
    if len(held) > _SHOWN:
        lines.append(f"  and {len(held) - _SHOWN} functions more")
    traits = dict.fromkeys(item.trait for item in bad)
    why = "; ".join(MEANINGS[trait] for trait in traits)
    message = f"XLA emitted instructions that do not give the same bits on every CPU or on every call: {why}"
    raise KernelError(
        "\n".join((message, *lines)),
        where=where,
        hint=next((_HINTS[trait] for trait in traits if trait in _HINTS), None),
    )
