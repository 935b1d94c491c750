"""A schedule as the words that native/fused.cc reads: sizes, operands, registers, instructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from kernels.runtime.portable import fused_codes as codes
from kernels.runtime.portable.fused_program import Program
from kernels.runtime.portable.fused_registers import (
    SIZES,
    Instruction,
    Place,
    Register,
    assign,
    blocks,
    tile_slots,
    with_fixed,
)
from kernels.runtime.portable.fused_schedule import Scheduler

PIECE: Final = 24_000
"""Nanoseconds of work that are worth handing to another thread."""


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


def _cost(instructions: Iterable[Instruction]) -> float:
    """Nanoseconds for one element, roughly: enough to cut work for threads."""
    first = min(codes.FUNCTIONS.values())
    return sum(1.0 if each.op >= first else 0.15 for each in instructions)


def words(program: Program) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The schedule, in the order in which `read` of native/fused.cc takes it."""
    scheduler = Scheduler(program)
    scheduler.run()
    lead, sizes, walks = _dimensions(program)
    phases = []
    fixed = {register: place for place, register in enumerate(blocks(scheduler.prologue))}
    prologue = [with_fixed(each, fixed) for each in scheduler.prologue]
    block_slots = slots = len(fixed)
    for phase in scheduler.phases:
        full, top = assign([with_fixed(each, fixed) for each in phase.full], slots)
        block_slots = max(block_slots, top)
        phases.append((full, [with_fixed(each, fixed) for each in phase.row]))
    tiles = tile_slots(phases)
    registers: dict[Register, int] = {}

    def number(register: Register) -> int:
        if register.place is Place.TILE:
            register = register._replace(slot=tiles[register.slot])
        if register.place is Place.BLOCK and register.slot < 0:
            register = register._replace(slot=-1 - register.slot)
        return registers.setdefault(register, len(registers))

    def packed(instructions: Sequence[Instruction]) -> list[int]:
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
        head += [SIZES[kind], *walk]
    head.append(len(registers))
    for register in registers:
        head += [register.place, register.size, register.slot]
    return np.array(head + body, np.int64)
