"""Eigenvalues and singular values of complex matrices (docs/numerics/complex.md, 7.3).

Reflectors of complex numbers leave a real tridiagonal or bidiagonal matrix, as in LAPACK's zhetrd and zgebrd; what is
left is the real algorithm's. Its vectors are turned back by the same reflectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.portable.complex_qr import reflected, reflector

Definition = Callable[..., Any]
Reflectors = tuple[Array, Array]
"""Vectors (batch, n, count), as columns, and taus (batch, count)."""


def _adjoint(a: Array) -> Array:
    return jnp.conj(jnp.swapaxes(a, -1, -2))


def _none(a: Array, rows: int, count: int) -> Reflectors:
    batch = a.shape[:-2]
    return jnp.zeros((*batch, rows, count), a.dtype), jnp.zeros((*batch, count), a.dtype)


def _kept(found: Reflectors, k: Array, v: Array, tau: Array) -> Reflectors:
    here = np.arange(found[1].shape[-1]) == k
    return jnp.where(here, v[..., None], found[0]), jnp.where(here, tau, found[1])


def _column(a: Array, k: Array, at: Array) -> tuple[Array, Array]:
    """The reflector of column k that leaves a real number in row `at` and zeros below: tau and v."""
    rows = lax.broadcasted_iota(np.int32, a.shape[:-1], a.ndim - 2)
    column = lax.dynamic_index_in_dim(a, k, a.ndim - 1, keepdims=False)
    _, tau, v = reflector(column, rows > at, at)
    return tau, jnp.where(rows < at, jnp.zeros_like(v), v)


def _turned(found: Reflectors, x: Array) -> Array:
    """The product of reflectors, the first one leftmost, and x."""
    vectors, taus = found
    count = taus.shape[-1]

    def step(done: Array, x: Array) -> Array:
        k = count - 1 - done
        v = lax.dynamic_index_in_dim(vectors, k, vectors.ndim - 1, keepdims=False)
        return reflected(x, lax.dynamic_index_in_dim(taus, k, taus.ndim - 1, keepdims=True), v)

    return lax.fori_loop(0, count, step, x) if count else x


def _complex(x: Array) -> Array:
    return lax.complex(x, jnp.zeros_like(x))


def _eigh(
    a: Array, *, lower: bool, sort_eigenvalues: bool, subset_by_index: Any, algorithm: Any, **_: Any
) -> tuple[Array, Array]:
    """Eigenvectors, as columns, and ascending eigenvalues."""
    n = a.shape[-1]
    if not lower:
        a = _adjoint(a)
    row, column = (lax.broadcasted_iota(np.int32, a.shape, a.ndim - axis) for axis in (2, 1))
    a = jnp.where(row > column, a, jnp.where(row < column, _adjoint(a), _complex(lax.real(a))))

    def step(k: Array, state: tuple[Array, Reflectors]) -> tuple[Array, Reflectors]:
        a, found = state
        tau, v = _column(a, k, k + 1)
        left = reflected(a, jnp.conj(tau), v)
        return _adjoint(reflected(_adjoint(left), jnp.conj(tau), v)), _kept(found, k, v, tau)

    found = _none(a, n, max(0, n - 1))
    if n > 1:
        a, found = lax.fori_loop(0, n - 1, step, (a, found))
    real = jnp.where(abs(row - column) <= 1, lax.real(a), 0).astype(lax.real(a).dtype)
    vectors, values = lax.linalg.eigh_p.bind(
        real,
        lower=True,
        sort_eigenvalues=sort_eigenvalues,
        subset_by_index=subset_by_index,
        algorithm=algorithm,
    )
    return _turned(found, _complex(vectors)), values


def _svd(
    a: Array, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any, algorithm: Any, **_: Any
) -> tuple[Array, ...]:
    """Descending singular values, and U and the adjoint of V if asked for."""
    m, n = a.shape[-2:]
    options = {"subset_by_index": subset_by_index, "algorithm": algorithm, "compute_uv": compute_uv}
    if m < n:
        values, *vectors = _svd(_adjoint(a), full_matrices=full_matrices, **options)
        return values, *(_adjoint(one) for one in reversed(vectors))

    def step(k: Array, state: tuple[Array, Reflectors, Reflectors]) -> tuple[Array, Reflectors, Reflectors]:
        a, left, right = state
        tau, v = _column(a, k, k)
        a, left = reflected(a, jnp.conj(tau), v), _kept(left, k, v, tau)
        turned = _adjoint(a)
        tau, v = _column(turned, k, k + 1)
        tau = jnp.where(k + 1 < n, tau, jnp.zeros_like(tau))
        return _adjoint(reflected(turned, jnp.conj(tau), v)), left, _kept(right, k, v, tau)

    left, right = _none(a, m, n), _none(a, n, n)
    if n:
        a, left, right = lax.fori_loop(0, n, step, (a, left, right))
    square = lax.real(a)[..., :n, :]
    row, column = (lax.broadcasted_iota(np.int32, square.shape, square.ndim - axis) for axis in (2, 1))
    real = jnp.where((column == row) | (column == row + 1), square, 0).astype(square.dtype)
    values, *vectors = lax.linalg.svd_p.bind(real, full_matrices=False, **options)
    if not compute_uv:
        return (values,)
    own, other = vectors
    columns = m if full_matrices else n
    wide = jnp.zeros((*own.shape[:-2], m, columns), own.dtype)
    wide = wide.at[..., :n, :n].set(own) + jnp.eye(m, columns, dtype=own.dtype) * (np.arange(columns) >= n)
    return values, _turned(left, _complex(wide)), _adjoint(_turned(right, _complex(jnp.swapaxes(other, -1, -2))))


DEFINITIONS: Final[Mapping[str, Definition]] = {"eigh": _eigh, "svd": _svd}
