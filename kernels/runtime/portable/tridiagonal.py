"""Tridiagonal systems, as a program of elementwise operations (docs/numerics/linalg.md, 5.9)."""

from __future__ import annotations

from typing import Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.errors import KernelError

TYPES: Final = frozenset({"float32", "float64", "complex64", "complex128"})


def _size(x: Array) -> Array:
    return abs(lax.real(x)) + abs(lax.imag(x)) if jnp.iscomplexobj(x) else abs(x)


def _rows(x: Array, rank: int) -> Array:
    """With rows first, and an axis of columns last."""
    return jnp.moveaxis(x[..., None] if x.ndim < rank else x, rank - 2, 0)


def tridiagonal_solve(dl: Array, d: Array, du: Array, b: Array, *, perturb_singular: bool) -> Array:
    """X [..., n, k] of a system with diagonals [..., n], by elimination with row exchanges, as LAPACK's gtsv.

    Raises:
        KernelError: the type is a narrow one, or singular matrices are to be perturbed.
    """
    if str(b.dtype) not in TYPES:
        raise KernelError(f"portable numerics have no tridiagonal_solve of {b.dtype}")
    if perturb_singular:
        raise KernelError("portable numerics have no tridiagonal_solve with perturb_singular")
    if b.size == 0:
        return b
    lower, middle, upper, right = (_rows(x, b.ndim) for x in (dl, d, du, b))

    def eliminate(above: tuple[Array, ...], below: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        (pivot, beside, rhs), (first, second, third, other) = above, below
        swap = _size(pivot) < _size(first)
        factor = jnp.where(swap, pivot, first) / jnp.where(swap, first, pivot)
        factor = jnp.where((pivot == 0) & (first == 0), jnp.zeros_like(factor), factor)
        kept, left = jnp.where(swap, second, beside), jnp.where(swap, beside, second)
        row = jnp.where(swap, first, pivot), kept, jnp.where(swap, third, jnp.zeros_like(third))
        top, low = jnp.where(swap, other, rhs), jnp.where(swap, rhs, other)
        next_ = left - factor * kept, jnp.where(swap, -(factor * third), third), low - factor * top
        return next_, (*row, top)

    beyond = jnp.concatenate([upper[:-1], jnp.zeros_like(upper[:1])])[1:]  # the last one is no element of the matrix
    start = middle[0], upper[0], right[0]
    last, rows = lax.scan(eliminate, start, (lower[1:], middle[1:], beyond, right[1:]))

    def substitute(found: tuple[Array, Array], row: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        near, far = found
        pivot, beside, further, top = row
        x = (top - beside * near - further * far) / pivot
        return (x, near), x

    bottom = last[2] / last[0]
    _, others = lax.scan(substitute, (bottom, jnp.zeros_like(bottom)), rows, reverse=True)
    singular = jnp.any(rows[0] == 0, 0) | (last[0] == 0)
    found = jnp.concatenate([others, bottom[None]])
    return jnp.moveaxis(jnp.where(singular, jnp.asarray(np.nan, b.dtype), found), 0, b.ndim - 2)
