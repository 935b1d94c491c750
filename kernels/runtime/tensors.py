"""Named tensors as the protocol sees them, and their canonical hash (docs/protocol.md, "Tensors")."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kernels.runtime import canonical

TEXT = "string"
Array = np.ndarray[Any, np.dtype[Any]]


class Text(NamedTuple):
    """A tensor of strings; `values` are in C order."""

    shape: tuple[int, ...]
    values: tuple[str, ...]

    def nested(self) -> Any:
        """A string for rank 0, a list of strings for rank 1, lists of lists beyond."""
        if not self.shape:
            return self.values[0]
        return _nest(self.shape, self.values)


Tensor = Array | Text


def _nest(shape: tuple[int, ...], values: tuple[str, ...]) -> list[Any]:
    if len(shape) == 1:
        return list(values)
    stride = math.prod(shape[1:])
    return [_nest(shape[1:], values[index * stride : (index + 1) * stride]) for index in range(shape[0])]


def dtype_of(tensor: Tensor) -> str:
    """The protocol's name of a tensor's element type."""
    return TEXT if isinstance(tensor, Text) else tensor.dtype.name


def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy's type for a numeric element type of the protocol."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: PLC0415  # most kernels have none

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def describe(name: str, tensor: Tensor) -> dict[str, Any]:
    """What a receipt says about one tensor: `dtype`, `shape` and the hex `sha256`."""
    dtype, shape = dtype_of(tensor), list(tensor.shape)
    header = canonical.dumps({"dtype": dtype, "name": name, "shape": shape})
    state = hashlib.sha256(struct.pack("<Q", len(header)) + header)
    if isinstance(tensor, Text):
        for value in tensor.values:
            data = value.encode()
            state.update(struct.pack("<Q", len(data)) + data)
    else:
        state.update(little_endian(tensor).reshape(-1).view(np.uint8).data)
    return {"dtype": dtype, "shape": shape, "sha256": state.hexdigest()}


def describe_all(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A set of tensors: each by `describe`, and the hex `sha256` over all of these in canonical JSON."""
    found = {name: describe(name, tensors[name]) for name in sorted(tensors)}
    return {"sha256": canonical.sha256(found), "tensors": found}


def little_endian(array: Array) -> Array:
    """The same numbers, contiguous in C order and little-endian; a view where they already are."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
