"""The numbers by which programs for the fused machine name operations and formats; native/fused.h has the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jax import lax
from jax.numpy import bfloat16

from kernels.runtime.errors import KernelError

FLOAT32: Final = 0
FLOAT64: Final = 1
BFLOAT16: Final = 2
FLOAT16: Final = 3
BOOL: Final = 4

TYPES: Final[Mapping[np.dtype[Any], int]] = {
    np.dtype(name): number
    for number, name in enumerate(
        (
            np.float32,
            np.float64,
            bfloat16,
            np.float16,
            np.bool_,
            np.int8,
            np.uint8,
            np.int16,
            np.uint16,
            np.int32,
            np.uint32,
            np.int64,
            np.uint64,
        )
    )
}
NARROW: Final = frozenset({BFLOAT16, FLOAT16})
FLOATS: Final = frozenset({FLOAT32, FLOAT64, BFLOAT16, FLOAT16})

LOAD: Final = 1
FILL: Final = 2
CANONICAL: Final = 3
MOVE: Final = 4
ROUND: Final = 5
CONVERT: Final = 6

REDUCTIONS: Final[Mapping[str, int]] = {"reduce_sum": 7, "reduce_max": 8, "reduce_min": 9}


PAIR: Final = 10
"""Two operations in one instruction of a schedule; see native/fused_pairs.cc."""
PAIRABLE: Final[Mapping[str, int]] = {"add": 0, "sub": 1, "mul": 2}
FROM: Final = 3
"""The second operation of a pair, where it takes the first's result away from its own operand."""


def _numbered(first: int, names: str) -> dict[str, int]:
    return {name: first + place for place, name in enumerate(names.split())}


BINARY: Final[Mapping[str, int]] = _numbered(20, "add sub mul div max min rem nextafter pow atan2")
COMPARISONS: Final[Mapping[str, int]] = _numbered(40, "eq ne lt le gt ge")
LOGIC: Final[Mapping[str, int]] = _numbered(46, "and or xor")
SELECTIONS: Final[Mapping[str, int]] = _numbered(60, "select_n clamp")
PLAIN: Final[Mapping[str, int]] = _numbered(80, "neg abs sign floor ceil")
ROUNDINGS: Final[Mapping[lax.RoundingMethod, int]] = {
    lax.RoundingMethod.AWAY_FROM_ZERO: 85,
    lax.RoundingMethod.TO_NEAREST_EVEN: 86,
}
IS_FINITE: Final = 87
ROOTS: Final[Mapping[str, int]] = {"sqrt": 88, "square": 89}
INTEGER_POW: Final = 90
REDUCE_PRECISION: Final = 91
NOT: Final = 92
FUNCTIONS: Final[Mapping[str, int]] = _numbered(
    110,
    "rsqrt cbrt exp exp2 expm1 log log1p tanh logistic sin cos tan asin acos atan sinh cosh asinh acosh atanh "
    "erf erfc erf_inv lgamma digamma bessel_i0e bessel_i1e",
)
ITERATED: Final[Mapping[str, int]] = _numbered(
    150, "igamma igammac igamma_grad_a zeta polygamma regularized_incomplete_beta"
)
"""Functions of two or three numbers that take as many steps as they need."""


def type_of(dtype: np.dtype[Any]) -> int:
    """The number of a format.

    Raises:
        KernelError: the specification has no such format.
    """
    found = TYPES.get(np.dtype(dtype))
    if found is None:
        raise KernelError(f"portable elementwise operations do not take {np.dtype(dtype).name}")
    return found


def code(op: str, params: Mapping[str, Any]) -> tuple[int, int]:
    """The number of an operation, and its parameter's word.

    Args:
        op: a JAX primitive's name.
        params: the primitive's parameters.

    Raises:
        KernelError: the specification has no such operation, or not with these parameters.
    """
    for table in (BINARY, COMPARISONS, LOGIC, SELECTIONS, PLAIN, ROOTS, FUNCTIONS, ITERATED, REDUCTIONS, _ALONE):
        if op in table:
            return table[op], _parameter(op, params)
    if op == "round":
        return ROUNDINGS[params["rounding_method"]], 0
    raise KernelError(f"portable elementwise operations do not include {op!r}")


_ALONE: Final[Mapping[str, int]] = {
    "is_finite": IS_FINITE,
    "integer_pow": INTEGER_POW,
    "reduce_precision": REDUCE_PRECISION,
    "not": NOT,
    "convert_element_type": CONVERT,
}


def _parameter(op: str, params: Mapping[str, Any]) -> int:
    match op:
        case "integer_pow":
            return int(params["y"])
        case "reduce_precision":
            return int(params["exponent_bits"]) << 8 | int(params["mantissa_bits"])
        case "convert_element_type":
            return type_of(params["new_dtype"])
        case _:
            return 0
