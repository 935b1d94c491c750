"""Parts of a frame as programs of their own, compiled as the plain run is: an equation, a prefix, a stretch, a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend.core
import numpy as np

from kernels.runtime.trace_program import Equation, Frame, Known, Operand

Program = Callable[..., Any]


@dataclass(slots=True)
class Compiler:
    """Compiles single equations, once for all that are the same but for their place."""

    _programs: dict[Any, Program] = field(default_factory=dict)

    def one(self, equation: Equation) -> Program:
        """A program of one equation: from its slots' values to those of its results that are used.

        Stated values stay part of the program, as they are in the plain run.
        """
        key = _key(equation)
        if key is None:
            return jax.jit(_alone(equation))
        if key not in self._programs:
            self._programs[key] = jax.jit(_alone(equation))
        return self._programs[key]


def stretch(frame: Frame, start: int, stop: int, values: Mapping[int, Any]) -> dict[int, Any]:
    """Run the equations [start, stop) as one program.

    Args:
        frame: what they are part of.
        start: index of the first.
        stop: index after the last.
        values: of all slots that they take.

    Returns:
        The values of the slots that they fill and that are used at `stop` or later.
    """
    equations = frame.equations[start:stop]
    taken = taken_by(equations)
    made = {slot for equation in equations for slot in equation.outputs}
    given = [slot for slot in frame.live(stop) if slot in made]

    def program(*arguments: Any) -> list[Any]:
        slots = dict(zip(taken, arguments, strict=True))
        for equation in equations:
            _apply(equation, slots)
        return [slots[slot] for slot in given]

    results = jax.jit(program)(*(values[slot] for slot in taken))
    return dict(zip(given, jax.block_until_ready(results), strict=True))  # type: ignore[no-untyped-call]


def taken_by(equations: Sequence[Equation]) -> list[int]:
    """The slots that equations take and do not fill themselves, in order."""
    made: set[int | None] = set()
    found: dict[int, None] = {}
    for equation in equations:
        found |= {slot: None for slot in equation.inputs if isinstance(slot, int) and slot not in made}
        made.update(equation.outputs)
    return list(found)


def scan_passes(equation: Equation, inputs: Sequence[Any], passes: int) -> list[Any]:
    """A scan's results after only its first passes, compiled as one loop."""
    params = equation.equation.params
    head, backwards = params["num_consts"] + params["num_carry"], params["reverse"]

    def program(*arguments: Any) -> Any:
        xs = [x[x.shape[0] - passes :] if backwards else x[:passes] for x in arguments[head:]]
        with equation.equation.ctx.manager:
            return equation.equation.primitive.bind(*arguments[:head], *xs, **{**params, "length": passes})

    return list(jax.block_until_ready(jax.jit(program)(*inputs)))  # type: ignore[no-untyped-call]


def while_passes(equation: Equation, inputs: Sequence[Any], passes: int) -> tuple[int, list[Any]]:
    """How many passes a while loop made until its end or a limit, and its state then, compiled as one loop."""
    params = equation.equation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    condition, body = jax.extend.core.jaxpr_as_fun(params["cond_jaxpr"]), _function(params["body_jaxpr"])

    def program(*arguments: Any) -> Any:
        for_condition, for_body, state = arguments[:first], arguments[first:second], list(arguments[second:])

        def step(at: Any) -> Any:
            made = list(body(*for_body, *at[1]))
            going = condition(*for_condition, *at[1])[0]
            if going.ndim:  # under vmap: each element ends when its own condition says so
                made = [_where(going, new, old) for new, old in zip(made, at[1], strict=True)]
            return at[0] + 1, made

        return jax.lax.while_loop(
            lambda at: (at[0] < passes) & jax.numpy.any(condition(*for_condition, *at[1])[0]),
            step,
            (np.int32(0), state),
        )

    count, state = jax.block_until_ready(jax.jit(program)(*inputs))  # type: ignore[no-untyped-call]
    return int(count), list(state)


def _where(chosen: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    mask = jax.numpy.reshape(chosen, chosen.shape + (1,) * (one.ndim - chosen.ndim))
    return jax.numpy.where(mask, one, other)


def _function(closed: Any) -> Program:
    function: Program = jax.extend.core.jaxpr_as_fun(closed)
    return function


def _alone(equation: Equation) -> Program:
    def program(*arguments: Any) -> list[Any]:
        taken = taken_by([equation])
        slots = dict(zip(taken, arguments, strict=True))
        _apply(equation, slots)
        return [slots[slot] for slot in equation.outputs if slot is not None]

    return program


def _apply(equation: Equation, slots: dict[int, Any]) -> None:
    inner = equation.equation
    found = inner.primitive.get_bind_params(inner.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # a pair before JAX 0.9
    with inner.ctx.manager:
        results = inner.primitive.bind(*functions, *_operands(equation.inputs, slots), **params)
    if not inner.primitive.multiple_results:
        results = [results]
    slots.update({slot: one for slot, one in zip(equation.outputs, results, strict=True) if slot is not None})


def _operands(operands: Iterable[Operand], slots: Mapping[int, Any]) -> list[Any]:
    return [operand.value if isinstance(operand, Known) else slots[operand] for operand in operands]


def _key(equation: Equation) -> Any:
    """What makes two equations the same program for equal types; None if that can't be said."""
    numbers: dict[int, int] = {}
    operands = tuple(
        ("known", str(np.asarray(one.value).dtype), np.asarray(one.value).shape, np.asarray(one.value).tobytes())
        if isinstance(one, Known)
        else numbers.setdefault(one, len(numbers))
        for one in equation.inputs
    )
    used = tuple(slot is not None for slot in equation.outputs)
    inner = equation.equation
    key = (
        inner.primitive.name,
        tuple(sorted(inner.params.items(), key=lambda item: item[0])),
        operands,
        used,
        inner.ctx,
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key
