"""Loops and branches: the same primitive again, around bodies that are portable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import numpy as np

from kernels.runtime.portable import movement
from kernels.runtime.portable.flatten import Kind, Operation

Body = Callable[[Any, tuple[Any, ...]], Any]
"""From a closed jaxpr, and the origins of the operation that it is part of, to the portable one."""

BODIES: Final = {"scan": ("jaxpr",), "while": ("cond_jaxpr", "body_jaxpr"), "cond": ("branches",)}


def carried(aval: Any) -> jax.ShapeDtypeStruct:
    """What a body takes for an argument: narrow formats travel as uint16 (movement.as_bits says why)."""
    if str(aval.dtype) in movement.NARROW:
        return jax.ShapeDtypeStruct(aval.shape, np.uint16)  # type: ignore[no-untyped-call]
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)  # type: ignore[no-untyped-call]


def bind(operation: Operation, args: Sequence[jax.Array], outputs: Sequence[Kind], body: Body) -> list[jax.Array]:
    """Carry out a loop or a branch whose bodies went through `body`, which takes and gives what `carried` says."""

    def portable(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(body(one, operation.origins) for one in value)
        return body(value, operation.origins)

    params = {name: portable(operation.params[name]) for name in BODIES[operation.name]}
    made = operation.primitive.bind(*(movement.as_bits(x) for x in args), **{**operation.params, **params})
    return [movement.from_bits(x, kind.dtype) for x, kind in zip(made, outputs, strict=True)]
