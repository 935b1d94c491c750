"""Holding named tensors to what the spec declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kernels.runtime.declared import Table
from kernels.runtime.tensors import Tensor, dtype_of


def mismatches(tensors: Mapping[str, Tensor], tables: Mapping[str, Table], bound: dict[str, int]) -> list[str]:
    """One sentence per way in which tensors are not what was declared.

    Args:
        tensors: what is there.
        tables: what was declared.
        bound: lengths of named dimensions so far; those met here are added.
    """
    found = [f"{name!r} ({table}) is missing" for name, table in tables.items() if name not in tensors]
    found += [f"{name!r} is not declared{did_you_mean(name, tables)}" for name in sorted(tensors) if name not in tables]
    for name, table in tables.items():
        if name in tensors:
            found += _of_one(name, tensors[name], table, bound)
    return found


def _of_one(name: str, tensor: Tensor, table: Table, bound: dict[str, int]) -> list[str]:
    found = []
    if dtype_of(tensor) != table.dtype:
        found.append(f"{name!r} is {dtype_of(tensor)}, not {table.dtype}")
    if len(tensor.shape) != len(table.shape):
        return [*found, f"{name!r} has shape {list(tensor.shape)}, which is not of the form {table}"]
    for axis, (length, wanted) in enumerate(zip(tensor.shape, table.shape, strict=True)):
        if isinstance(wanted, int):
            if length != wanted:
                found.append(f"{name!r} has length {length} along axis {axis}, not {wanted}")
        elif bound.setdefault(wanted, length) != length:
            found.append(f"{name!r} has length {length} along axis {axis}, but {wanted!r} is {bound[wanted]} elsewhere")
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A half sentence naming the closest known name, or nothing."""
    import difflib  # noqa: PLC0415  # only for those who mistype

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
