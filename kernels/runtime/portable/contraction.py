"""Dot products and convolutions in the order of docs/numerics/contraction.md.

Contractions of integers are exact in any order and stay with XLA (C3).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library

Rule = Callable[[Sequence[jax.Array], Mapping[str, Any]], Sequence[jax.Array]]

FORMATS: Final = frozenset({"float32", "float64", "bfloat16", "float16"})
_EXACT_KINDS: Final = frozenset("biu")

_Algorithm = lax.DotAlgorithmPreset
_ALGORITHMS: Final = {
    _Algorithm.F32_F32_F32: ("float32", "float32"),
    _Algorithm.F64_F64_F64: ("float64", "float64"),
    _Algorithm.BF16_BF16_F32: ("bfloat16", "float32"),
    _Algorithm.F16_F16_F32: ("float16", "float32"),
}
"""Those that ask for C1's arithmetic: the operands' format and the result's (C4)."""


def dot_general(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """One fma chain per result element (C5); shapes as `jax.lax.dot_general` has them.

    Raises:
        KernelError: a format, mix of formats or algorithm that the specification does not define.
    """
    lhs, rhs = args
    shape = _result(lax.dot_general_p, args, params)
    if _exact("dot_general", args, shape):
        return [_bound(lax.dot_general_p, args, params)]
    _check_precision("dot_general", args, shape, params)
    (lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch) = params["dimension_numbers"]
    call = jax.ffi.ffi_call(library.target("dot"), shape)
    return [
        call(
            lhs,
            rhs,
            lhs_contracting=_integers(lhs_contracting),
            rhs_contracting=_integers(rhs_contracting),
            lhs_batch=_integers(lhs_batch),
            rhs_batch=_integers(rhs_batch),
        )
    ]


def conv_general_dilated(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """One fma chain per result element (C6 to C8); shapes as `jax.lax.conv_general_dilated` has them.

    Raises:
        KernelError: a format, mix of formats or algorithm that the specification does not define.
    """
    lhs, rhs = args
    shape = _result(lax.conv_general_dilated_p, args, params)
    if _exact("conv_general_dilated", args, shape):
        return [_bound(lax.conv_general_dilated_p, args, params)]
    _check_precision("conv_general_dilated", args, shape, params)
    numbers = params["dimension_numbers"]
    call = jax.ffi.ffi_call(library.target("conv"), shape)
    return [
        call(
            lhs,
            rhs,
            lhs_spec=_integers(numbers.lhs_spec),
            rhs_spec=_integers(numbers.rhs_spec),
            out_spec=_integers(numbers.out_spec),
            strides=_integers(params["window_strides"]),
            padding=_integers(end for pair in params["padding"] for end in pair),
            lhs_dilation=_integers(params["lhs_dilation"]),
            rhs_dilation=_integers(params["rhs_dilation"]),
            groups=np.int64(params["feature_group_count"]),
            batch_groups=np.int64(params["batch_group_count"]),
        )
    ]


RULES: Final[Mapping[str, Rule]] = {"dot_general": dot_general, "conv_general_dilated": conv_general_dilated}
"""By primitive: a rule from its arguments and parameters to its results."""


def _integers(values: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([int(value) for value in values], np.int64)


def _bound(primitive: Any, args: Sequence[jax.Array], params: Mapping[str, Any]) -> jax.Array:
    """The primitive itself, as JAX has it."""
    result: jax.Array = primitive.bind(*args, **params)
    return result


def _result(primitive: Any, args: Sequence[jax.Array], params: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    """Shape and format of a primitive's result, by its own rules."""
    shape: jax.ShapeDtypeStruct = jax.eval_shape(functools.partial(primitive.bind, **params), *args)
    return shape


def _exact(name: str, args: Sequence[jax.Array], result: jax.ShapeDtypeStruct) -> bool:
    """Whether a contraction is of integers alone (C3).

    Raises:
        KernelError: it is neither that nor of floating-point formats as C1 has them.
    """
    formats = [*(np.dtype(arg.dtype) for arg in args), np.dtype(result.dtype)]
    if all(item.kind in _EXACT_KINDS for item in formats):
        return True
    names = [item.name for item in formats]
    if all(item in FORMATS for item in names) and ("float64" not in names or names[2] == "float64"):
        return False
    listed = ", ".join(names)
    raise KernelError(f"{name} of {listed} is not defined by the numeric specification (contractions, C1 and C3)")


def _check_precision(
    name: str, args: Sequence[jax.Array], result: jax.ShapeDtypeStruct, params: Mapping[str, Any]
) -> None:
    """Let pass what asks for the specification's arithmetic (C4).

    Raises:
        KernelError: it asks for another.
    """
    precision = params["precision"]
    listed = precision if isinstance(precision, tuple) else (precision,)
    if all(item is None or isinstance(item, lax.Precision) or item is _Algorithm.DEFAULT for item in listed):
        return
    formats = (*{np.dtype(arg.dtype).name for arg in args}, np.dtype(result.dtype).name)
    if precision not in _ALGORITHMS or _ALGORITHMS[precision] != formats:
        raise KernelError(
            f"{name} with the algorithm {precision} is not defined by the numeric specification (contractions, C4)",
            hint="leave the precision out: every one gives binary32 or binary64 arithmetic",
        )
