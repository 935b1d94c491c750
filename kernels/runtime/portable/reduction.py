"""Reductions and cumulative operations by section 4 of the specification (docs/numerics/reduction.md, R1 to R4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Jaxpr

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library

Arguments = Sequence[jax.Array]
Parameters = Mapping[str, Any]
Rule = Callable[[Arguments, Parameters], Sequence[jax.Array]]

FLOATS: Final = frozenset({"float32", "float64", "bfloat16", "float16"})
SUM, PRODUCT, MAXIMUM, MINIMUM = range(4)
"""The operations as the native handlers number them."""

MONOIDS: Final = MappingProxyType({"add": SUM, "mul": PRODUCT, "max": MAXIMUM, "min": MINIMUM})


def floating(primitive: str, x: jax.Array) -> bool:
    """Whether this section computes on it; False for what is exact in any order.

    Raises:
        KernelError: a floating-point type that the specification does not define.
    """
    if x.dtype.name in FLOATS:
        return True
    if jnp.issubdtype(x.dtype, np.inexact) or not jnp.issubdtype(x.dtype, np.generic):
        raise KernelError(f"the numeric specification has no {primitive} of {x.dtype.name}")
    return False


def attribute(values: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A list of integers as a handler takes it."""
    return np.asarray(values, np.int64).reshape(-1)


def like(shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    """The result that a handler gives."""
    return jax.ShapeDtypeStruct(tuple(shape), dtype)  # type: ignore[no-untyped-call]


def monoid(computation: Jaxpr, primitive: str) -> int:
    """The operation that a reducer's computation is.

    Raises:
        KernelError: it is not one addition, multiplication, maximum or minimum of its two arguments.
    """
    if len(computation.eqns) == 1 and len(computation.invars) == 2:  # noqa: PLR2004  # a binary operation
        (equation,) = computation.eqns
        same = set(equation.invars) == set(computation.invars) and list(equation.outvars) == list(computation.outvars)
        if same and equation.primitive.name in MONOIDS:
            return MONOIDS[equation.primitive.name]
    raise KernelError(
        f"the numeric specification has no {primitive} by this computation: {computation}",
        hint="reduce with one of lax.add, lax.mul, lax.max, lax.min",
    )


def reduce(operation: int, x: jax.Array, axes: Sequence[int], initial: jax.Array | None = None) -> jax.Array:
    """R1 and R2: any shape, float32, float64, bfloat16 or float16; the axes leave the shape.

    Args:
        operation: SUM, PRODUCT, MAXIMUM or MINIMUM.
        x: the operand.
        axes: the axes to reduce.
        initial: a scalar v for v ∘ r.
    """
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    call = jax.ffi.ffi_call(library.target("reduce"), like(shape, x.dtype))
    operands = (x,) if initial is None else (x, initial.astype(x.dtype))
    result: jax.Array = call(*operands, operation=np.int32(operation), axes=attribute(axes))
    return result


def by_parts(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A linear function of a complex array, of its real and its imaginary part."""
    return lax.complex(function(lax.real(x)), function(lax.imag(x)))


def _reducer(primitive: Any, operation: int) -> Rule:
    def rule(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
        (x,) = args
        if operation == SUM and jnp.issubdtype(x.dtype, np.complexfloating):
            return [by_parts(lambda part: reduce(operation, part, params["axes"]), x)]
        if not floating(primitive.name, x):
            return [primitive.bind(x, **params)]
        return [reduce(operation, x, params["axes"])]

    return rule


def _reduce(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    if len(args) != 2:  # noqa: PLR2004  # one operand and its initial value
        raise KernelError("the numeric specification has no reduce of several operands together")
    x, initial = args
    if not floating("reduce", x):
        return list(lax.reduce_p.bind(*args, **params))  # type: ignore[no-untyped-call]
    return [reduce(monoid(params["jaxpr"].jaxpr, "reduce"), x, params["dimensions"], initial)]


def _argextremum(primitive: Any, *, greatest: bool) -> Rule:
    def rule(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
        (x,) = args
        if not floating(primitive.name, x):
            return [primitive.bind(x, **params)]
        (axis,) = params["axes"]
        dtype = np.dtype(params["index_dtype"])
        if dtype.name not in {"int32", "int64"}:
            raise KernelError(f"the numeric specification has no {primitive.name} to {dtype.name}")
        shape = [size for i, size in enumerate(x.shape) if i != axis]
        call = jax.ffi.ffi_call(library.target("argextremum"), like(shape, dtype))
        return [call(x, axis=np.int64(axis), greatest=greatest)]

    return rule


def cumulate(operation: int, x: jax.Array, axis: int, *, reverse: bool) -> jax.Array:
    """R4: float32, float64, bfloat16 or float16 of any shape; the shape stays.

    Args:
        operation: SUM, PRODUCT, MAXIMUM or MINIMUM.
        x: the operand.
        axis: along which.
        reverse: from the last element.
    """
    call = jax.ffi.ffi_call(library.target("scan"), like(x.shape, x.dtype))
    result: jax.Array = call(x, operation=np.int32(operation), axis=np.int64(axis), reverse=bool(reverse))
    return result


def _cumulative(primitive: Any, operation: int) -> Rule:
    def rule(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
        (x,) = args
        axis, reverse = params["axis"], params["reverse"]
        if operation == SUM and jnp.issubdtype(x.dtype, np.complexfloating):
            return [by_parts(lambda part: cumulate(operation, part, axis, reverse=reverse), x)]
        if not floating(primitive.name, x):
            return [primitive.bind(x, **params)]
        return [cumulate(operation, x, axis, reverse=reverse)]

    return rule


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "reduce_sum": _reducer(lax.reduce_sum_p, SUM),
        "reduce_prod": _reducer(lax.reduce_prod_p, PRODUCT),
        "reduce_max": _reducer(lax.reduce_max_p, MAXIMUM),
        "reduce_min": _reducer(lax.reduce_min_p, MINIMUM),
        "reduce": _reduce,
        "argmax": _argextremum(lax.argmax_p, greatest=True),
        "argmin": _argextremum(lax.argmin_p, greatest=False),
        "cumsum": _cumulative(lax.cumsum_p, SUM),
        "cumprod": _cumulative(lax.cumprod_p, PRODUCT),
        "cummax": _cumulative(lax.cummax_p, MAXIMUM),
        "cummin": _cumulative(lax.cummin_p, MINIMUM),
    }
)
