"""Tensors out of JSON: strict parsing, and numbers that become exactly what was declared or are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from kernels.runtime.declared import Table
from kernels.runtime.errors import InputError
from kernels.runtime.shapes import did_you_mean
from kernels.runtime.tensors import TEXT, Array, Tensor, Text, numpy_dtype


class JsonError(Exception):
    """The bytes are not JSON by RFC 8259, or leave room for two readings."""


def strict_json(data: bytes) -> Any:
    """Parse UTF-8 JSON; NaN, repeated keys, lone surrogates and endless nesting are refused.

    Raises:
        JsonError: see above.
    """
    try:
        document = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error) or type(error).__name__) from error
    return document


def from_json(name: str, value: Any, tables: Mapping[str, Table]) -> Tensor:
    """A declared tensor out of a parsed JSON value.

    Raises:
        InputError: the name is not declared, the nesting is not rectangular, or an element does not fit the type.
    """
    if name not in tables:
        known = ", ".join(tables)
        raise InputError(f"{name!r} is not declared{did_you_mean(name, tables)}", hint=f"this kernel takes {known}")
    table = tables[name]
    shape = _shape(name, value, table)
    leaves: list[Any] = []
    _flatten(name, value, shape, leaves)
    if table.dtype == TEXT:
        return Text(shape, tuple(_string(name, leaf) for leaf in leaves))
    if table.dtype == "bool":
        if not all(isinstance(leaf, bool) for leaf in leaves):
            raise InputError(f"{name!r} is bool: write true or false")
        return np.array(leaves, np.bool_).reshape(shape)
    if table.dtype.startswith("complex"):
        raise InputError(f"{name!r} is {table.dtype}, which JSON can't hold", hint="give it as .npz or .safetensors")
    for leaf in leaves:
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            raise InputError(f"{name!r} is {table.dtype}, but {_shown(leaf)} is no number")
    if table.dtype.startswith(("int", "uint")):
        return _integers(name, leaves, table.dtype).reshape(shape)
    return _floats(name, leaves, table.dtype).reshape(shape)


def _integers(name: str, leaves: list[int | float], dtype: str) -> Array:
    limits = np.iinfo(dtype)
    for leaf in leaves:
        if leaf != leaf // 1 or not int(limits.min) <= leaf <= int(limits.max):
            raise InputError(f"{name!r} is {dtype}, but {_shown(leaf)} is not one")
    return np.array([int(leaf) for leaf in leaves], dtype)


def _floats(name: str, leaves: list[int | float], dtype: str) -> Array:
    # One rounding rule, stated in docs/protocol.md: decimal to binary64, then to the declared type; bfloat16 by way
    # of binary32. Integers must arrive unchanged.
    try:
        wide = np.array([float(leaf) for leaf in leaves], np.float64)
    except OverflowError as error:
        raise InputError(f"{name!r} is {dtype}, but a number is out of its range") from error
    with np.errstate(over="ignore", under="ignore"):
        narrow = (wide.astype(np.float32) if dtype == "bfloat16" else wide).astype(numpy_dtype(dtype))
        back = narrow.astype(np.float64)
    for leaf, value in zip(leaves, back.tolist(), strict=True):
        if math.isinf(value):
            raise InputError(f"{name!r} is {dtype}, but {_shown(leaf)} is out of its range")
        if isinstance(leaf, int) and leaf != value:
            raise InputError(
                f"{name!r} is {dtype}, which can't hold {_shown(leaf)} exactly",
                hint=f"write {_shown(leaf)}.0 to have it rounded",
            )
    return narrow


def _shape(name: str, value: Any, table: Table) -> tuple[int, ...]:
    found = []
    while isinstance(value, list):
        found.append(len(value))
        if len(found) > len(table.shape):
            raise InputError(f"{name!r} is nested too deeply to be {table}")
        if not value:
            # An empty list says nothing of the dimensions inside it: take the declared ones, 0 for those with a name.
            found += [length if isinstance(length, int) else 0 for length in table.shape[len(found) :]]
            break
        value = value[0]
    if len(found) != len(table.shape):
        raise InputError(
            f"{name!r} has {len(found)} dimensions, not those of {table}", hint=_missing_list(table, found)
        )
    return tuple(found)


def _missing_list(table: Table, found: list[int]) -> str | None:
    return "put the value into a list" if len(found) + 1 == len(table.shape) else None


def _flatten(name: str, value: Any, shape: tuple[int, ...], leaves: list[Any]) -> None:
    if not shape:
        leaves.append(value)
        return
    if not isinstance(value, list) or (len(value) != shape[0]):
        raise InputError(f"{name!r} is not rectangular: its lists have different lengths or depths")
    if len(shape) == 1:
        leaves.extend(value)
        return
    for item in value:
        _flatten(name, item, shape[1:], leaves)


def _string(name: str, leaf: Any) -> str:
    if not isinstance(leaf, str):
        raise InputError(f"{name!r} is string, but {_shown(leaf)} is none")
    try:
        leaf.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name!r} holds half of a surrogate pair, which is no Unicode text") from error
    return leaf


def _shown(leaf: Any) -> str:
    text = json.dumps(leaf)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004  # enough to find it again


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JsonError(f"{key!r} occurs twice")
        found[key] = value
    return found


def _constant(text: str) -> NoReturn:
    raise JsonError(f"{text} is no JSON number")
