"""A fused program laid out for the native machine: phases, registers, tiles and blocks (native/fused.cc reads it).

A phase is what can run before the next reduction is known. A value lives in a block's scratch where its phase alone
uses it, in a tile's where a reduction or a later phase does, and in the result's memory where it is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from kernels.runtime.portable import fused_codes as codes
from kernels.runtime.portable.fused_program import Program, Step, Value, count

BLOCK: Final = 1024
"""Elements that a loop runs over: with a handful of live values they stay in the caches next to the core."""

PIECE: Final = 24_000
"""Nanoseconds of work that are worth handing to another thread."""

_EXACT: Final = frozenset(
    {
        *(codes.PLAIN.values()),
        *(codes.SELECTIONS.values()),
        *(codes.ROUNDINGS.values()),
        codes.BINARY["max"],
        codes.BINARY["min"],
        codes.BINARY["rem"],
        *(codes.REDUCTIONS[name] for name in ("reduce_max", "reduce_min")),
    }
)
"""Operations whose result, of narrow operands, is a narrow number already."""

_PAIRS: Final = frozenset({*codes.BINARY.values(), *codes.COMPARISONS.values(), *codes.LOGIC.values()})
_TRIPLES: Final = frozenset(codes.SELECTIONS.values())

_SIZES: Final = {number: dtype.itemsize for dtype, number in codes.TYPES.items()}


class _Place(IntEnum):
    BLOCK = 0
    TILE = 1
    ARGUMENT = 2
    RESULT = 3
    ROW = 4
    ROW_ARGUMENT = 5
    ROW_RESULT = 6


class _Register(NamedTuple):
    place: _Place
    size: int
    slot: int


class _Instruction(NamedTuple):
    op: int
    type: int
    out: _Register
    args: tuple[_Register, ...]
    scalars: int = 0
    parameter: int = 0


@dataclass
class _Phase:
    full: list[_Instruction] = field(default_factory=list)
    row: list[_Instruction] = field(default_factory=list)


def _held(kind: int) -> int:
    """The format of the register that holds a value."""
    return codes.FLOAT32 if kind in codes.NARROW else kind


class _Scheduler:
    """Emits a program's instructions, phase by phase."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.operands = len(program.types)
        self.length = count(program.shape[program.rows :])
        self.units = count(program.shape[: program.rows])
        self.tile_units = max(1, BLOCK // self.length) if self.length else BLOCK
        self.block = BLOCK
        self.prologue: list[_Instruction] = []
        self.phases: list[_Phase] = []
        self.level = self.phase_of_values()
        self.spans = self.values_across_phases()
        self.fresh = itertools.count()
        self.row_slots = itertools.count()
        self.pairs = self.values_inside_pairs()
        self.homes: dict[int, _Register] = {}
        self.persistent: dict[int, _Register] = {}
        self.loaded: dict[tuple[int, bool], _Register] = {}
        self.loads: list[tuple[int, tuple[int, ...]]] = []

    def phase_of_values(self) -> list[int]:
        level = [0] * self.operands
        for place, step in enumerate(self.program.steps):
            value = self.program.values[self.operands + place]
            by_element = not value.row or step.op in codes.REDUCTIONS
            waits = (
                level[arg] + (by_element and self.program.values[arg].row and arg >= self.operands) for arg in step.args
            )
            level.append(max(waits, default=0))
        return level

    def values_across_phases(self) -> set[int]:
        spans = set()
        for place, step in enumerate(self.program.steps):
            for arg in step.args:
                full = arg >= self.operands and not self.program.values[arg].row
                if full and (self.level[arg] != self.level[self.operands + place] or step.op in codes.REDUCTIONS):
                    spans.add(arg)
        return spans

    def values_inside_pairs(self) -> set[int]:
        """Values that only the next operation of a pair uses, and so never reach memory."""
        users: dict[int, list[int]] = {}
        for place, step in enumerate(self.program.steps):
            for arg in step.args:
                users.setdefault(arg, []).append(self.operands + place)
        inside: set[int] = set()
        for place, step in enumerate(self.program.steps):
            value = self.operands + place
            if not self.pairable(value) or any(arg in inside for arg in step.args):
                continue
            (user, *more) = users.get(value, [0])
            alone = user >= self.operands and not more and value not in self.program.results
            together = alone and self.pairable(user) and self.level[user] == self.level[value]
            if together and not any(arg in inside for arg in self.program.steps[user - self.operands].args):
                inside.add(value)
        return inside

    def pairable(self, value: int) -> bool:
        shown = self.program.values[value]
        step = self.program.steps[value - self.operands]
        return step.op in codes.PAIRABLE and not shown.row and shown.type in {codes.FLOAT32, codes.FLOAT64}

    def pair(self, step: Step) -> tuple[int, list[int], int] | None:
        """The number, arguments and parameter of a step and of the one before it, where they are a pair."""
        place = next((place for place, arg in enumerate(step.args) if arg in self.pairs), None)
        if place is None:
            return None
        first = self.program.steps[step.args[place] - self.operands]
        second = codes.FROM if step.op == "sub" and place == 1 else codes.PAIRABLE[step.op]
        return codes.PAIR, [*first.args, step.args[1 - place]], codes.PAIRABLE[first.op] * 4 + second

    def scratch(self, kind: int) -> _Register:
        return _Register(_Place.BLOCK, _SIZES[kind], next(self.fresh))

    def row_scratch(self, kind: int) -> _Register:
        return _Register(_Place.ROW, _SIZES[kind], next(self.row_slots))

    def run(self) -> None:
        for level in range(max(self.level, default=0) + 1):
            phase = _Phase()
            self.phases.append(phase)
            self.loaded = {}
            values = [v for v in range(self.operands, len(self.level)) if self.level[v] == level]
            for value in values:
                if not self.program.values[value].row:
                    self.step(phase.full, value, row=False)
            for value in values:
                if self.program.values[value].row:
                    self.before_reduction(phase, value)
                    self.step(phase.row, value, row=True)
            self.results(phase, level)

    def before_reduction(self, phase: _Phase, value: int) -> None:
        """A reduction reads whole rows from memory: make them, where nothing has."""
        step = self.program.steps[value - self.operands]
        (arg, *rest) = step.args
        if step.op not in codes.REDUCTIONS or rest or (arg in self.homes and not self.program.values[arg].row):
            return
        if arg < self.operands and self.dense(arg) and self.program.types[arg] not in codes.NARROW:
            self.homes[arg] = _Register(_Place.ARGUMENT, _SIZES[self.program.types[arg]], arg)
            return
        kind = _held(self.program.values[arg].type)
        rows = _Register(_Place.TILE, _SIZES[kind], next(self.fresh))
        phase.full.append(_Instruction(codes.MOVE, kind, rows, (self.full(phase.full, arg),)))
        self.loaded[arg, False] = rows

    def dense(self, operand: int) -> bool:
        """Whether an operand's memory is that of the whole program, in order."""
        expected = 1
        for size, step in zip(reversed(self.program.shape), reversed(self.program.strides[operand]), strict=True):
            if size != 1 and step != expected:
                return False
            expected *= size
        return True

    def scalar(self, operand: int) -> bool:
        return operand < self.operands and not any(self.program.strides[operand])

    def load(self, out: list[_Instruction], operand: int, *, row: bool) -> _Register:
        """The register of an operand in the format that it is computed in."""
        kind = self.program.types[operand]
        size = _SIZES[kind]
        if not row and self.dense(operand) and not self.scalar(operand):
            register = _Register(_Place.ARGUMENT, size, operand)
        else:
            register = self.row_scratch(kind) if row else self.scratch(kind)
            out.append(_Instruction(codes.LOAD, kind, register, (), parameter=operand))
        if kind in codes.NARROW:
            wide = self.row_scratch(codes.FLOAT32) if row else self.scratch(codes.FLOAT32)
            out.append(_Instruction(codes.CONVERT, kind, wide, (register,), parameter=codes.FLOAT32))
            register = wide
        return register

    def constant(self, operand: int) -> _Register:
        if operand not in self.persistent:
            self.persistent[operand] = self.load(self.prologue, operand, row=False)
        return self.persistent[operand]

    def full(self, out: list[_Instruction], value: int) -> _Register:
        """A value's register with one element for each element of the block."""
        if self.scalar(value):
            return self.constant(value)
        if (value, False) in self.loaded:
            return self.loaded[value, False]
        if value >= self.operands and not self.program.values[value].row:
            return self.homes[value]
        if value < self.operands:
            register = self.load(out, value, row=False)
        else:
            kind = _held(self.program.values[value].type)
            register = self.scratch(kind)
            out.append(_Instruction(codes.FILL, kind, register, (self.homes[value],)))
        self.loaded[value, False] = register
        return register

    def by_row(self, out: list[_Instruction], value: int) -> _Register:
        if self.scalar(value):
            return self.constant(value)
        if value >= self.operands:
            return self.homes[value]
        if (value, True) not in self.loaded:
            self.loaded[value, True] = self.load(out, value, row=True)
        return self.loaded[value, True]

    def single(self, value: int) -> _Register | None:
        """The register of a value that is one element for a whole block, if it is."""
        if self.scalar(value):
            return self.constant(value)
        if self.tile_units == 1 and value >= self.operands and self.program.values[value].row:
            return self.homes[value]
        return None

    def arguments(
        self, out: list[_Instruction], number: int, args: Sequence[int], *, row: bool
    ) -> tuple[tuple[_Register, ...], int]:
        scalars = 0
        registers = []
        singles = [self.single(arg) if not row or self.scalar(arg) else None for arg in args]
        if number in _PAIRS | {codes.PAIR} and None not in singles[:2]:  # one of the first two is always an array
            singles[0] = None
        may = _PAIRS | _TRIPLES | {codes.PAIR}
        for place, (arg, one) in enumerate(zip(args, singles, strict=True)):
            if one is not None and number in may and not (number in _TRIPLES and place == 0):
                scalars |= 1 << place
                registers.append(one)
            else:
                registers.append(self.by_row(out, arg) if row else self.full(out, arg))
        return tuple(registers), scalars

    def home(self, value: int, *, row: bool) -> _Register:
        kind = self.program.values[value].type
        if row:
            return self.row_scratch(_held(kind))
        if value in self.program.results and kind not in codes.NARROW:
            return _Register(_Place.RESULT, _SIZES[kind], self.program.results.index(value))
        if value in self.spans:
            return _Register(_Place.TILE, _SIZES[_held(kind)], next(self.fresh))
        return self.scratch(_held(kind))

    def step(self, out: list[_Instruction], value: int, *, row: bool) -> None:
        if value in self.pairs:
            return
        step = self.program.steps[value - self.operands]
        number, parameter = codes.code(step.op, step.params)
        own = self.program.values[value].type
        args = list(step.args)
        if step.op == "clamp":  # the value, then its bounds
            args = [args[1], args[0], args[2]]
        number, args, parameter = self.pair(step) or (number, args, parameter)
        kind = self.program.values[args[-1]].type
        if number in codes.REDUCTIONS.values():
            arg = args[0]
            where = self.loaded.get((arg, False)) or self.homes[arg]
            registers: tuple[_Register, ...] = (where,)
            scalars = 0
        else:
            registers, scalars = self.arguments(out, number, args, row=row)
        home = self.home(value, row=row)
        self.homes[value] = home
        if number == codes.CONVERT:
            self.convert(out, home, registers, (kind, own), row=row)
        else:
            out.append(_Instruction(number, _held(kind), home, registers, scalars, parameter))
            if own in codes.NARROW and number not in _EXACT:
                out.append(_Instruction(codes.ROUND, codes.FLOAT32, home, (home,), parameter=own))
        if home.place is _Place.RESULT and own in codes.FLOATS:
            out.append(_Instruction(codes.CANONICAL, own, home, (home,)))

    def convert(
        self,
        out: list[_Instruction],
        home: _Register,
        args: tuple[_Register, ...],
        kinds: tuple[int, int],
        *,
        row: bool,
    ) -> None:
        source, target = kinds
        held = _held(source)
        if target not in codes.NARROW:
            op = codes.MOVE if held == target else codes.CONVERT
            out.append(_Instruction(op, held, home, args, parameter=target))
        elif held == codes.FLOAT32:
            op = codes.MOVE if source == target else codes.ROUND
            out.append(_Instruction(op, codes.FLOAT32, home, args, parameter=target))
        else:
            narrow = self.row_scratch(target) if row else self.scratch(target)
            out.append(_Instruction(codes.CONVERT, held, narrow, args, parameter=target))
            out.append(_Instruction(codes.CONVERT, target, home, (narrow,), parameter=codes.FLOAT32))

    def results(self, phase: _Phase, level: int) -> None:
        """Write the results that are not in their memory yet."""
        for place, value in enumerate(self.program.results):
            shown: Value = self.program.values[value]
            late = self.level[value] + (shown.row and not shown.reduced and value >= self.operands)
            last = len(self.phases) - 1 == max(self.level, default=0)
            if late != level and not (late > level and last):
                continue
            out = phase.row if shown.reduced else phase.full
            if late > level:  # a row's value, asked for at every element, after the last phase
                extra = _Phase()
                self.phases.append(extra)
                self.loaded = {}
                out = extra.full
            source = self.by_row(out, value) if shown.reduced else self.full(out, value)
            target = _Register(_Place.ROW_RESULT if shown.reduced else _Place.RESULT, _SIZES[shown.type], place)
            if source == target:
                continue
            held = _held(shown.type)
            op = codes.CONVERT if shown.type in codes.NARROW else codes.MOVE
            out.append(_Instruction(op, held, target, (source,), parameter=shown.type))
            if shown.type in {codes.FLOAT32, codes.FLOAT64}:
                out.append(_Instruction(codes.CANONICAL, shown.type, target, (target,)))


def _dimensions(program: Program) -> tuple[int, list[int], list[list[int]]]:
    """The program's axes, neighbours merged where every operand walks them as one.

    Returns:
        How many count rows, the sizes, and each operand's strides.
    """
    sizes: list[int] = []
    walks: list[list[int]] = [[] for _ in program.strides]
    lead = 0
    for axis, size in enumerate(program.shape):
        if axis == program.rows:
            lead = len(sizes)
        if size == 1:
            continue
        steps = [by_axis[axis] for by_axis in program.strides]
        begins = axis >= program.rows and len(sizes) == lead
        if sizes and not begins and all(w[-1] == step * size for w, step in zip(walks, steps, strict=True)):
            sizes[-1] *= size
            for walk, step in zip(walks, steps, strict=True):
                walk[-1] = step
        else:
            sizes.append(size)
            for walk, step in zip(walks, steps, strict=True):
                walk.append(step)
    return lead if program.rows < len(program.shape) else len(sizes), sizes, walks


def _assign(instructions: list[_Instruction], first: int) -> tuple[list[_Instruction], int]:
    """Give a phase's block registers slots, each reused once its value is dead.

    Args:
        instructions: of one phase, whose own block registers have index 0 and up.
        first: the first slot that is free.

    Returns:
        The instructions, and how many slots there are.
    """
    last: dict[_Register, int] = {}
    for place, each in enumerate(instructions):
        for register in (each.out, *each.args):
            last[register] = place
    free: list[int] = []
    slots: dict[_Register, int] = {}
    top = first
    out = []
    for place, each in enumerate(instructions):
        if each.out.place is _Place.BLOCK and each.out not in slots:
            if free:
                slots[each.out] = free.pop()
            else:
                slots[each.out] = top
                top += 1
        out.append(_renamed(each, slots))
        ends = (reg for reg in dict.fromkeys((each.out, *each.args)) if last[reg] == place and reg in slots)
        free.extend(slots[register] for register in ends)
    return out, top


def _renamed(each: _Instruction, slots: dict[_Register, int]) -> _Instruction:
    def place(register: _Register) -> _Register:
        return register._replace(slot=slots[register]) if register in slots else register

    return each._replace(out=place(each.out), args=tuple(place(arg) for arg in each.args))


def _cost(instructions: Iterable[_Instruction]) -> float:
    """Nanoseconds for one element, roughly: enough to cut work for threads."""
    first = min(codes.FUNCTIONS.values())
    return sum(1.0 if each.op >= first else 0.15 for each in instructions)


def words(program: Program) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The schedule, in the order in which `read` of native/fused.cc takes it."""
    scheduler = _Scheduler(program)
    scheduler.run()
    lead, sizes, walks = _dimensions(program)
    prologue, slots = _assign_prologue(scheduler)
    phases = []
    block_slots = slots
    fixed = {register: place for place, register in enumerate(_blocks(scheduler.prologue))}
    for phase in scheduler.phases:
        full, top = _assign([_renamed_fixed(each, fixed) for each in phase.full], slots)
        block_slots = max(block_slots, top)
        phases.append((full, [_renamed_fixed(each, fixed) for each in phase.row]))
    tiles = _tiles(phases)
    registers: dict[_Register, int] = {}

    def number(register: _Register) -> int:
        if register.place is _Place.TILE:
            register = register._replace(slot=tiles[register.slot])
        if register.place is _Place.BLOCK and register.slot < 0:
            register = register._replace(slot=-1 - register.slot)
        return registers.setdefault(register, len(registers))

    def packed(instructions: Sequence[_Instruction]) -> list[int]:
        out = [len(instructions)]
        for each in instructions:
            args = [number(arg) for arg in each.args] + [0] * (3 - len(each.args))
            out += [each.op, each.type, number(each.out), *args, each.scalars, each.parameter]
        return out

    body = packed(prologue)
    body.append(len(phases))
    for full, row in phases:
        body += packed(full) + packed(row)
    every = [each for full, row in phases for each in (*full, *row)]
    wide = any(register.size > 4 for register in registers)  # noqa: PLR2004
    work = _cost(every) * max(1, scheduler.tile_units * scheduler.length)
    head = [
        scheduler.units,
        scheduler.length,
        scheduler.tile_units,
        scheduler.block,
        max(1, round(PIECE / max(work, 1))),
        lead,
        8 if wide else 4,
        block_slots,
        len(tiles),
        next(scheduler.row_slots),
        len(sizes),
        *sizes,
        len(program.types),
    ]
    for kind, walk in zip(program.types, walks, strict=True):
        head += [_SIZES[kind], *walk]
    head.append(len(registers))
    for register in registers:
        head += [register.place, register.size, register.slot]
    return np.array(head + body, np.int64)


def _blocks(instructions: Iterable[_Instruction]) -> list[_Register]:
    return list(dict.fromkeys(each.out for each in instructions))


def _renamed_fixed(each: _Instruction, fixed: dict[_Register, int]) -> _Instruction:
    """The prologue's registers keep their slots through all phases: negative, so that `_assign` leaves them alone."""
    return _renamed(each, {register: -1 - slot for register, slot in fixed.items()})


def _assign_prologue(scheduler: _Scheduler) -> tuple[list[_Instruction], int]:
    fixed = {register: place for place, register in enumerate(_blocks(scheduler.prologue))}
    return [_renamed_fixed(each, fixed) for each in scheduler.prologue], len(fixed)


def _tiles(phases: Sequence[tuple[list[_Instruction], list[_Instruction]]]) -> dict[int, int]:
    used = {
        register.slot
        for full, row in phases
        for each in (*full, *row)
        for register in (each.out, *each.args)
        if register.place is _Place.TILE
    }
    return {index: slot for slot, index in enumerate(sorted(used))}
