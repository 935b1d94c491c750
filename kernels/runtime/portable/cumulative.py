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


def _elementwise(operands: Sequence[jax.Array], steps: Sequence[tuple[str, tuple[int, ...], Any]]) -> jax.Array:
    """The last value of a program over arrays of one shape and scalars."""
    shape = operands[0].shape
    given = [Operand(x, tuple(range(x.ndim))) for x in operands]
    made = [Step(op, args, np.dtype(dtype), {"new_dtype": np.dtype(dtype)}) for op, args, dtype in steps]
    (result,) = fused.call(shape, given, made, [len(given) + len(made) - 1])
    return result


def _cumlogsumexp(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    (operand,) = args
    dtype = operand.dtype
    computing = np.dtype(np.float64 if dtype.name == "float64" else np.float32)
    if dtype.name not in FLOATS or not fused.takes("exp", [computing], computing):
        raise KernelError(f"the numeric specification has no cumlogsumexp of {dtype.name}")
    if operand.size == 0:
        return [operand]
    axis, reverse = params["axis"], params["reverse"]
    narrow = dtype != computing
    x = _elementwise([operand], [("convert_element_type", (0,), computing)]) if narrow else operand
    m = cumulate(MAXIMUM, x, axis, reverse=reverse)
    before = lax.slice_in_dim(m, 1, None, axis=axis) if reverse else lax.slice_in_dim(m, 0, -1, axis=axis)
    empty = jnp.full([1 if i == axis else size for i, size in enumerate(m.shape)], -np.inf, computing)
    before = lax.concatenate([before, empty] if reverse else [empty, before], axis)
    one = jnp.ones((), computing)
    scaled = [
        ("sub", (0, 1), computing),
        ("exp", (3,), computing),
        ("lt", (0, 1), np.bool_),
        ("select_n", (5, 2, 4), computing),
    ]
    decay, term = _elementwise([before, m, one], scaled), _elementwise([x, m, one], scaled)
    call = jax.ffi.ffi_call(library.target("recur"), like(m.shape, computing))
    s = call(decay, term, axis=np.int64(axis), reverse=bool(reverse))
    last = [("convert_element_type", (3,), dtype)] if narrow else []
    return [_elementwise([s, m], [("log", (0,), computing), ("add", (1, 2), computing), *last])]


RULES: Final[Mapping[str, Rule]] = MappingProxyType({"cumlogsumexp": _cumlogsumexp})
