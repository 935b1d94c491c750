"""What stays in XLA: operations that move values or compute on integers, which have one answer on any host.

docs/numerics/movement.md says why for each. A name that neither this module nor a family's rules have is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.flatten import Kind, Operation

Rule = Callable[[Sequence[jax.Array], Mapping[str, Any]], Sequence[jax.Array]]

NARROW: Final = frozenset({"bfloat16", "float16"})
FLOATS: Final = NARROW | {"float32", "float64"}
COMPLEX: Final = frozenset({"complex64", "complex128"})
INTEGERS: Final = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"},
)
KEYS: Final = frozenset({"key<fry>"})
"""Threefry only: the other generators are the backend's own and may change with it."""

NANS: Final = {"bfloat16": 0x7FC0, "float16": 0x7E00}
"""The one NaN of a narrow format, which picking out of bounds gives."""

MOVES: Final[Mapping[str, str]] = {
    "broadcast_in_dim": "repeats elements",
    "concatenate": "joins arrays",
    "copy": "gives its operand",
    "copy_p": "gives its operand",
    "device_put": "gives its operand",
    "dynamic_slice": "picks elements by integer indices, clamped",
    "dynamic_update_slice": "picks elements by integer indices, clamped",
    "empty": "is all zeros",
    "empty2": "is all zeros",
    "gather": "picks elements by integer indices; what is out of bounds is clamped or a constant",
    "name": "gives its operand",
    "optimization_barrier": "gives its operands",
    "pad": "picks elements or the padding value",
    "reshape": "renames indices",
    "rev": "renames indices",
    "select_n": "picks elements by predicates or integers that are already there",
    "slice": "picks elements",
    "split": "picks elements",
    "squeeze": "renames indices",
    "stack": "joins arrays",
    "stop_gradient": "gives its operand",
    "tile": "repeats elements",
    "transpose": "renames indices",
    "unstack": "picks elements",
}
"""Allowed for every type: bits come out as they went in."""

MOVING: Final = frozenset({"scatter", "sort", "top_k", "bitcast_convert_type"})
"""What other modules have rules for, but moves bits too."""

PARTS: Final[Mapping[str, str]] = {
    "complex": "puts two parts together",
    "imag": "takes a part",
    "real": "takes a part",
}
"""Moves between complex numbers and their parts."""

EXACT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("add", "add_any", "mul", "neg", "sub", "integer_pow", "mulhi"), "exact modulo 2^n"),
    **dict.fromkeys(("abs", "clamp", "max", "min", "sign", "square"), "exact"),
    **dict.fromkeys(("div", "rem", "pow"), "exact, towards zero"),
    **dict.fromkeys(("eq", "ge", "gt", "le", "lt", "ne", "eq_to", "le_to", "lt_to"), "compares integers"),
    **dict.fromkeys(("and", "not", "or", "xor", "clz", "population_count"), "works on bits"),
    **dict.fromkeys(("shift_left", "shift_right_arithmetic", "shift_right_logical"), "works on bits"),
    **dict.fromkeys(("reduce_and", "reduce_or", "reduce_xor"), "exact in any order"),
    **dict.fromkeys(("reduce_sum", "reduce_prod", "reduce_max", "reduce_min"), "exact in any order"),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), "exact in any order"),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), "exact in any order"),
    **dict.fromkeys(("scatter-add", "scatter-mul", "scatter-max", "scatter-min", "scatter-sub"), "exact in any order"),
    **dict.fromkeys(("argmax", "argmin"), "the first of equals"),
    **dict.fromkeys(("dot_general", "conv_general_dilated"), "sums of products of integers, exact in any order"),
    "convert_element_type": "exact modulo 2^n",
    "iota": "counts",
    "iota_2x32_shape": "counts",
    "lu_pivots_to_permutation": "permutes integers",
    "threefry2x32": "threefry, of integer operations alone",
}
"""Allowed if every operand and every result is an integer or a boolean."""

RANDOM: Final[Mapping[str, str]] = {
    "random_bits": "threefry, of integer operations alone",
    "random_clone": "gives its operand",
    "random_fold_in": "threefry, of integer operations alone",
    "random_seed": "cuts an integer in two",
    "random_split": "threefry, of integer operations alone",
    "random_unwrap": "gives its operand",
    "random_wrap": "gives its operand",
}
"""Allowed on threefry keys."""


def stays(name: str, types: Sequence[str]) -> bool:
    """Whether XLA keeps an operation, given the types of all its operands and results by name."""
    if name in MOVES or (name == "convert_element_type" and types[0] == types[1]):
        return True
    if name in PARTS:
        return all(one in COMPLEX | {"float32", "float64"} for one in types)
    if name in RANDOM:
        return all(one in INTEGERS | KEYS for one in types)
    return name in EXACT and all(one in INTEGERS for one in types)


def as_bits(x: jax.Array) -> jax.Array:
    """An array of a narrow format as uint16, any other as it is.

    XLA moves bfloat16 through binary32: selecting or joining made NaNs quiet, and stacking the results of a scan
    flushed subnormals to zero (jaxlib 0.10.2 on AVX-512). Integers it moves as they are.
    """
    return jax.lax.bitcast_convert_type(x, np.uint16) if str(x.dtype) in NARROW else x


def from_bits(x: jax.Array, dtype: Any) -> jax.Array:
    """The array of a type that `as_bits` was given."""
    return jax.lax.bitcast_convert_type(x, dtype) if str(dtype) in NARROW else x


def carry_out(operation: Operation, args: Sequence[jax.Array], outputs: Sequence[Kind]) -> Sequence[jax.Array]:
    """Let XLA do an operation that stays with it."""
    params = dict(operation.params)
    if operation.name == "gather" and str(args[0].dtype) in NARROW and params["fill_value"] is None:
        params["fill_value"] = NANS[str(args[0].dtype)]
    if operation.name != "bitcast_convert_type":
        args = [as_bits(x) for x in args]
    with operation.context.manager if operation.context is not None else contextlib.nullcontext():
        results = operation.primitive.bind(*args, **params)
    made = results if operation.primitive.multiple_results else [results]
    return [from_bits(x, kind.dtype) for x, kind in zip(made, outputs, strict=True)]


def _bitcast(args: Sequence[jax.Array], params: Mapping[str, Any]) -> list[jax.Array]:
    return [jax.lax.bitcast_convert_type(args[0], params["new_dtype"])]


def _iota(_: Sequence[jax.Array], params: Mapping[str, Any]) -> list[jax.Array]:
    """Counts of a floating-point type. They are made as integers; whoever rounds them is the conversion's rule."""
    dtype, shape, dimension = np.dtype(params["dtype"]), params["shape"], params["dimension"]
    exact = 2 ** (jnp.finfo(dtype).nmant + 1)  # type: ignore[no-untyped-call]
    if shape[dimension] > exact:
        raise KernelError(f"portable numerics have no iota of {dtype} beyond {exact}, where it would round")
    counts = jax.lax.broadcasted_iota(np.int32, shape, dimension)
    return [jax.lax.convert_element_type(counts, dtype)]  # exact by the check above, so XLA may do it


def _sort(args: Sequence[jax.Array], params: Mapping[str, Any]) -> list[jax.Array]:
    """By integer keys. Stable whether or not that was asked for: only then has it one answer."""
    parts = tuple(as_bits(x) for x in args)
    found = jax.lax.sort(parts, dimension=params["dimension"], is_stable=True, num_keys=params["num_keys"])
    return [from_bits(x, own.dtype) for x, own in zip(found, args, strict=True)]


RULES: Final[Mapping[str, Rule]] = {"bitcast_convert_type": _bitcast, "iota": _iota, "sort": _sort}
