"""Scatter by section 4 of the specification (docs/numerics/reduction.md, R7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library
from kernels.runtime.portable.reduction import Arguments, Parameters, Rule, attribute, floating, like

ADD, SUBTRACT, MULTIPLY, GREATER, LESS, SET = range(6)
"""The updates as the native handler numbers them."""


def _scatter(update: int, operand: jax.Array, args: Arguments, params: Parameters) -> jax.Array:
    indices, updates = args
    numbers = params["dimension_numbers"]
    call = jax.ffi.ffi_call(library.target("scatter"), like(operand.shape, operand.dtype))
    result: jax.Array = call(
        operand,
        indices,
        updates,
        update=np.int32(update),
        clip=params["mode"] == lax.GatherScatterMode.CLIP,
        window=attribute(numbers.update_window_dims),
        inserted=attribute(numbers.inserted_window_dims),
        indexed=attribute(numbers.scatter_dims_to_operand_dims),
        batch=attribute(numbers.operand_batching_dims),
        index_batch=attribute(numbers.scatter_indices_batching_dims),
    )
    return result


def _computing(primitive: Any, update: int) -> Rule:
    def rule(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
        operand, indices, updates = args
        if update in {ADD, SUBTRACT} and jnp.issubdtype(operand.dtype, np.complexfloating):
            real = _scatter(update, lax.real(operand), (indices, lax.real(updates)), params)
            return [lax.complex(real, _scatter(update, lax.imag(operand), (indices, lax.imag(updates)), params))]
        if not floating(primitive.name, operand):
            return [primitive.bind(*args, **params)]
        return [_scatter(update, operand, (indices, updates), params)]

    return rule


def _replacing(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    """Of any type: which of two updates stays is a matter of order even for integers."""
    if params["update_jaxpr"] is not None:
        raise KernelError("the numeric specification has no scatter by a function of one's own")
    operand, *rest = args
    return [_scatter(SET, operand, rest, params)]


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "scatter": _replacing,
        "scatter-add": _computing(lax.scatter_add_p, ADD),
        "scatter-sub": _computing(lax.scatter_sub_p, SUBTRACT),
        "scatter-mul": _computing(lax.scatter_mul_p, MULTIPLY),
        "scatter-max": _computing(lax.scatter_max_p, GREATER),
        "scatter-min": _computing(lax.scatter_min_p, LESS),
    }
)
