"""cumlogsumexp by section 4 of the specification (docs/numerics/reduction.md, R4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import fused, library
from kernels.runtime.portable.fused import Operand, Step
from kernels.runtime.portable.reduction import FLOATS, MAXIMUM, Arguments, Parameters, Rule, cumulate, like

BLOCK: Final = 16
"""Elements in a chain."""

_JOIN: Final = (
    ("lt", (0, 2)),
    ("eq", (0, 2)),
    ("sub", (0, 2)),
    ("abs", (7,)),
    ("neg", (8,)),
    ("exp", (9,)),
    ("select_n", (6, 10, 4)),  # q
    ("add", (3, 11)),
    ("add", (3, 4)),
    ("mul", (13, 11)),
    ("select_n", (5, 14, 12)),  # t
    ("select_n", (5, 4, 11)),  # d
    ("mul", (1, 16)),
    ("add", (17, 15)),
    ("max", (0, 2)),
)
"""(m, r) ∘ (m', r') of the operands m, r, m', r' and 1."""


def _elementwise(
    shape: Sequence[int], operands: Sequence[Operand], steps: Sequence[tuple[Any, ...]], results: Sequence[int]
) -> list[jax.Array]:
    """A program in the type of its first operand, but for comparisons and steps that name one."""
    made = []
    for op, args, *other in steps:
        dtype = np.dtype(other[0] if other else np.bool_ if op in {"lt", "eq"} else operands[0].array.dtype)
        made.append(Step(op, args, dtype, {"new_dtype": dtype}))
    return fused.call(shape, operands, made, results)


def _each(x: jax.Array, without: int | None = None) -> Operand:
    """An array with the program's axes, or all but one of them, or a scalar."""
    return Operand(x, tuple(i for i in range(x.ndim + (without is not None)) if i != without))


def _before(x: jax.Array, axis: int, first: float) -> jax.Array:
    """What is one earlier along an axis."""
    start = jnp.full([1 if i == axis else size for i, size in enumerate(x.shape)], first, x.dtype)
    return lax.concatenate([start, lax.slice_in_dim(x, 0, -1, axis=axis)], axis)


def _blocks(x: jax.Array, axis: int, rest: float) -> jax.Array:
    """An axis as blocks and the elements of each, of which the last may need some more.

    If it is the last one, as elements and blocks: memory then has chains side by side.
    """
    count = -(-x.shape[axis] // BLOCK)
    more = [(0, count * BLOCK - size if i == axis else 0, 0) for i, size in enumerate(x.shape)]
    made = lax.pad(x, jnp.asarray(rest, x.dtype), more).reshape(*x.shape[:axis], count, BLOCK, *x.shape[axis + 1 :])
    return made.swapaxes(axis, axis + 1) if axis == x.ndim - 1 else made


def _joined(x: jax.Array, axis: int, length: int) -> jax.Array:
    """The inverse of `_blocks`."""
    made = x.swapaxes(axis, axis + 1) if axis == x.ndim - 2 else x
    return lax.slice_in_dim(made.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :]), 0, length, axis=axis)


def _cumulated(m: jax.Array, r: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The pairs (m, r) cumulated along an axis; r may be one scalar for all."""
    one = Operand(jnp.ones((), m.dtype), ())
    if m.shape[axis] <= BLOCK:
        top = cumulate(MAXIMUM, m, axis, reverse=False)
        given = [_each(_before(top, axis, -np.inf)), one, _each(m), _each(r), one]
        decay, term = _elementwise(m.shape, given, _JOIN[:12], [16, 15])
        call = jax.ffi.ffi_call(library.target("recur"), like(m.shape, m.dtype))
        return top, call(decay, term, axis=np.int64(axis))
    inner = axis if axis == m.ndim - 1 else axis + 1
    blocks = _blocks(m, axis, -np.inf), r if r.ndim == 0 else _blocks(r, axis, 0)
    chains = _cumulated(*blocks, inner)
    totals = (lax.index_in_dim(x, BLOCK - 1, inner, keepdims=False) for x in chains)
    before = (_before(x, axis, first) for x, first in zip(_cumulated(*totals, axis), (-np.inf, 0), strict=True))
    given = [*(_each(x, inner) for x in before), *map(_each, chains), one]
    s, top = _elementwise(chains[0].shape, given, _JOIN, [18, 19])
    return _joined(top, axis, m.shape[axis]), _joined(s, axis, m.shape[axis])


def _cumlogsumexp(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    (operand,) = args
    dtype = operand.dtype
    computing = np.dtype(np.float64 if dtype.name == "float64" else np.float32)
    if dtype.name not in FLOATS or not fused.takes("exp", [computing], computing):
        raise KernelError(f"the numeric specification has no cumlogsumexp of {dtype.name}")
    if operand.size == 0:
        return [operand]
    axis = params["axis"]
    x = lax.rev(operand, (axis,)) if params["reverse"] else operand
    if dtype != computing:
        (x,) = _elementwise(x.shape, [_each(x)], [("convert_element_type", (0,), computing)], [1])
    pairs = _cumulated(x, jnp.zeros((), computing), axis)
    steps = [("log1p", (1,)), ("add", (0, 2)), *([("convert_element_type", (3,), dtype)] if dtype != computing else [])]
    (out,) = _elementwise(x.shape, [*map(_each, pairs)], steps, [1 + len(steps)])
    return [lax.rev(out, (axis,)) if params["reverse"] else out]


RULES: Final[Mapping[str, Rule]] = MappingProxyType({"cumlogsumexp": _cumlogsumexp})
