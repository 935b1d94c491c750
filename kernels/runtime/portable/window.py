"""Windows by section 4 of the specification (docs/numerics/reduction.md, R5 and R6)."""

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
from kernels.runtime.portable.reduction import (
    MAXIMUM,
    MINIMUM,
    SUM,
    Arguments,
    Parameters,
    Rule,
    attribute,
    by_parts,
    floating,
    like,
    monoid,
)

NEUTRAL: Final = MappingProxyType({SUM: 0.0, MAXIMUM: -np.inf, MINIMUM: np.inf})


def _sizes(params: Parameters, *, dilated: bool) -> dict[str, Any]:
    sizes = {
        "window": attribute(params["window_dimensions"]),
        "step": attribute(params["window_strides"]),
        "padding": attribute([one for pair in params["padding"] for one in pair]),
    }
    if dilated:
        sizes["holes"] = attribute(params["base_dilation"])
        sizes["spread"] = attribute(params["window_dilation"])
    return sizes


def _result_shape(x: jax.Array, params: Parameters) -> tuple[int, ...]:
    shape = []
    for i, size in enumerate(x.shape):
        dilated = 0 if size == 0 else (size - 1) * params["base_dilation"][i] + 1
        room = dilated + sum(params["padding"][i])
        window = (params["window_dimensions"][i] - 1) * params["window_dilation"][i] + 1
        shape.append(0 if room < window else (room - window) // params["window_strides"][i] + 1)
    return tuple(shape)


def _reduce(operation: int, x: jax.Array, initial: jax.Array, params: Parameters) -> jax.Array:
    if x.ndim == 0:  # the window holds the only element
        whole = dict.fromkeys(("window_dimensions", "window_strides", "base_dilation", "window_dilation"), (1,))
        return _reduce(operation, x.reshape(1), initial, {**whole, "padding": ((0, 0),)}).reshape(())
    call = jax.ffi.ffi_call(library.target("window"), like(_result_shape(x, params), x.dtype))
    result: jax.Array = call(x, initial, operation=np.int32(operation), **_sizes(params, dilated=True))
    return result


def _window(primitive: Any, operation: int) -> Rule:
    def rule(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
        (x,) = args

        def reduced(part: jax.Array) -> jax.Array:
            return _reduce(operation, part, jnp.asarray(NEUTRAL[operation], part.dtype), params)

        if operation == SUM and jnp.issubdtype(x.dtype, np.complexfloating):
            return [by_parts(reduced, x)]
        if not floating(primitive.name, x):
            return [primitive.bind(x, **params)]
        return [reduced(x)]

    return rule


def _reduce_window(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    if len(args) != 2:  # noqa: PLR2004  # one operand and its initial value
        raise KernelError("the numeric specification has no windows over several operands together")
    x, initial = args
    if not floating("reduce_window", x):
        return list(lax.reduce_window_p.bind(*args, **params))  # type: ignore[no-untyped-call]
    return [_reduce(monoid(params["jaxpr"], "reduce_window"), x, initial.astype(x.dtype), params)]


def _greater(params: Parameters) -> bool:
    name = params["select_prim"].name
    if name not in {"ge", "le"}:
        raise KernelError(f"the numeric specification selects in windows by ge or le, not by {name}")
    return bool(name == "ge")


def _scatter_add(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    source, operand = args
    if not floating("select_and_scatter_add", operand):
        raise KernelError(f"the numeric specification has no select_and_scatter_add of {operand.dtype.name}")
    call = jax.ffi.ffi_call(library.target("window_scatter"), like(operand.shape, operand.dtype))
    return [call(source, operand, greater=_greater(params), **_sizes(params, dilated=False))]


def _gather_add(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    tangents, operand = args
    if not floating("select_and_gather_add", operand):
        raise KernelError(f"the numeric specification has no select_and_gather_add of {operand.dtype.name}")
    call = jax.ffi.ffi_call(library.target("window_gather"), like(_result_shape(operand, params), operand.dtype))
    return [call(tangents, operand, greater=_greater(params), **_sizes(params, dilated=True))]


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "reduce_window_sum": _window(lax.reduce_window_sum_p, SUM),
        "reduce_window_max": _window(lax.reduce_window_max_p, MAXIMUM),
        "reduce_window_min": _window(lax.reduce_window_min_p, MINIMUM),
        "reduce_window": _reduce_window,
        "select_and_scatter_add": _scatter_add,
        "select_and_gather_add": _gather_add,
    }
)
