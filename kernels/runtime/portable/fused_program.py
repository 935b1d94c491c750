"""A fused program: its values, what they are values of, and whether a value is one per element or one per row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import fused_codes as codes


@dataclass(frozen=True)
class Operand:
    """An array that a program reads.

    Args:
        array: any shape whose axes are 1 or the program's.
        dims: as `lax.broadcast_in_dim`: axis i of the array is axis `dims[i]` of the program.
    """

    array: jax.Array
    dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One operation of a program.

    Args:
        op: a JAX primitive's name.
        args: numbers of values: the operands come first, then one value for each step.
        dtype: the result's.
        params: the primitive's.
    """

    op: str
    args: tuple[int, ...]
    dtype: np.dtype[Any]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """What an operand or a step gives.

    Args:
        type: the format's number.
        row: it depends on nothing that varies within a row, so there is one for each row.
        reduced: it depends on a reduction over rows, so its shape is that of the rows.
    """

    type: int
    row: bool
    reduced: bool


@dataclass(frozen=True)
class Program:
    """A checked program.

    Args:
        shape: of every value that is not reduced.
        rows: how many leading axes count rows; all of them where nothing is reduced.
        types: the operands' formats.
        strides: for each operand, in elements along each axis; 0 where it is broadcast.
        steps: the operations.
        values: operands first, then one for each step.
        results: which values are asked for.
    """

    shape: tuple[int, ...]
    rows: int
    types: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    values: tuple[Value, ...]
    results: tuple[int, ...]

    def result_shape(self, value: int) -> tuple[int, ...]:
        """The shape of a result."""
        return self.shape[: self.rows] if self.values[value].reduced else self.shape


def strides(shape: Sequence[int], dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """How far apart the neighbours along each axis of a program lie in a dense operand; 0 where it stretches."""
    out = [0] * ndim
    step = 1
    for size, axis in zip(reversed(shape), reversed(dims), strict=True):
        out[axis] = step if size != 1 else 0
        step *= size
    return tuple(out)


def check(shape: Sequence[int], operands: Sequence[Operand], steps: Sequence[Step], results: Sequence[int]) -> Program:
    """Number the values of a program and see that it is one.

    Raises:
        KernelError: an operand does not fit the shape, or the specification lacks an operation or a format.
    """
    shape = tuple(shape)
    for each in operands:
        fits = len(each.dims) == each.array.ndim and all(
            size in {1, shape[axis]} for size, axis in zip(each.array.shape, each.dims, strict=True)
        )
        if not fits:
            raise KernelError(f"an operand of shape {each.array.shape} does not broadcast to {shape}")
    reduced = {tuple(step.params["axes"]) for step in steps if step.op in codes.REDUCTIONS}
    rows = len(shape) - len(next(iter(reduced), ()))
    if len(reduced) > 1 or (reduced and reduced != {tuple(range(rows, len(shape)))}):
        raise KernelError("a fused program reduces over one set of trailing axes")
    steps_of = tuple(strides(each.array.shape, each.dims, len(shape)) for each in operands)
    values = [
        Value(codes.type_of(each.array.dtype), row=bool(reduced) and not _within_row(each, shape, rows), reduced=False)
        for each in operands
    ]
    for step in steps:
        args = [values[number] for number in step.args]
        codes.code(step.op, step.params)
        reduces = step.op in codes.REDUCTIONS
        row = reduces or (bool(reduced) and all(each.row for each in args))
        values.append(
            Value(codes.type_of(step.dtype), row=row, reduced=row and (reduces or any(each.reduced for each in args)))
        )
    return Program(
        shape=shape,
        rows=rows,
        types=tuple(value.type for value in values[: len(operands)]),
        strides=steps_of,
        steps=tuple(steps),
        values=tuple(values),
        results=tuple(results),
    )


def _within_row(operand: Operand, shape: Sequence[int], rows: int) -> bool:
    """Whether an operand has an axis of the rows' own, unless all of them stretch."""
    own = [(size, axis) for size, axis in zip(operand.array.shape, operand.dims, strict=True) if axis >= rows]
    return any(size != 1 or shape[axis] == 1 for size, axis in own)


def words(program: Program) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The program as the referee reads it: no blocks, no registers.

    Axes, how many of them count rows, their sizes; operands: format and strides; steps: operation, format of its
    operands, own format, parameter, arguments; results: value.
    """
    out = [len(program.shape), program.rows, *program.shape, len(program.types)]
    for kind, by_axis in zip(program.types, program.strides, strict=True):
        out += [kind, *by_axis]
    out.append(len(program.steps))
    for place, step in enumerate(program.steps):
        number, parameter = codes.code(step.op, step.params)
        value = program.values[len(program.types) + place]
        operand = program.values[step.args[-1]].type
        out += [number, operand, value.type, parameter, int(value.row), int(value.reduced), len(step.args), *step.args]
    out += [len(program.results), *program.results]
    return np.array(out, np.int64)


def count(sizes: Sequence[int]) -> int:
    """How many elements."""
    return math.prod(sizes)
