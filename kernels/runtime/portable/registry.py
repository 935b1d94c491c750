"""Who owns an operation: XLA, where nothing is computed in floating point, or a family of the specification.

This is the one list of what a portable kernel may do. What is in none of it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import jax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import (
    contraction,
    cumulative,
    fft,
    fused,
    linalg,
    movement,
    order,
    reduction,
    scatter,
    window,
)
from kernels.runtime.portable.flatten import Kind, Operation, Program, place

Rule = Callable[[Sequence[jax.Array], Mapping[str, Any]], Sequence[jax.Array]]

Owner = Literal["xla", "control", "elementwise"] | Rule
"""XLA as it is; a loop or branch, whose bodies are transformed; the fused machine; or a family's rule."""

CONTROL: Final = frozenset({"scan", "while", "cond"})

FAMILIES: Final[tuple[Mapping[str, Rule], ...]] = (
    contraction.RULES,
    reduction.RULES,
    cumulative.RULES,
    window.RULES,
    scatter.RULES,
    order.RULES,
    linalg.RULES,
    fft.RULES,
)

LIBRARIES: Final = ("portable.", "portable-v3.", "portable-v4.", "referee.")

COMPUTED: Final = movement.FLOATS | movement.COMPLEX
TYPES: Final = COMPUTED | movement.INTEGERS | movement.KEYS


def owner(operation: Operation, program: Program) -> Owner:
    """Who evaluates an operation.

    Raises:
        KernelError: nobody does, for this primitive or these types.
    """
    inputs = [program.kind(one) for one in operation.inputs]
    outputs = [program.kinds[slot] for slot in operation.outputs]
    if operation.refused is not None:
        raise KernelError(f"{operation.refused.message}{located(operation)}", hint=operation.refused.hint)
    if operation.name in CONTROL:
        return "control"
    types = [str(kind.dtype) for kind in (*inputs, *outputs)]
    found = None if set(types) - TYPES or operation.acts else _found(operation, program, types)
    if found is None:
        raise KernelError(
            f"portable numerics do not define {_shown(operation, inputs, outputs)}{located(operation)}",
            hint="write it with operations that docs/numerics/ defines, or drop the profile portable",
        )
    return found


def step_name(operation: Operation) -> str:
    """What the fused machine calls a primitive: `add_any`, the sum of gradients, is an addition."""
    return {"add_any": "add"}.get(operation.name, operation.name)


def elementwise(operation: Operation, program: Program) -> bool:
    """Whether the fused machine takes an operation; it takes some that XLA could keep, such as select_n."""
    if len(operation.outputs) != 1 or (operation.name == "select_n" and len(operation.inputs) != 3):  # noqa: PLR2004
        return False
    types, own = [program.kind(one).dtype for one in operation.inputs], program.kinds[operation.outputs[0]].dtype
    if operation.name == "convert_element_type" and types == [own]:
        return False
    if any(str(one) not in movement.FLOATS | movement.INTEGERS for one in (*types, own)):
        return False
    return fused.takes(step_name(operation), types, own)


def _found(operation: Operation, program: Program, types: Sequence[str]) -> Owner | None:
    name = operation.name
    if movement.stays(name, types) or _ours(operation):
        return "xla"
    if name in movement.RULES and (name != "sort" or COMPUTED.isdisjoint(types[: operation.params["num_keys"]])):
        return movement.RULES[name]
    for rules in FAMILIES:
        if name in rules:
            return rules[name]
    return "elementwise" if elementwise(operation, program) else None


def located(operation: Operation) -> str:
    """The line that asked for an operation, in parentheses; empty if that isn't known."""
    line = place(operation.origins)
    return f" ({line})" if line else ""


def _ours(operation: Operation) -> bool:
    """A native operation of the specification: a function that is portable already."""
    target = str(operation.params.get("target_name", ""))
    return operation.name == "ffi_call" and target.startswith(LIBRARIES)


def _shown(operation: Operation, inputs: Sequence[Kind], outputs: Sequence[Kind]) -> str:
    target = operation.params.get("target_name", operation.name) if operation.name == "ffi_call" else operation.name
    return f"{target} of {_types(inputs)} to {_types(outputs)}"


def _types(kinds: Sequence[Kind]) -> str:
    return ", ".join(f"{kind.dtype}[{','.join(map(str, kind.shape))}]" for kind in kinds) or "nothing"
