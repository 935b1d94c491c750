"""Which operations become one: chains of elementwise operations with the row reductions between them.

A group is carried out by one call of the fused machine (fused.py), which keeps what lies between in registers and L1.
Every operation in it rounds as if it stood alone, so grouping moves no bit. It only saves memory traffic and calls.

A group has a shape. Its values have this shape ("full"), or it less its last axes ("rows": what a reduction over
these gives, and what is computed from such alone). Broadcasts cost nothing: operands are read by strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from kernels.runtime.portable import fused
from kernels.runtime.portable.flatten import Known, Operand, Operation, Program
from kernels.runtime.portable.movement import FLOATS, MOVING
from kernels.runtime.portable.registry import Owner, elementwise, owner, step_name
from kernels.runtime.portable.units import Unit, Units
from kernels.runtime.portable.views import View, Views, squeezed

ROWS: Final = frozenset({"reduce_sum", "reduce_max", "reduce_min"})

MOST_STEPS: Final = 64
"""Of one group: what a program holds in L1 grows with it."""

FEWEST_ROWS: Final = 8
"""A group is cut over threads by rows; fewer rows than this only pay when they are short."""

SHORT: Final = 1 << 14
"""Elements in all that make cutting over threads pointless."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """A group as the fused machine takes it. `results` are pairs of a value's number and the slot that it fills."""

    shape: tuple[int, ...]
    operands: tuple[View, ...]
    steps: tuple[fused.Step, ...]
    results: tuple[tuple[int, int], ...]
    operations: tuple[Operation, ...]


Step = Operation | Fusion
Plan = Callable[[Program], Sequence[Step]]


def alone(program: Program) -> list[Step]:
    """Every operation by itself."""
    views = Views(program)
    found: list[Step] = []
    for operation in program.operations:
        if owner(operation, program) == "elementwise":
            group = _Group(squeezed(program.kinds[operation.outputs[0]].shape), members=[operation])
            found.append(_fusion(group, set(operation.outputs), program, views))
        else:
            found.append(operation)
    return found


def grouped(program: Program) -> list[Step]:
    """The largest groups that an operation at a time finds, in an order that is possible."""
    return _Planner(program).plan()


@dataclass(slots=True)
class _Group:
    shape: tuple[int, ...]
    trailing: int = 0
    """How many axes are reduced; none as long as nothing is."""
    members: list[Operation] = field(default_factory=list)
    full: dict[int, frozenset[int]] = field(default_factory=dict)
    """Values of the group's shape, with the axes along which they can vary."""
    rows: set[int] = field(default_factory=set)

    @property
    def kept(self) -> int:
        """How many axes rows have."""
        return len(self.shape) - self.trailing

    def add(self, operation: Operation, arguments: Sequence[View], *, row: bool) -> None:
        self.members.append(operation)
        if row:
            self.rows.update(operation.outputs)
        else:
            self.full[operation.outputs[0]] = self._varies(arguments)

    def absorb(self, other: _Group) -> None:
        self.trailing = self.trailing or other.trailing
        self.members += other.members
        self.full |= other.full
        self.rows |= other.rows

    def goes_with(self, other: _Group) -> bool:
        agree = self.shape == other.shape and (self.trailing == other.trailing or not self.trailing * other.trailing)
        return agree and len(self.members) + len(other.members) <= MOST_STEPS

    def role(self, shape: tuple[int, ...], arguments: Sequence[View]) -> str | None:
        """What an elementwise operation's result would be here: "full", "row", or None if it doesn't belong."""
        if len(self.members) >= MOST_STEPS or 0 in self.shape:
            return None
        along = tuple(range(len(self.shape)))
        if shape == self.shape:
            inside = [view for view in arguments if self.has(view)]
            if any(view.axes != (along[: self.kept] if view.base in self.rows else along) for view in inside):
                return None
            across = self._varies(arguments).isdisjoint(along[self.kept :])  # the machine would take it for a row
            return None if across and any(view.base in self.rows for view in inside) else "full"
        if self.trailing and shape == self.shape[: self.kept]:
            fit = all(
                view.base in self.rows and view.axes == along[: self.kept] for view in arguments if self.has(view)
            )
            return "row" if fit else None
        return None

    def _varies(self, arguments: Sequence[View]) -> frozenset[int]:
        return frozenset().union(*(self.full.get(v.base, v.axes) if isinstance(v.base, int) else () for v in arguments))

    def reduces(self, shape: tuple[int, ...], trailing: int, argument: View) -> bool:
        """Whether a reduction of these last axes belongs here."""
        if len(self.members) >= MOST_STEPS or shape != self.shape or self.trailing not in {0, trailing}:
            return False
        return not self.has(argument) or (argument.base in self.full and argument.axes == tuple(range(len(shape))))

    def has(self, view: View) -> bool:
        return view.base in self.full or view.base in self.rows


class _Planner:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._views = Views(program)
        self._units = Units()
        self._made: dict[int, Unit] = {}
        self._groups: dict[Unit, _Group] = {}
        self._owners = [owner(operation, program) for operation in program.operations]
        self._canonical = _canonical(program, self._owners)

    def plan(self) -> list[Step]:
        for index, operation in enumerate(self._program.operations):
            if not self._shows(operation):
                unit = self._fused(index, operation) or self._units.new(index, self._makers(self._bases(operation)))
                self._made.update(dict.fromkeys(operation.outputs, unit))
        return self._with_views(self._emitted())

    def _shows(self, operation: Operation) -> bool:
        """Whether it only makes a view, which is in no unit: it is carried out for those that need an array of it."""
        return bool(operation.outputs) and operation.outputs[0] in self._views

    def _bases(self, operation: Operation) -> list[Operand]:
        return [self._views.of(one).base for one in operation.inputs]

    def _makers(self, operands: Sequence[Operand]) -> list[Unit]:
        return [self._units.now(self._made[one]) for one in operands if isinstance(one, int) and one in self._made]

    def _fused(self, index: int, operation: Operation) -> Unit | None:
        """Put an operation into a group, an old or a new one; None if it's of no kind that has groups."""
        if not elementwise(operation, self._program) or not self._keeps_bits(operation):
            return None
        if operation.name in ROWS and not _of_single_elements(operation, self._program):
            return self._reduction(index, operation)
        arguments = _arguments(operation, self._program, self._views)
        flat = squeezed(self._program.kinds[operation.outputs[0]].shape)
        makers = self._makers([view.base for view in arguments])
        found = self._candidates(makers, lambda group: group.role(flat, arguments) is not None)
        if found is None:
            return self._seed(index, operation, _Group(flat), arguments)
        row = self._groups[found].role(flat, arguments) == "row"
        self._units.join(found, index, makers)
        self._groups[found].add(operation, arguments, row=row)
        return found

    def _keeps_bits(self, operation: Operation) -> bool:
        """Whether the machine, whose results have only the one NaN, selects as movement does, which keeps all bits."""
        if operation.name != "select_n" or str(self._program.kinds[operation.outputs[0]].dtype) not in FLOATS:
            return True
        return all(isinstance(one, Known) or one in self._canonical for one in operation.inputs[1:])

    def _reduction(self, index: int, operation: Operation) -> Unit | None:
        own, axes = self._program.kind(operation.inputs[0]).shape, operation.params["axes"]
        shape = squeezed(own)
        trailing = sum(own[axis] != 1 for axis in axes)
        last = {axis for axis, size in enumerate(own) if size != 1}
        last = set(sorted(last)[len(last) - trailing :])
        if not trailing or not last <= set(axes) or not _pays(shape, trailing):
            return None
        argument = self._views.of(operation.inputs[0])
        makers = self._makers([argument.base])
        found = self._candidates(makers, lambda group: group.reduces(shape, trailing, argument))
        if found is None:
            unit = self._seed(index, operation, _Group(shape, trailing), [argument], row=True)
        else:
            unit = found
            self._units.join(unit, index, makers)
            self._groups[unit].trailing = trailing
            self._groups[unit].add(operation, [argument], row=True)
        return unit

    def _seed(
        self, index: int, operation: Operation, group: _Group, arguments: Sequence[View], *, row: bool = False
    ) -> Unit:
        unit = self._units.new(index, self._makers([view.base for view in arguments]))
        group.add(operation, arguments, row=row)
        self._groups[unit] = group
        return unit

    def _candidates(self, makers: Sequence[Unit], belongs: Callable[[_Group], bool]) -> Unit | None:
        """The group to join, out of those that made an operand; they become one where that is possible."""
        found = [unit for unit in dict.fromkeys(makers) if unit in self._groups and belongs(self._groups[unit])]
        chosen: list[Unit] = []
        for unit in found:
            for position, other in enumerate(chosen):
                merged = self._merged(other, unit)
                if merged is not None:
                    chosen[position] = merged
                    break
            else:
                chosen.append(unit)
        now = [self._units.now(maker) for maker in makers]
        for unit in chosen:
            if self._units.takes(unit, now) and belongs(self._groups[unit]):
                return unit
        return None

    def _merged(self, one: Unit, other: Unit) -> Unit | None:
        if not self._groups[one].goes_with(self._groups[other]):
            return None
        merged = self._units.merge(one, other)
        if merged is not None:
            self._groups[one].absorb(self._groups.pop(other))
        return merged

    def _emitted(self) -> list[Step]:
        operations = self._program.operations
        needed = {self._views.of(one).base for one in self._program.results}
        steps: list[Step] = []
        for unit in reversed(self._units.ordered()):
            members = sorted(unit.members)
            group = self._groups.get(unit)
            if group is not None and self._worth(members):
                group.members = [operations[index] for index in members]
                fusion = _fusion(group, needed, self._program, self._views)
                needed.update(view.base for view in fusion.operands)
                steps.append(fusion)
                continue
            for index in reversed(members):
                operation = operations[index]
                if operation.acts or not needed.isdisjoint(operation.outputs):
                    needed.update(self._bases(operation))
                    steps.append(operation)
        return steps[::-1]

    def _with_views(self, steps: Sequence[Step]) -> list[Step]:
        """Steps, and before each the views that it needs as arrays."""
        makers = {made.outputs[0]: made for made in self._program.operations if self._shows(made)}
        found: list[Step] = []

        def show(operands: Sequence[Operand]) -> None:
            for one in operands:
                if isinstance(one, int) and one in makers:
                    operation = makers.pop(one)
                    show(operation.inputs)
                    found.append(operation)

        for step in steps:
            if isinstance(step, Operation):
                show(step.inputs)
            found.append(step)
        show(self._program.results)
        return found

    def _worth(self, members: Sequence[int]) -> bool:
        """Whether a group is more than movement, which XLA does as well, or one reduction, which has its own rule."""
        if any(self._owners[index] == "elementwise" for index in members):
            return True
        return len(members) > 1 and any(self._program.operations[index].name in ROWS for index in members)


def _canonical(program: Program, owners: Sequence[Owner]) -> set[int]:
    """The slots whose values have no NaN but the one: what is computed, and what is moved of that alone."""
    found: set[int] = set()
    for operation, who in zip(program.operations, owners, strict=True):
        moved = all(isinstance(one, Known) or one in found for one in operation.inputs)
        computed = who == "elementwise" or (callable(who) and operation.name not in MOVING)
        if computed or (who != "control" and moved):
            found.update(operation.outputs)
    return found


def _pays(shape: tuple[int, ...], trailing: int) -> bool:
    row, rows = math.prod(shape[len(shape) - trailing :]), math.prod(shape[: len(shape) - trailing])
    return 0 not in shape and row <= fused.LONGEST_ROW and (rows >= FEWEST_ROWS or row * rows <= SHORT)


def _fusion(group: _Group, needed: Container[Operand], program: Program, views: Views) -> Fusion:
    """Number a group's values: operands first, then one per operation."""
    inside = {slot for operation in group.members for slot in operation.outputs}
    arguments = [_arguments(operation, program, views) for operation in group.members]
    operands: dict[object, View] = {}
    for view in (one for several in arguments for one in several):
        if view.base not in inside:
            operands.setdefault(_key(view), view)
    numbers = {key: number for number, key in enumerate(operands)}
    numbers |= {operation.outputs[0]: len(operands) + number for number, operation in enumerate(group.members)}
    steps = tuple(
        _step(
            operation, [numbers[view.base if view.base in inside else _key(view)] for view in several], program, group
        )
        for operation, several in zip(group.members, arguments, strict=True)
    )
    slots = [operation.outputs[0] for operation in group.members]
    results = tuple((numbers[slot], slot) for slot in slots if slot in needed)
    return Fusion(group.shape, tuple(operands.values()), steps, results, tuple(group.members))


def _of_single_elements(operation: Operation, program: Program) -> bool:
    """Whether a reduction is a sum of one element each: x + 0, by rule R1."""
    shape = program.kind(operation.inputs[0]).shape
    return operation.name == "reduce_sum" and all(shape[axis] == 1 for axis in operation.params["axes"])


def _arguments(operation: Operation, program: Program, views: Views) -> list[View]:
    if operation.name in ROWS:
        zero = [Known(np.zeros((), program.kind(operation.inputs[0]).dtype))]
        zeros = zero if _of_single_elements(operation, program) else []
        return [views.of(one) for one in (operation.inputs[0], *zeros)]
    shape = program.kinds[operation.outputs[0]].shape
    return [views.stretched(one, shape) for one in operation.inputs]


def _step(operation: Operation, arguments: Sequence[int], program: Program, group: _Group) -> fused.Step:
    dtype, numbers = program.kinds[operation.outputs[0]].dtype, tuple(arguments)
    if operation.name not in ROWS:
        return fused.Step(step_name(operation), numbers, dtype, operation.params)
    if _of_single_elements(operation, program):
        return fused.Step("add", numbers, dtype, {})
    return fused.Step(operation.name, numbers, dtype, {"axes": tuple(range(group.kept, len(group.shape)))})


def _key(view: View) -> object:
    """What makes two operands one."""
    if isinstance(view.base, Known):
        return str(view.base.value.dtype), view.base.value.tobytes(), view.axes
    return view
