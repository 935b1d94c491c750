"""Elementwise programs and reductions of their rows, as one native operation (docs/numerics/elementwise.md).

A chain of elementwise operations reads its operands once and writes its results once. Operands are broadcast as they
are read. One set of trailing axes may be reduced on the way, and what comes of it used in every element again: softmax
and layer norms are one operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from kernels.runtime.portable import fused_codes as codes
from kernels.runtime.portable import fused_in_place, fused_layout, fused_program, library
from kernels.runtime.portable.fused_program import Operand, Step

__all__ = ["ELEMENTWISE", "LONGEST_ROW", "Operand", "Step", "call", "takes"]

LONGEST_ROW: Final = 65536
"""Elements of a row above which a reduction is better done on its own: a tile holds a whole row."""

ELEMENTWISE: Final = frozenset(
    {
        *codes.BINARY,
        *codes.COMPARISONS,
        *codes.LOGIC,
        *codes.SELECTIONS,
        *codes.PLAIN,
        *codes.ROOTS,
        *codes.FUNCTIONS,
        *codes.ITERATED,
        "round",
        "is_finite",
        "integer_pow",
        "reduce_precision",
        "not",
        "convert_element_type",
    }
)
"""The primitives that a program is made of, besides `reduce_sum`, `reduce_max` and `reduce_min` over its rows."""


def takes(op: str, in_dtypes: Sequence[np.dtype[Any]], out_dtype: np.dtype[Any]) -> bool:
    """Whether a step of a program can be this operation on these formats."""
    kinds = [codes.TYPES.get(np.dtype(dtype)) for dtype in in_dtypes]
    own = codes.TYPES.get(np.dtype(out_dtype))
    if (op not in ELEMENTWISE and op not in codes.REDUCTIONS) or own is None or None in kinds:
        return False
    match op:
        case "convert_element_type":
            fits = own in codes.FLOATS or kinds[0] in codes.FLOATS
        case "and" | "or" | "xor" | "not":
            fits = {own, *kinds} == {codes.BOOL}
        case "select_n":
            fits = len(kinds) == 3 and kinds[0] == codes.BOOL and own in codes.FLOATS | {codes.BOOL}  # noqa: PLR2004
        case "nextafter":
            fits = {own, *kinds} <= codes.FLOATS - codes.NARROW
        case _:
            fits = all(kind in codes.FLOATS for kind in kinds)
    return fits


def call(
    shape: Sequence[int],
    operands: Sequence[Operand],
    steps: Sequence[Step],
    results: Sequence[int],
    spent: Mapping[int, jax.Array] | None = None,
) -> list[jax.Array]:
    """Run a program.

    Args:
        shape: the program's.
        operands: what it reads.
        steps: its operations, in order.
        results: the values asked for. One that depends on a reduction and on nothing that varies within a row has the
            rows' shape, every other one `shape`.
        spent: operands that nothing reads afterwards and a result's memory may be, each as the array with all its axes
            of size one, which that result then has: for a reshape in between, XLA would copy it. (As it does where it
            is read all the same.)

    Raises:
        KernelError: the specification does not define such a program.
    """
    operands = [Operand(jnp.asarray(each.array), tuple(each.dims)) for each in operands]  # a Python number, or x64 off
    program = fused_program.check(shape, operands, steps, results)
    kinds = {number: dtype for dtype, number in codes.TYPES.items()}
    spent = spent or {}
    aliases = fused_in_place.aliases(program, spent)
    taken = {place: spent[number].shape for number, place in aliases.items()}
    shapes = [
        jax.ShapeDtypeStruct(taken.get(place, program.result_shape(value)), kinds[program.values[value].type])  # type: ignore[no-untyped-call]
        for place, value in enumerate(results)
    ]
    invoke = jax.ffi.ffi_call(library.target("fused"), shapes, input_output_aliases=aliases)
    return list(
        invoke(
            *(spent[number] if number in aliases else each.array for number, each in enumerate(operands)),
            program=fused_program.words(program),
            schedule=fused_layout.words(program),
        )
    )
