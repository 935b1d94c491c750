"""`portable(fn)`: a function computed by the specification in docs/numerics/, with the same bits on any host."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.extend import source_info_util

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import control, fused, movement
from kernels.runtime.portable.flatten import Known, Operand, Operation, Program, flatten
from kernels.runtime.portable.grouping import Fusion, Plan, Step, grouped
from kernels.runtime.portable.registry import located, owner
from kernels.runtime.portable.views import View, squeezed

P = ParamSpec("P")
R = TypeVar("R")


def portable(fn: Callable[P, R], plan: Plan = grouped) -> Callable[P, R]:
    """Compute a function by the specification.

    It is the outermost transform but for `jax.jit`: differentiate and vectorise `fn` first. What comes out calls
    native code that JAX can do neither to.

    Args:
        fn: takes and gives trees of arrays.
        plan: how its operations are grouped; `grouping.alone` gives each by itself, with the same bits.

    Returns:
        A function of the same arguments and results. Calling it raises, before anything is computed,

        * `KernelError`: an operation or a type is not defined by the specification, with the line that asks for it;
          or the native libraries are not there.
        * `HostError`: the CPU is below the specification's floor.
    """

    @functools.wraps(fn)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments, tree = jax.tree.flatten((args, kwargs))

        def flat(*leaves: Any) -> R:
            inner, named = jax.tree.unflatten(tree, leaves)
            return fn(*inner, **named)

        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*arguments)
        program = flatten(closed.jaxpr, closed.consts)
        slots, values = list(program.constants), list(program.constants.values())

        # Traced as a whole before anything runs, so that what is refused is refused first. Constants are arguments
        # of it: however large the weights are, nobody folds them.
        def whole(*leaves: Any) -> list[Any]:
            return evaluate(program, dict(zip((*slots, *program.arguments), leaves, strict=True)), plan)

        traced = jax.make_jaxpr(whole)(*values, *arguments)
        results = jax.extend.core.jaxpr_as_fun(traced)(*values, *arguments)
        made: R = jax.tree.unflatten(jax.tree.structure(shape), results)
        return made

    return computed


def evaluate(program: Program, values: dict[int, Any], plan: Plan) -> list[Any]:
    """Carry out a program.

    Args:
        program: what.
        values: of its constants and arguments, by slot.
        plan: how it is grouped.
    """

    def body(closed: Any, origins: tuple[Any, ...]) -> Any:
        inner = flatten(closed.jaxpr, closed.consts, origins)

        def computed(*arguments: Any) -> list[Any]:
            given = zip(inner.arguments, arguments, strict=True)
            own = {slot: movement.from_bits(x, inner.kinds[slot].dtype) for slot, x in given}
            return [movement.as_bits(x) for x in evaluate(inner, inner.constants | own, plan)]

        return jax.make_jaxpr(computed)(*(control.carried(aval) for aval in closed.in_avals))

    steps = plan(program)
    for step, spent in zip(steps, _spent(steps, program), strict=True):
        with _asked_by(step.operations[0] if isinstance(step, Fusion) else step):
            if isinstance(step, Fusion):
                values.update(_fused(step, program, values, spent))
            else:
                made = _one(step, program, [_value(one, values) for one in step.inputs], body)
                values.update(zip(step.outputs, made, strict=True))
    return [_value(one, values) for one in program.results]


def _spent(steps: Sequence[Step], program: Program) -> list[set[int]]:
    """For each step the values that it is the last to read; none that others own: arguments, constants, results."""
    last: dict[Operand, int] = {}
    for place, step in enumerate(steps):
        read = [view.base for view in step.operands] if isinstance(step, Fusion) else step.inputs
        last.update(dict.fromkeys(read, place))
    found: list[set[int]] = [set() for _ in steps]
    for slot, place in last.items():
        if isinstance(slot, int):
            found[place].add(slot)
    kept = {*program.arguments, *program.constants, *program.results}
    return [each - kept for each in found]


def _one(operation: Operation, program: Program, args: Sequence[Any], body: control.Body) -> Sequence[Any]:
    who = owner(operation, program)
    if not isinstance(who, str):
        with _at(operation):
            return who(args, operation.params)
    if who == "control":
        return control.bind(operation, args, [program.kinds[slot] for slot in operation.outputs], body)
    return movement.carry_out(operation, args, [program.kinds[slot] for slot in operation.outputs])


def _fused(fusion: Fusion, program: Program, values: dict[int, Any], ended: Container[Operand]) -> dict[int, Any]:
    slots = [slot for _, slot in fusion.results]
    if 0 in fusion.shape:
        return {slot: jnp.zeros(program.kinds[slot].shape, program.kinds[slot].dtype) for slot in slots}
    operands = [_operand(view, values) for view in fusion.operands]
    bases = [view.base for view in fusion.operands]
    spent = {
        number: values[base]
        for number, base in enumerate(bases)
        if isinstance(base, int)
        and base in ended
        and bases.count(base) == 1
        and operands[number].array.shape == fusion.shape
    }
    with _at(fusion.operations[0]):
        made = fused.call(fusion.shape, operands, fusion.steps, [number for number, _ in fusion.results], spent)
    return {slot: jnp.reshape(one, program.kinds[slot].shape) for slot, one in zip(slots, made, strict=True)}


def _operand(view: View, values: dict[int, Any]) -> fused.Operand:
    array = _value(view.base, values)
    return fused.Operand(jnp.reshape(array, squeezed(array.shape)), view.axes)


def _value(operand: Operand, values: dict[int, Any]) -> Any:
    return jnp.asarray(operand.value) if isinstance(operand, Known) else values[operand]


def _asked_by(operation: Operation) -> contextlib.AbstractContextManager[Any]:
    """What is bound within it bears the kernel's line that asked for the operation, for traces and disputes."""
    origin = next((one for one in operation.origins if one.traceback is not None), None)
    if origin is None:
        return contextlib.nullcontext()
    found: contextlib.AbstractContextManager[Any] = source_info_util.user_context(
        origin.traceback, name_stack=origin.name_stack
    )
    return found


@contextlib.contextmanager
def _at(operation: Operation) -> Iterator[None]:
    """Add the line that asked for an operation to what a rule refuses."""
    try:
        yield
    except KernelError as error:
        raise KernelError(f"{error.message}{located(operation)}", hint=error.hint) from error
