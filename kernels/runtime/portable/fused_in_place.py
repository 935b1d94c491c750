"""Which results of a fused program may take the memory of operands that nothing else reads.

Fresh memory is dear where an array is large: the system clears every page of it. A softmax over the scores of an
attention can do without.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kernels.runtime.portable import fused_codes as codes
from kernels.runtime.portable.fused_program import Program, count
from kernels.runtime.portable.fused_registers import SIZES, Place
from kernels.runtime.portable.fused_schedule import Scheduler

LEAST: Final = 1 << 22
"""Bytes from which on memory matters; smaller arrays stay in the caches."""

_When = tuple[int, bool, int]
"""A phase, whether it is the part that runs once for each row, and which of its instructions."""


def aliases(program: Program, spent: Collection[int]) -> dict[int, int]:
    """Operands, each with the place among the results of the one that may overwrite it.

    Every instruction that reads the operand comes before the first that writes the result. Blocks of a tile run one
    after the other, but each reads and writes elements of its own.

    Args:
        program: the operands' and the result's arrays have its shape.
        spent: the operands that nothing reads after the program.
    """
    if not spent or count(program.shape) * 8 < LEAST:
        return {}
    scheduler = Scheduler(program)
    scheduler.run()
    last: dict[int, _When] = {}
    first: dict[int, _When] = {}
    for number, phase in enumerate(scheduler.phases):
        for by_row, instructions in ((False, phase.full), (True, phase.row)):
            for place, each in enumerate(instructions):
                when = (number, by_row, place)
                last.update({one.slot: when for one in each.args if one.place is Place.ARGUMENT})
                if each.op == codes.LOAD:
                    last[each.parameter] = when
                if each.out.place is Place.RESULT:
                    first.setdefault(each.out.slot, when)
    found: dict[int, int] = {}
    for operand in sorted(spent):
        kind = program.types[operand]
        large = scheduler.dense(operand) and count(program.shape) * SIZES[kind] >= LEAST
        for place, value in enumerate(program.results):
            fits = not program.values[value].reduced and program.values[value].type == kind and place in first
            if large and fits and place not in found.values() and last.get(operand, (-1, False, 0)) < first[place]:
                found[operand] = place
                break
    return found
