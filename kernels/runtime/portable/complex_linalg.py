"""Complex linear algebra, as programs over real arrays (docs/numerics/complex.md, 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.portable.complex_qr import qr
from kernels.runtime.portable.complexes import add, div, mul, parts, sub

Definition = Callable[..., Any]

_BLOCK: Final = 32
"""Products of an element of LU that are summed before they are taken away."""


def _transposed(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _spread(a: Array) -> Array:
    """The real matrix of twice the size: for each element (a, b) the four (a, -b; b, a)."""
    real, imag = parts(a)
    *batch, m, n = a.shape
    four = jnp.stack([jnp.stack([real, -imag], -1), jnp.stack([imag, real], -1)], -3)
    return jnp.reshape(four, (*batch, 2 * m, 2 * n))


def _tall(b: Array) -> Array:
    """A matrix whose rows are the real and the imaginary part of each row."""
    *batch, m, n = b.shape
    return jnp.reshape(jnp.stack(parts(b), -2), (*batch, 2 * m, n))


def _gathered(x: Array) -> Array:
    """What `_tall` spread."""
    return lax.complex(x[..., 0::2, :], x[..., 1::2, :])


def _cholesky(a: Array, **params: Any) -> Array:
    factor = lax.linalg.cholesky_p.bind(_spread(a), **params)
    found = _gathered(factor[..., :, 0::2])
    real, imag = parts(found)
    row, column = (lax.broadcasted_iota(np.int32, a.shape, a.ndim - axis) for axis in (2, 1))
    return jnp.where((row == column) & ~jnp.isnan(real), lax.complex(real, jnp.zeros_like(imag)), found)


def _triangular_solve(
    a: Array, b: Array, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> Array:
    """With the diagonal divided away first, which leaves a real triangular matrix of twice the size."""
    a = _transposed(a) if transpose_a else a
    a = jnp.conj(a) if conjugate_a else a
    lower = lower != transpose_a
    if not left_side:
        a, b, lower = _transposed(a), _transposed(b), not lower
    if not unit_diagonal:
        diagonal = jnp.diagonal(a, axis1=-2, axis2=-1)[..., None]
        a, b = div(a, jnp.broadcast_to(diagonal, a.shape)), div(b, jnp.broadcast_to(diagonal, b.shape))
    row, column = (lax.broadcasted_iota(np.int32, a.shape, a.ndim - axis) for axis in (2, 1))
    a = jnp.where(row == column, jnp.ones_like(a), a)
    solved = lax.linalg.triangular_solve_p.bind(
        _spread(a), _tall(b), left_side=True, lower=lower, transpose_a=False, conjugate_a=False, unit_diagonal=True
    )
    found = _gathered(solved)
    return found if left_side else _transposed(found)


def _lu(a: Array, **_: Any) -> tuple[Array, Array, Array]:
    """Column by column, with the row whose element there has the greatest |re| + |im|, the first of equals."""
    *batch, m, n = a.shape
    count = min(m, n)
    rows = lax.broadcasted_iota(np.int32, (*batch, m), len(batch))
    columns = lax.broadcasted_iota(np.int32, (*batch, n), len(batch))

    def exchanged(x: Array, k: Array, pivot: Array) -> tuple[Array, Array]:
        """With rows k and pivot exchanged, and the new row k."""
        first = lax.dynamic_index_in_dim(x, k, x.ndim - 2, keepdims=True)
        chosen = jnp.take_along_axis(x, pivot[..., None, None], x.ndim - 2)
        x = jnp.where(rows[..., None] == pivot[..., None, None], first, x)
        return jnp.where(rows[..., None] == k, chosen, x), chosen

    def column_of(a: Array, sums: Array, k: Array) -> Array:
        return sub(*(lax.dynamic_index_in_dim(x, k, x.ndim - 1, keepdims=False) for x in (a, sums)))

    def step(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, sums, pivots = state
        real, imag = parts(column_of(a, sums, k))
        size = jnp.where(rows < k, -1, abs(real) + abs(imag))
        pivot = jnp.argmax(jnp.where(jnp.isnan(size), -1, size), -1).astype(np.int32)
        own = lax.dynamic_index_in_dim(size, k, size.ndim - 1, keepdims=False)
        pivot = jnp.where(jnp.isnan(own), k, jnp.maximum(pivot, k))  # nothing is greater than a NaN
        (a, first), (sums, less) = exchanged(a, k, pivot), exchanged(sums, k, pivot)
        first, column = sub(first, less), column_of(a, sums, k)
        below, right = rows > k, columns[..., None, :] > k
        divisor = lax.dynamic_index_in_dim(column, k, column.ndim - 1, keepdims=True)
        quotients = div(column, jnp.broadcast_to(divisor, column.shape))
        column = jnp.where(below & (divisor != 0), quotients, column)
        product = mul(*jnp.broadcast_arrays(column[..., :, None], first))
        sums = jnp.where(below[..., None] & right, add(sums, product), jnp.zeros_like(sums))  # the others are done
        a = jnp.where(rows[..., None] == k, first, a)
        a = jnp.where(columns[..., None, :] == k, column[..., None], a)
        return a, sums, jnp.where(np.arange(count) == k, pivot[..., None], pivots)

    def block(index: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, pivots = state
        start = index * _BLOCK
        state = a, jnp.zeros_like(a), pivots
        a, sums, pivots = lax.fori_loop(start, jnp.minimum(start + _BLOCK, count), step, state)
        return sub(a, sums), pivots

    pivots = jnp.zeros((*batch, count), np.int32)
    if count:
        a, pivots = lax.fori_loop(0, -(-count // _BLOCK), block, (a, pivots))
    return a, pivots, lax.linalg.lu_pivots_to_permutation(pivots, m)


DEFINITIONS: Final[Mapping[str, Definition]] = {
    "cholesky": _cholesky,
    "lu": _lu,
    "qr": qr,
    "triangular_solve": _triangular_solve,
}
