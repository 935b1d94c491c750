"""Registers and instructions of the fused machine, and which slots of its scratch they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from kernels.runtime.portable import fused_codes as codes

SIZES: Final = {number: dtype.itemsize for dtype, number in codes.TYPES.items()}
"""Bytes of an element of each format."""


class Place(IntEnum):
    """Where a register lies; native/fused.cc says what each means."""

    BLOCK = 0
    TILE = 1
    ARGUMENT = 2
    RESULT = 3
    ROW = 4
    ROW_ARGUMENT = 5
    ROW_RESULT = 6


class Register(NamedTuple):
    """Memory that holds a value: `size` bytes an element, the slot's number among those of its place."""

    place: Place
    size: int
    slot: int


class Instruction(NamedTuple):
    """One loop; `scalars` has a bit for each argument that is one element for all."""

    op: int
    type: int
    out: Register
    args: tuple[Register, ...]
    scalars: int = 0
    parameter: int = 0


@dataclass
class Phase:
    """What runs over every element, block by block, and what then runs once for each row."""

    full: list[Instruction] = field(default_factory=list)
    row: list[Instruction] = field(default_factory=list)


def assign(instructions: list[Instruction], first: int) -> tuple[list[Instruction], int]:
    """Give a phase's block registers slots, each reused once its value is dead.

    Args:
        instructions: of one phase, whose own block registers have index 0 and up.
        first: the first slot that is free.

    Returns:
        The instructions, and how many slots there are.
    """
    last: dict[Register, int] = {}
    for place, each in enumerate(instructions):
        for register in (each.out, *each.args):
            last[register] = place
    free: list[int] = []
    slots: dict[Register, int] = {}
    top = first
    out = []
    for place, each in enumerate(instructions):
        if each.out.place is Place.BLOCK and each.out not in slots:
            if free:
                slots[each.out] = free.pop()
            else:
                slots[each.out] = top
                top += 1
        out.append(_renamed(each, slots))
        ends = (reg for reg in dict.fromkeys((each.out, *each.args)) if last[reg] == place and reg in slots)
        free.extend(slots[register] for register in ends)
    return out, top


def _renamed(each: Instruction, slots: dict[Register, int]) -> Instruction:
    def place(register: Register) -> Register:
        return register._replace(slot=slots[register]) if register in slots else register

    return each._replace(out=place(each.out), args=tuple(place(arg) for arg in each.args))


def blocks(instructions: Iterable[Instruction]) -> list[Register]:
    """The registers that these instructions write, each once."""
    return list(dict.fromkeys(each.out for each in instructions))


def with_fixed(each: Instruction, fixed: dict[Register, int]) -> Instruction:
    """The prologue's registers keep their slots through all phases: negative, so that `assign` leaves them alone."""
    return _renamed(each, {register: -1 - slot for register, slot in fixed.items()})


def tile_slots(phases: Sequence[tuple[list[Instruction], list[Instruction]]]) -> dict[int, int]:
    """A slot for each register of a tile."""
    used = {
        register.slot
        for full, row in phases
        for each in (*full, *row)
        for register in (each.out, *each.args)
        if register.place is Place.TILE
    }
    return {index: slot for slot, index in enumerate(sorted(used))}
