"""Which operations are carried out together, as a graph that stays free of cycles while its nodes grow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush


@dataclass(slots=True, eq=False)
class Unit:
    """Operations by index, and as sets of bits: itself (with those merged into it), and all that it waits for."""

    members: list[int]
    mask: int
    above: int = 0
    parents: set[Unit] = field(default_factory=set)


class Units:
    """All units so far."""

    def __init__(self) -> None:
        self._units: list[Unit] = []
        self._made = 0
        self._merged: dict[Unit, Unit] = {}

    def new(self, member: int, parents: Iterable[Unit]) -> Unit:
        """A unit of one operation that takes what others give."""
        unit = Unit([member], 1 << self._made)
        self._made += 1
        self._units.append(unit)
        self._wait(unit, parents)
        return unit

    def now(self, unit: Unit) -> Unit:
        """What a unit has become by merging."""
        while unit in self._merged:
            unit = self._merged[unit]
        return unit

    @staticmethod
    def waits(unit: Unit, on: Unit) -> bool:
        """Whether a unit needs what another one gives, through whatever lies between."""
        return bool(unit.above & on.mask)

    def takes(self, unit: Unit, parents: Iterable[Unit]) -> bool:
        """Whether a unit could also wait for others without waiting for itself."""
        return not any(parent is not unit and self.waits(parent, unit) for parent in parents)

    def join(self, unit: Unit, member: int, parents: Iterable[Unit]) -> None:
        """Put an operation into a unit that `takes` its parents."""
        unit.members.append(member)
        self._wait(unit, (parent for parent in parents if parent is not unit))

    def merge(self, one: Unit, other: Unit) -> Unit | None:
        """Make two units one, unless a third stands between them."""
        if self._between(one, other) or self._between(other, one):
            return None
        one.members.extend(other.members)
        one.mask |= other.mask
        self._units.remove(other)
        self._merged[other] = one
        self._wait(one, other.parents)
        one.parents = {parent for parent in map(self.now, one.parents) if parent is not one}
        one.above &= ~one.mask
        for unit in self._units:
            if unit is not one and unit.above & one.mask:
                unit.above |= one.above | one.mask
        return one

    def _between(self, first: Unit, last: Unit) -> bool:
        return any(p is not first and self.waits(p, first) for p in map(self.now, last.parents))

    def _wait(self, unit: Unit, parents: Iterable[Unit]) -> None:
        more = 0
        for parent in map(self.now, parents):
            if parent is not unit:
                unit.parents.add(parent)
                more |= parent.above | parent.mask
        if more & ~unit.above & ~unit.mask:
            unit.above |= more & ~unit.mask
            for later in self._units:
                if later.above & unit.mask:
                    later.above |= unit.above

    def ordered(self) -> Sequence[Unit]:
        """All of them, each after those it waits for, else as their first operations stand in the program."""
        children: dict[Unit, list[Unit]] = {unit: [] for unit in self._units}
        waiting: dict[Unit, int] = {}
        ready: list[tuple[int, int]] = []
        numbers = {unit: number for number, unit in enumerate(self._units)}
        for unit in self._units:
            parents = {parent for parent in map(self.now, unit.parents) if parent is not unit}
            waiting[unit] = len(parents)
            for parent in parents:
                children[parent].append(unit)
            if not parents:
                heappush(ready, (min(unit.members), numbers[unit]))
        order = []
        while ready:
            unit = self._units[heappop(ready)[1]]
            order.append(unit)
            for child in children[unit]:
                waiting[child] -= 1
                if waiting[child] == 0:
                    heappush(ready, (min(child.members), numbers[child]))
        return order
