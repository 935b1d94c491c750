"""The QR decomposition of complex matrices, as a program over real arrays (docs/numerics/complex.md, 7.3)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.complexes import div, mul, parts, sub


def reflector(column: Array, below: Array, k: Array) -> tuple[Array, Array, Array]:
    """What turns a column into one number: that number, tau, and v with 1 in place k and 0 before it."""
    own = lax.dynamic_index_in_dim(column, k, column.ndim - 1, keepdims=True)
    re, im = parts(own)
    rest = jnp.where(below, column, jnp.zeros_like(column))
    greatest = jnp.max(jnp.maximum(*(abs(part) for part in parts(rest))), -1, keepdims=True)
    greatest = jnp.maximum(greatest, jnp.maximum(abs(re), abs(im)))
    scale = jnp.where(greatest > 0, greatest, 1).astype(re.dtype)
    square = [jnp.square(part / scale) for part in (*parts(rest), re, im)]
    size = jnp.sqrt(jnp.sum(square[0] + square[1], -1, keepdims=True) + (square[2] + square[3])) * scale
    beta = jnp.where(re < 0, size, -size)
    flat = (jnp.max(jnp.maximum(*(abs(part) for part in parts(rest))), -1, keepdims=True) == 0) & (im == 0)
    tau = lax.complex((beta - re) / beta, -im / beta)
    tau, beta = jnp.where(flat, jnp.zeros_like(tau), tau), jnp.where(flat, re, beta)
    divisor = sub(own, lax.complex(beta, jnp.zeros_like(beta)))
    v = div(rest, jnp.broadcast_to(jnp.where(flat, jnp.ones_like(own), divisor), rest.shape))
    place = lax.broadcasted_iota(np.int32, column.shape, column.ndim - 1) == k
    return lax.complex(beta, jnp.zeros_like(beta)), tau, jnp.where(place, jnp.ones_like(v), v)


def reflected(a: Array, tau: Array, v: Array) -> Array:
    """A less tau·v·(v* A)."""
    along, whole = jnp.broadcast_arrays(jnp.conj(v)[..., None], a)
    inner = jnp.sum(mul(along, whole), -2, keepdims=True)
    left, right = jnp.broadcast_arrays(v[..., None], mul(jnp.broadcast_to(tau[..., None], inner.shape), inner))
    return sub(a, mul(left, right))


def qr(a: Array, *, pivoting: bool, full_matrices: bool, **_: Any) -> tuple[Array, Array]:
    """By Householder's reflectors, as LAPACK has them: the diagonal of R is real.

    Raises:
        KernelError: pivoting is asked for.
    """
    if pivoting:
        raise KernelError(f"portable numerics have no qr with pivoting of {a.dtype}")
    *batch, m, n = a.shape
    count, columns = min(m, n), m if full_matrices else min(m, n)
    rows = lax.broadcasted_iota(np.int32, (*batch, m), len(batch))
    across = lax.broadcasted_iota(np.int32, (*batch, 1, n), len(batch) + 1)

    def reduce(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, vectors, taus = state
        column = lax.dynamic_index_in_dim(a, k, a.ndim - 1, keepdims=False)
        beta, tau, v = reflector(column, rows > k, k)
        v = jnp.where(rows < k, jnp.zeros_like(v), v)
        changed = reflected(a, jnp.conj(tau), v)
        a = jnp.where((across > k) & (rows[..., None] >= k), changed, a)
        finished = jnp.where(rows == k, beta, jnp.where(rows > k, jnp.zeros_like(column), column))
        a = jnp.where(across == k, finished[..., None], a)
        here = np.arange(count) == k
        return a, jnp.where(here, v[..., None], vectors), jnp.where(here, tau, taus)

    def build(step: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        q, vectors, taus = state
        k = count - 1 - step
        v = lax.dynamic_index_in_dim(vectors, k, vectors.ndim - 1, keepdims=False)
        tau = lax.dynamic_index_in_dim(taus, k, taus.ndim - 1, keepdims=True)
        return reflected(q, tau, v), vectors, taus

    q = jnp.broadcast_to(jnp.eye(m, columns, dtype=a.dtype), (*batch, m, columns))
    if count:
        state = a, jnp.zeros((*batch, m, count), a.dtype), jnp.zeros((*batch, count), a.dtype)
        a, vectors, taus = lax.fori_loop(0, count, reduce, state)
        q, _, _ = lax.fori_loop(0, count, build, (q, vectors, taus))
    return q, a[..., :columns, :]
