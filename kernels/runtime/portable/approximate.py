"""Approximate selection, which is exact here (docs/numerics/reduction.md, R8)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array, lax


def approx_top_k(x: Array, **params: Any) -> tuple[Array, Array]:
    """The greatest or the least elements of an axis in order, and their indices, as many as JAX's result has."""
    values = jax.eval_shape(lambda: lax.approx_top_k_p.bind(x, **params))[0]
    axis = params["reduction_dimension"] % x.ndim
    count = values.shape[axis]
    if params["is_max_k"]:
        greatest, at = lax.top_k(x, count, axis=axis)
        return greatest, at
    places = lax.broadcasted_iota(np.int32, x.shape, axis)
    least, at = lax.sort((x, places), dimension=axis, num_keys=1)
    return lax.slice_in_dim(least, 0, count, axis=axis), lax.slice_in_dim(at, 0, count, axis=axis)
