"""Factorisations and solves, by section 5 of docs/numerics/linalg.md.

`RULES` maps each primitive's name to what computes it: `rule(args, params) -> results`, with the equation's own
parameters. Operands are float32 or float64, any number of leading batch dimensions, any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax
import numpy as np
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library

Rule = Callable[[Sequence[jax.Array], Mapping[str, Any]], Sequence[jax.Array]]
Shape = tuple[int, ...]


def cholesky(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """The lower factor of [..., n, n], +0 above; NaN throughout where there is none (5.1)."""
    del params
    (a,) = _real("cholesky", args)
    return [_call("cholesky", [a.shape], a.dtype)(a)[0]]


def triangular_solve(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """X of op(A)·X = B or X·op(A) = B for A [..., n, n] and B [..., m, k] (5.2)."""
    a, b = _real("triangular_solve", args)
    flags = {name: bool(params[name]) for name in ("left_side", "lower", "transpose_a", "unit_diagonal")}
    return [_call("triangular_solve", [b.shape], b.dtype)(a, b, **flags)[0]]


def lu(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """Both factors of [..., m, n] in one matrix, pivots [..., min(m, n)] and permutation [..., m], int32 (5.3)."""
    del params
    (a,) = _real("lu", args)
    *batch, m, n = a.shape
    factors, pivots = _call("lu", [a.shape, (*batch, min(m, n))], a.dtype, np.dtype(np.int32))(a)
    return [factors, pivots, lax.linalg.lu_pivots_to_permutation(pivots, m)]


def lu_pivots_to_permutation(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """Integers only, which XLA computes exactly (G6)."""
    return [lax.linalg.lu_pivots_to_permutation(args[0], params["permutation_size"])]


def geqrf(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """R and the reflectors of [..., m, n] in one matrix, and taus [..., min(m, n)] (5.4)."""
    del params
    (a,) = _real("geqrf", args)
    *batch, m, n = a.shape
    return _call("geqrf", [a.shape, (*batch, min(m, n))], a.dtype)(a)


def householder_product(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """The product [..., m, n] of the reflectors in [..., m, n] and taus [..., k] (5.4)."""
    del params
    a, taus = _real("householder_product", args)
    return [_call("householder_product", [a.shape], a.dtype)(a, taus)[0]]


def qr(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """Q and R of [..., m, n], reduced or full (5.4)."""
    if params["pivoting"]:
        raise _undefined("qr", "pivoting")
    (a,) = _real("qr", args)
    *batch, m, n = a.shape
    columns = m if params["full_matrices"] else min(m, n)
    factors, taus = geqrf([a], {})
    if n > columns:
        reflectors = factors[..., :columns]
    else:
        reflectors = lax.pad(
            factors, jax.numpy.zeros((), a.dtype), [(0, 0, 0)] * (len(batch) + 1) + [(0, columns - n, 0)]
        )
    (q,) = householder_product([reflectors, taus], {})
    r = factors[..., :columns, :]
    upper = lax.broadcasted_iota(np.int32, r.shape, r.ndim - 1) >= lax.broadcasted_iota(np.int32, r.shape, r.ndim - 2)
    return [q, lax.select(upper, r, jax.numpy.zeros_like(r))]


def eigh(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """Eigenvectors [..., n, n], as columns, and ascending eigenvalues [..., n] (5.6)."""
    (a,) = _real("eigh", args)
    _whole("eigh", params, a.shape[-1])
    _algorithm("eigh", params, {"QR"})
    return _call("eigh", [a.shape, a.shape[:-1]], a.dtype)(a, lower=bool(params["lower"]))


def svd(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """Descending singular values [..., k] of [..., m, n], and U and Vᵀ if asked for (5.7)."""
    (a,) = _real("svd", args)
    *batch, m, n = a.shape
    _whole("svd", params, min(m, n))
    _algorithm("svd", params, {"DEFAULT", "QR", "DIVIDE_AND_CONQUER"})
    full = bool(params["full_matrices"])
    shapes: list[Shape] = [(*batch, min(m, n))]
    if params["compute_uv"]:
        shapes += [(*batch, m, m if full else min(m, n)), (*batch, n if full else min(m, n), n)]
    return _call("svd", shapes, a.dtype)(a, full_matrices=full)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "cholesky": cholesky,
        "eigh": eigh,
        "geqrf": geqrf,
        "householder_product": householder_product,
        "lu": lu,
        "lu_pivots_to_permutation": lu_pivots_to_permutation,
        "qr": qr,
        "svd": svd,
        "triangular_solve": triangular_solve,
    }
)


def _call(symbol: str, shapes: Sequence[Shape], *dtypes: np.dtype[Any]) -> Callable[..., Sequence[jax.Array]]:
    """The native operation with results of these shapes; the last dtype is that of all further ones."""
    kinds = [*dtypes, *[dtypes[-1]] * (len(shapes) - len(dtypes))]
    outputs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in zip(shapes, kinds, strict=True)]  # type: ignore[no-untyped-call]
    return jax.ffi.ffi_call(library.target(symbol), outputs, vmap_method="broadcast_all")


def _real(name: str, args: Sequence[jax.Array]) -> Sequence[jax.Array]:
    for arg in args:
        if arg.dtype not in (np.float32, np.float64):
            raise KernelError(
                f"portable numerics have no {name} of {arg.dtype}", hint="use float32 or float64 for linear algebra"
            )
    return args


def _whole(name: str, params: Mapping[str, Any], count: int) -> None:
    if params["subset_by_index"] not in (None, (0, count)):
        raise _undefined(name, "subset_by_index")


def _algorithm(name: str, params: Mapping[str, Any], known: set[str]) -> None:
    if params["algorithm"] is not None and params["algorithm"].name not in known:
        raise _undefined(name, f"the algorithm {params['algorithm'].name}")


def _undefined(name: str, what: str) -> KernelError:
    return KernelError(f"portable numerics have no {name} with {what}", hint="leave that parameter at its default")
