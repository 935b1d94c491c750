"""A fused program laid out for the native machine: phases, registers, tiles and blocks (native/fused.cc reads it).

A phase is what can run before the next reduction is known. A value lives in a block's scratch where its phase alone
uses it, in a tile's where a reduction or a later phase does, and in the result's memory where it is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from kernels.runtime.portable import fused_codes as codes
from kernels.runtime.portable.fused_program import Program, Step, Value, count
from kernels.runtime.portable.fused_registers import SIZES, Instruction, Phase, Place, Register

BLOCK: Final = 1024
"""Elements that a loop runs over: with a handful of live values they stay in the caches next to the core."""

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


def _held(kind: int) -> int:
    """The format of the register that holds a value."""
    return codes.FLOAT32 if kind in codes.NARROW else kind


class Scheduler:
    """Emits a program's instructions, phase by phase: `run` once, then `prologue` and `phases` are there."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.operands = len(program.types)
        self.length = count(program.shape[program.rows :])
        self.units = count(program.shape[: program.rows])
        self.tile_units = max(1, BLOCK // self.length) if self.length else BLOCK
        self.block = BLOCK
        self.prologue: list[Instruction] = []
        self.phases: list[Phase] = []
        self.level = self._phase_of_values()
        self.spans = self._values_across_phases()
        self.fresh = itertools.count()
        self.row_slots = itertools.count()
        self.pairs = self._values_inside_pairs()
        self.homes: dict[int, Register] = {}
        self.persistent: dict[int, Register] = {}
        self.loaded: dict[tuple[int, bool], Register] = {}

    def _phase_of_values(self) -> list[int]:
        level = [0] * self.operands
        for place, step in enumerate(self.program.steps):
            value = self.program.values[self.operands + place]
            by_element = not value.row or step.op in codes.REDUCTIONS
            waits = (
                level[arg] + (by_element and self.program.values[arg].row and arg >= self.operands) for arg in step.args
            )
            level.append(max(waits, default=0))
        return level

    def _values_across_phases(self) -> set[int]:
        spans = set()
        for place, step in enumerate(self.program.steps):
            for arg in step.args:
                full = arg >= self.operands and not self.program.values[arg].row
                if full and (self.level[arg] != self.level[self.operands + place] or step.op in codes.REDUCTIONS):
                    spans.add(arg)
        return spans

    def _values_inside_pairs(self) -> set[int]:
        """Values that only the next operation of a pair uses, and so never reach memory."""
        users: dict[int, list[int]] = {}
        for place, step in enumerate(self.program.steps):
            for arg in step.args:
                users.setdefault(arg, []).append(self.operands + place)
        inside: set[int] = set()
        for place, step in enumerate(self.program.steps):
            value = self.operands + place
            if not self._pairable(value) or any(arg in inside for arg in step.args):
                continue
            (user, *more) = users.get(value, [0])
            alone = user >= self.operands and not more and value not in self.program.results
            together = alone and self._pairable(user) and self.level[user] == self.level[value]
            if together and not any(arg in inside for arg in self.program.steps[user - self.operands].args):
                inside.add(value)
        return inside

    def _pairable(self, value: int) -> bool:
        shown = self.program.values[value]
        step = self.program.steps[value - self.operands]
        return step.op in codes.PAIRABLE and not shown.row and shown.type in {codes.FLOAT32, codes.FLOAT64}

    def _pair(self, step: Step) -> tuple[int, list[int], int] | None:
        """The number, arguments and parameter of a step and of the one before it, where they are a pair."""
        place = next((place for place, arg in enumerate(step.args) if arg in self.pairs), None)
        if place is None:
            return None
        first = self.program.steps[step.args[place] - self.operands]
        second = codes.FROM if step.op == "sub" and place == 1 else codes.PAIRABLE[step.op]
        return codes.PAIR, [*first.args, step.args[1 - place]], codes.PAIRABLE[first.op] * 4 + second

    def _scratch(self, kind: int) -> Register:
        return Register(Place.BLOCK, SIZES[kind], next(self.fresh))

    def _row_scratch(self, kind: int) -> Register:
        return Register(Place.ROW, SIZES[kind], next(self.row_slots))

    def run(self) -> None:
        """Emit everything."""
        for level in range(max(self.level, default=0) + 1):
            phase = Phase()
            self.phases.append(phase)
            self.loaded = {}
            values = [v for v in range(self.operands, len(self.level)) if self.level[v] == level]
            for value in values:
                if not self.program.values[value].row:
                    self._step(phase.full, value, row=False)
            for value in values:
                if self.program.values[value].row:
                    self._before_reduction(phase, value)
                    self._step(phase.row, value, row=True)
            self._results(phase, level)

    def _before_reduction(self, phase: Phase, value: int) -> None:
        """A reduction reads whole rows from memory: make them, where nothing has."""
        step = self.program.steps[value - self.operands]
        (arg, *rest) = step.args
        if step.op not in codes.REDUCTIONS or rest or (arg in self.homes and not self.program.values[arg].row):
            return
        if arg < self.operands and self.dense(arg) and self.program.types[arg] not in codes.NARROW:
            self.homes[arg] = Register(Place.ARGUMENT, SIZES[self.program.types[arg]], arg)
            return
        kind = _held(self.program.values[arg].type)
        rows = Register(Place.TILE, SIZES[kind], next(self.fresh))
        phase.full.append(Instruction(codes.MOVE, kind, rows, (self._full(phase.full, arg),)))
        self.loaded[arg, False] = rows

    def dense(self, operand: int) -> bool:
        """Whether an operand's memory is that of the whole program, in order."""
        expected = 1
        for size, step in zip(reversed(self.program.shape), reversed(self.program.strides[operand]), strict=True):
            if size != 1 and step != expected:
                return False
            expected *= size
        return True

    def _scalar(self, operand: int) -> bool:
        return operand < self.operands and not any(self.program.strides[operand])

    def _load(self, out: list[Instruction], operand: int, *, row: bool) -> Register:
        """The register of an operand in the format that it is computed in."""
        kind = self.program.types[operand]
        size = SIZES[kind]
        if not row and self.dense(operand) and not self._scalar(operand):
            register = Register(Place.ARGUMENT, size, operand)
        else:
            register = self._row_scratch(kind) if row else self._scratch(kind)
            out.append(Instruction(codes.LOAD, kind, register, (), parameter=operand))
        if kind in codes.NARROW:
            wide = self._row_scratch(codes.FLOAT32) if row else self._scratch(codes.FLOAT32)
            out.append(Instruction(codes.CONVERT, kind, wide, (register,), parameter=codes.FLOAT32))
            register = wide
        return register

    def _constant(self, operand: int) -> Register:
        if operand not in self.persistent:
            self.persistent[operand] = self._load(self.prologue, operand, row=False)
        return self.persistent[operand]

    def _full(self, out: list[Instruction], value: int) -> Register:
        """A value's register with one element for each element of the block."""
        if self._scalar(value):
            return self._constant(value)
        if (value, False) in self.loaded:
            return self.loaded[value, False]
        if value >= self.operands and not self.program.values[value].row:
            return self.homes[value]
        if value < self.operands:
            register = self._load(out, value, row=False)
        else:
            kind = _held(self.program.values[value].type)
            register = self._scratch(kind)
            out.append(Instruction(codes.FILL, kind, register, (self.homes[value],)))
        self.loaded[value, False] = register
        return register

    def _by_row(self, out: list[Instruction], value: int) -> Register:
        if self._scalar(value):
            return self._constant(value)
        if value >= self.operands:
            return self.homes[value]
        if (value, True) not in self.loaded:
            self.loaded[value, True] = self._load(out, value, row=True)
        return self.loaded[value, True]

    def _single(self, value: int) -> Register | None:
        """The register of a value that is one element for a whole block, if it is."""
        if self._scalar(value):
            return self._constant(value)
        if self.tile_units == 1 and value >= self.operands and self.program.values[value].row:
            return self.homes[value]
        return None

    def _arguments(
        self, out: list[Instruction], number: int, args: Sequence[int], *, row: bool
    ) -> tuple[tuple[Register, ...], int]:
        scalars = 0
        registers = []
        singles = [self._single(arg) if not row or self._scalar(arg) else None for arg in args]
        if number in _PAIRS | {codes.PAIR} and None not in singles[:2]:  # one of the first two is always an array
            singles[0] = None
        may = _PAIRS | _TRIPLES | {codes.PAIR}
        for place, (arg, one) in enumerate(zip(args, singles, strict=True)):
            if one is not None and number in may and not (number in _TRIPLES and place == 0):
                scalars |= 1 << place
                registers.append(one)
            else:
                registers.append(self._by_row(out, arg) if row else self._full(out, arg))
        return tuple(registers), scalars

    def _home(self, value: int, *, row: bool) -> Register:
        kind = self.program.values[value].type
        if row:
            return self._row_scratch(_held(kind))
        if value in self.program.results and kind not in codes.NARROW:
            return Register(Place.RESULT, SIZES[kind], self.program.results.index(value))
        if value in self.spans:
            return Register(Place.TILE, SIZES[_held(kind)], next(self.fresh))
        return self._scratch(_held(kind))

    def _step(self, out: list[Instruction], value: int, *, row: bool) -> None:
        if value in self.pairs:
            return
        step = self.program.steps[value - self.operands]
        number, parameter = codes.code(step.op, step.params)
        own = self.program.values[value].type
        args = list(step.args)
        if step.op == "clamp":  # the value, then its bounds
            args = [args[1], args[0], args[2]]
        number, args, parameter = self._pair(step) or (number, args, parameter)
        kind = self.program.values[args[-1]].type
        if number in codes.REDUCTIONS.values():
            arg = args[0]
            where = self.loaded.get((arg, False)) or self.homes[arg]
            registers: tuple[Register, ...] = (where,)
            scalars = 0
        else:
            registers, scalars = self._arguments(out, number, args, row=row)
        home = self._home(value, row=row)
        self.homes[value] = home
        if number == codes.CONVERT:
            self._convert(out, home, registers, (kind, own), row=row)
        else:
            out.append(Instruction(number, _held(kind), home, registers, scalars, parameter))
            if own in codes.NARROW and number not in _EXACT:
                out.append(Instruction(codes.ROUND, codes.FLOAT32, home, (home,), parameter=own))
        if home.place is Place.RESULT and own in codes.FLOATS:
            out.append(Instruction(codes.CANONICAL, own, home, (home,)))

    def _convert(
        self,
        out: list[Instruction],
        home: Register,
        args: tuple[Register, ...],
        kinds: tuple[int, int],
        *,
        row: bool,
    ) -> None:
        source, target = kinds
        held = _held(source)
        if target not in codes.NARROW:
            op = codes.MOVE if held == target else codes.CONVERT
            out.append(Instruction(op, held, home, args, parameter=target))
        elif held == codes.FLOAT32:
            op = codes.MOVE if source == target else codes.ROUND
            out.append(Instruction(op, codes.FLOAT32, home, args, parameter=target))
        else:
            narrow = self._row_scratch(target) if row else self._scratch(target)
            out.append(Instruction(codes.CONVERT, held, narrow, args, parameter=target))
            out.append(Instruction(codes.CONVERT, target, home, (narrow,), parameter=codes.FLOAT32))

    def _results(self, phase: Phase, level: int) -> None:
        """Write the results that are not in their memory yet."""
        for place, value in enumerate(self.program.results):
            shown: Value = self.program.values[value]
            late = self.level[value] + (shown.row and not shown.reduced and value >= self.operands)
            last = len(self.phases) - 1 == max(self.level, default=0)
            if late != level and not (late > level and last):
                continue
            out = phase.row if shown.reduced else phase.full
            if late > level:  # a row's value, asked for at every element, after the last phase
                extra = Phase()
                self.phases.append(extra)
                self.loaded = {}
                out = extra.full
            source = self._by_row(out, value) if shown.reduced else self._full(out, value)
            target = Register(Place.ROW_RESULT if shown.reduced else Place.RESULT, SIZES[shown.type], place)
            if source == target:
                continue
            held = _held(shown.type)
            op = codes.CONVERT if shown.type in codes.NARROW else codes.MOVE
            out.append(Instruction(op, held, target, (source,), parameter=shown.type))
            if shown.type in {codes.FLOAT32, codes.FLOAT64}:
                out.append(Instruction(codes.CANONICAL, shown.type, target, (target,)))
