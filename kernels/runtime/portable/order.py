"""Order by section 4 of the specification (docs/numerics/reduction.md, R8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import jax
import numpy as np

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library
from kernels.runtime.portable.reduction import FLOATS, Arguments, Parameters, Rule, like

KEYS: Final = FLOATS | {"bool", *(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))}


def _key(primitive: str, x: jax.Array) -> None:
    if x.dtype.name not in KEYS:
        raise KernelError(f"the numeric specification has no {primitive} by {x.dtype.name}")


def _sort(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    for key in args[: params["num_keys"]]:
        _key("sort", key)
    call = jax.ffi.ffi_call(library.target("sort"), [like(x.shape, x.dtype) for x in args])
    results: Sequence[jax.Array] = call(*args, axis=np.int64(params["dimension"]), keys=np.int64(params["num_keys"]))
    return list(results)


def _top_k(args: Arguments, params: Parameters) -> Sequence[jax.Array]:
    (x,) = args
    _key("top_k", x)
    axis = params["axis"] % x.ndim
    shape = [params["k"] if i == axis else size for i, size in enumerate(x.shape)]
    call = jax.ffi.ffi_call(library.target("top_k"), [like(shape, x.dtype), like(shape, np.int32)])
    results: Sequence[jax.Array] = call(x, axis=np.int64(axis))
    return list(results)


RULES: Final[Mapping[str, Rule]] = MappingProxyType({"sort": _sort, "top_k": _top_k})
