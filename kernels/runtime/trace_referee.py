"""One operation of a portable program once more by the referee (docs/portable.md, "Disputes")."""

from __future__ import annotations

from dataclasses import replace

from kernels.runtime import native
from kernels.runtime.errors import InputError
from kernels.runtime.portable.registry import LIBRARIES
from kernels.runtime.trace_compute import Compiler
from kernels.runtime.trace_walk import Leaf, Valued, alone


def judged(leaf: Leaf) -> list[Valued]:
    """What the referee makes of an operation's own operands.

    Raises:
        InputError: XLA carries the operation out, by which nothing is rounded; the referee has none such.
        KernelError: the image lacks the referee.
    """
    name, _, target = leaf.primitive.partition(" ")
    if leaf.equation is None or name != "ffi_call" or not target.startswith(LIBRARIES):
        raise InputError(f"{leaf.path!r} is {leaf.primitive}, which the referee has not: nothing is rounded there")
    own = leaf.equation.equation
    params = {**own.params, "target_name": native.handler("referee", target.partition(".")[2])}
    equation = replace(leaf.equation, equation=own.replace(params=params))
    return alone(Compiler(), equation, leaf.inputs)
