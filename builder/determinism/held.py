"""How a spec holds each influence on a platform, and what the pins that it overrides or lets go cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from builder.determinism.influence import Influence
from builder.determinism.influences import INFLUENCES
from builder.determinism.pins import pins, xla_flags
from builder.platforms import Platform
from builder.spec.model import Spec


class How(StrEnum):
    """Whether an influence is held."""

    PINNED = "pinned"
    """Its variables and flags have the profile's values."""
    OVERRIDDEN = "overridden"
    """The spec sets one of them to something else."""
    UNPINNED = "unpinned"
    """The spec lets them go."""
    HELD = "held"
    """By what the image is."""
    OPEN = "open"
    """Nothing holds it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """How one influence is held: `values` are its pins as the image sets them, by name."""

    influence: Influence
    how: How
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Override:
    """A pin of the profile that a spec replaces, or leaves out (`value` is None), and why it is in the profile."""

    name: str
    profile: str
    value: str | None
    why: str

    def cost(self) -> str:
        """What the spec does and what that may cost, in a sentence for people."""
        does = f"sets {self.name} to {self.value}" if self.value is not None else f"leaves {self.name} out"
        return f"the spec {does}, which `pinned` sets to {self.profile}; results may differ between hosts: {self.why}"


def holdings(spec: Spec, platform: Platform) -> list[Holding]:
    """Every influence that acts on a platform, in the table's order."""
    values = {pin.name: value for pin, value in pins(spec, platform)} | xla_flags(spec, platform)
    replaced = {item.name for item in overrides(spec, platform)}
    found = []
    for influence in INFLUENCES:
        if platform not in influence.platforms:
            continue
        own = {name: values[name] for name in influence.pins if name in values}
        if influence.name in spec.determinism.unpin:
            how = How.UNPINNED
        elif replaced & set(influence.pins):
            how = How.OVERRIDDEN
        elif own:
            how = How.PINNED
        else:
            how = How.HELD if influence.held else How.OPEN
        found.append(Holding(influence, how, own))
    return found


def overrides(spec: Spec, platform: Platform) -> list[Override]:
    """The pins of the profile that a spec replaces in `[xla] flags` or lets go in `unpin`, sorted by name."""
    tables = spec.determinism.model_copy(update={"unpin": ()})
    full = pins(spec.model_copy(update={"determinism": tables}), platform)
    kept = {pin.name for pin, _ in pins(spec, platform)}
    chosen = xla_flags(spec, platform)
    found = []
    for pin, value in full:
        now = chosen.get(pin.name) if pin.kind == "xla" or pin.name not in kept else value
        if now != value:
            found.append(Override(pin.name, value, now, pin.why))
    return sorted(found, key=lambda item: item.name)


def nobodys() -> Spec:
    """A spec that says nothing of its own, so that the profile speaks."""
    tensor = {"dtype": "float32"}
    kernel = {"name": "any", "version": "1.0.0", "entry": "model:any"}
    return Spec.model_validate({"schema": 1, "kernel": kernel, "inputs": {"x": tensor}, "outputs": {"y": tensor}})
