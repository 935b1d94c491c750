"""Values of a traced program: their canonical hash, what is said about them, and the file that they are kept in."""

from __future__ import annotations

from typing import Any, Final

import jax
import numpy as np

from kernels.runtime.tensors import Array, describe, little_endian

STORED: Final = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"bfloat16", "float16", "float32", "float64", "complex64"}
)
"""Types that trace.safetensors holds as such; of any other it holds the bytes."""


def host_array(value: Any) -> Array:
    """A value's elements, without a copy where JAX allows it; of random keys, their words."""
    if is_key(value):
        value = jax.random.key_data(value)
    return np.asarray(value)


def is_key(value: Any) -> bool:
    """Whether a value is made of JAX's random keys."""
    return jax.dtypes.issubdtype(getattr(value, "dtype", np.dtype(np.int8)), jax.dtypes.prng_key)


def hashed(value: Any) -> str:
    """The canonical hash (docs/protocol.md, section 4) of a value under the empty name."""
    found: str = describe("", host_array(value))["sha256"]
    return found


def stored(value: Any) -> Array:
    """A value as trace.safetensors holds it: types that the format lacks as bytes, in a dimension of their own."""
    array = little_endian(host_array(value))
    if array.dtype.name in STORED:
        return array
    return array.reshape(-1).view(np.uint8).reshape(*array.shape, array.dtype.itemsize)


def picked(value: Any, index: int) -> Any:
    """One slice along the first axis."""
    return value[index] if is_key(value) else host_array(value)[index]


def stacked(values: list[Any]) -> Any:
    """Slices put together along a new first axis."""
    return jax.numpy.stack(values) if is_key(values[0]) else np.stack([host_array(value) for value in values])


def where(chosen: Array, one: Any, other: Any) -> Any:
    """The elements of one value where an array over its first axes is true, else those of another."""
    mask = chosen.reshape(chosen.shape + (1,) * (len(one.shape) - chosen.ndim))
    return jax.numpy.where(mask, one, other) if is_key(one) else np.where(mask, host_array(one), host_array(other))
