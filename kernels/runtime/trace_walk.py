"""Evaluating a program equation by equation, each compiled alone, down into every pass of every loop.

The order is that of execution: an operation's leaf comes after the leaves of what is inside it, so the first leaf in
which two traces differ is the first operation that gave something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kernels.runtime.trace_compute import Compiler, taken_by
from kernels.runtime.trace_program import Equation, Frame, Known, frame
from kernels.runtime.trace_values import hashed, host_array, picked, stacked, where


class Valued:
    """A value and, once it is asked for, its hash."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @cached_property
    def hash(self) -> str:
        """The canonical hash."""
        return hashed(self.value)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One operation that was carried out, or one value that the program began with; `equation` is None for these."""

    path: str
    primitive: str
    equation: Equation | None
    inputs: tuple[Valued, ...]
    outputs: tuple[Valued, ...]


Sink = Callable[[Leaf], None]


def alone(compiler: Compiler, equation: Equation, inputs: Sequence[Valued]) -> list[Valued]:
    """What one equation gives where it is compiled by itself: those of its results that anything uses.

    Args:
        compiler: has compiled equations like it.
        equation: no loop and no conditional, unless it has no operations inside.
        inputs: its operands, stated ones too.
    """
    by_slot = {slot: one for slot, one in zip(equation.inputs, inputs, strict=True) if isinstance(slot, int)}
    results = compiler.one(equation)(*(by_slot[slot].value for slot in taken_by([equation])))
    return [Valued(one) for one in jax.block_until_ready(results)]  # type: ignore[no-untyped-call]


class Walker:
    """Walks frames and hands each leaf to a sink."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self._folder = folder
        self._sink = sink
        self._compiler = Compiler()
        self._frames: dict[int, Frame] = {}

    def walk(self, program: Frame, arguments: Sequence[Valued], prefix: str = "") -> list[Valued]:
        """Evaluate a frame; `prefix` is its path, with a slash at its end unless it is the whole program."""
        slots = dict(zip(program.arguments, arguments, strict=True))
        for index, (slot, value) in enumerate(program.constants.items()):
            slots[slot] = Valued(value)
            self._sink(Leaf(f"{prefix}const[{index}]", "constant", None, (), (slots[slot],)))
        for index, equation in enumerate(program.equations):
            inputs = [Valued(one.value) if isinstance(one, Known) else slots[one] for one in equation.inputs]
            path = prefix + equation.path
            evaluate = {"scan": self._scan, "while": self._while, "cond": self._cond}.get(equation.primitive, self._one)
            outputs = evaluate(equation, inputs, path)
            slots.update({slot: one for slot, one in zip(equation.outputs, outputs, strict=True) if slot is not None})
            used = tuple(one for slot, one in zip(equation.outputs, outputs, strict=True) if slot is not None)
            self._sink(Leaf(path, equation.primitive, equation, tuple(inputs), used))
            for slot in equation.inputs:
                if isinstance(slot, int) and program.needed[slot] == index + 1:
                    slots.pop(slot, None)  # its memory is free for what follows
        return [Valued(one.value) if isinstance(one, Known) else slots[one] for one in program.results]

    def _one(self, equation: Equation, inputs: Sequence[Valued], _: str) -> list[Valued]:
        made = iter(alone(self._compiler, equation, inputs))
        return [Valued(None) if slot is None else next(made) for slot in equation.outputs]

    def _scan(self, equation: Equation, inputs: Sequence[Valued], path: str) -> list[Valued]:
        params = equation.equation.params
        length, first = params["length"], params["num_consts"]
        if length == 0:
            return self._one(equation, inputs, path)
        consts, carry = inputs[:first], list(inputs[first : first + params["num_carry"]])
        xs = inputs[first + params["num_carry"] :]
        body = self._frame(params["jaxpr"], equation)
        passes = []
        for count in range(length):
            index = length - 1 - count if params["reverse"] else count
            slices = [Valued(picked(x.value, index)) for x in xs]
            results = self.walk(body, [*consts, *carry, *slices], f"{path}/i{count}/")
            carry = results[: len(carry)]
            passes.append([one.value for one in results[len(carry) :]])
        if params["reverse"]:
            passes.reverse()
        return [*carry, *(Valued(stacked(list(column))) for column in zip(*passes, strict=True))]

    def _while(self, equation: Equation, inputs: Sequence[Valued], path: str) -> list[Valued]:
        params = equation.equation.params
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        state = list(inputs[second:])
        condition, body = self._frame(params["cond_jaxpr"], equation), self._frame(params["body_jaxpr"], equation)
        count = 0
        while np.any(
            going := host_array(self.walk(condition, [*inputs[:first], *state], f"{path}/c{count}/")[0].value)
        ):
            made = self.walk(body, [*inputs[first:second], *state], f"{path}/i{count}/")
            if going.ndim:  # under vmap: each element ends when its own condition says so
                made = [Valued(where(going, new.value, old.value)) for new, old in zip(made, state, strict=True)]
            state = made
            count += 1
        return state

    def _cond(self, equation: Equation, inputs: Sequence[Valued], path: str) -> list[Valued]:
        branches = equation.equation.params["branches"]
        taken = min(max(int(inputs[0].value), 0), len(branches) - 1)  # as lax.cond's own definition clamps it
        return self.walk(self._frame(branches[taken], equation), inputs[1:], f"{path}/b{taken}/")

    def _frame(self, closed: Any, caller: Equation) -> Frame:
        if id(closed) not in self._frames:  # the program holds it, so its id stays its own
            self._frames[id(closed)] = frame(closed.jaxpr, closed.consts, self._folder, caller.source)
        return self._frames[id(closed)]
