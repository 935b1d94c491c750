"""Random bits by named generators (docs/numerics/movement.md, 6.3), of 32-bit integer operations alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.random import threefry2x32_p

from kernels.runtime.errors import KernelError

WIDE: Final = 64
BITS: Final = {"uint8": 32, "uint16": 32, "uint32": 32, "uint64": WIDE}
"""How many random bits an element takes, by type; narrow ones keep the last of theirs."""

FACTORS: Final = (np.uint32(0xD2511F53), np.uint32(0xCD9E8D57))
STEPS: Final = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
ROUNDS: Final = 10


def rng_bit_generator(key: Array, *, shape: Sequence[int], dtype: Any, algorithm: Any, **_: Any) -> tuple[Array, Array]:
    """The state after, and bits of a shape.

    Raises:
        KernelError: the platform is to choose the generator, or the type is not unsigned.
    """
    dtype = np.dtype(dtype)
    if algorithm.name not in GENERATORS or dtype.name not in BITS:
        raise KernelError(
            f"portable numerics have no rng_bit_generator of {dtype} by {algorithm.name}",
            hint="name the generator, RNG_THREE_FRY or RNG_PHILOX, or use jax.random with threefry keys",
        )
    words = key if key.dtype == np.uint32 else jnp.reshape(lax.bitcast_convert_type(key, np.uint32), 4)
    used, bits = GENERATORS[algorithm.name](words, tuple(shape), BITS[dtype.name])
    low, high = _counted(words, np.uint32(used))
    after = jnp.stack([words[0], words[1], low, high])
    if key.dtype != np.uint32:
        after = lax.bitcast_convert_type(jnp.reshape(after, (2, 2)), key.dtype)
    return after, bits.astype(dtype)


def _counted(words: Array, steps: Any) -> tuple[Array, Array]:
    """The state's counter some steps on: its low and its high word."""
    low = words[2] + steps
    return low, words[3] + (low < words[2]).astype(np.uint32)


def _together(low: Array, high: Array) -> Array:
    return lax.bitcast_convert_type(jnp.stack([low, high], -1), np.uint64)


def _threefry(words: Array, shape: tuple[int, ...], width: int) -> tuple[int, Array]:
    size = math.prod(shape)
    if width == WIDE:
        return size, jnp.reshape(_together(*_threefry_pairs(words, size)), shape)
    if not size:
        return 0, jnp.zeros(shape, np.uint32)
    axis = next((i for i, n in enumerate(shape) if n % 2 == 0), int(np.argmax(shape)) if shape else 0)
    across = shape or (1,)
    half = (*across[:axis], (across[axis] + 1) // 2, *across[axis + 1 :])
    pair = jnp.stack([jnp.reshape(one, half) for one in _threefry_pairs(words, math.prod(half))], axis + 1)
    whole = jnp.reshape(pair, (*across[:axis], 2 * half[axis], *across[axis + 1 :]))
    return math.prod(half), jnp.reshape(lax.slice_in_dim(whole, 0, across[axis], axis=axis), shape)


def _threefry_pairs(words: Array, count: int) -> list[Array]:
    low, high = _counted(words, jnp.arange(count, dtype=np.uint32))
    first, second = (jnp.broadcast_to(words[i], (count,)) for i in (0, 1))
    return list(threefry2x32_p.bind(first, second, low, high))


def _philox(words: Array, shape: tuple[int, ...], width: int) -> tuple[int, Array]:
    size = math.prod(shape)
    blocks = -(-size * width // 128)
    low, high = _counted(words, jnp.arange(blocks, dtype=np.uint32))
    over = ((high == 0) & (words[3] != 0)).astype(np.uint32)  # the counter has 128 bits: the key is its other half
    third = words[0] + over
    block = [low, high, third, words[1] + (third < over).astype(np.uint32)]
    keys = [words[0], words[1]]
    for _ in range(ROUNDS):
        (left, left_high), (right, right_high) = (
            (factor * word, lax.mulhi(jnp.full_like(word, factor), word))
            for factor, word in zip(FACTORS, block[::2], strict=True)
        )
        block = [right_high ^ block[1] ^ keys[0], right, left_high ^ block[3] ^ keys[1], left]
        keys = [one + step for one, step in zip(keys, STEPS, strict=True)]
    drawn = [_together(*block[:2]), _together(*block[2:])] if width == WIDE else block
    return blocks, jnp.reshape(jnp.ravel(jnp.stack(drawn, -1))[:size], shape)


GENERATORS: Final = {"RNG_THREE_FRY": _threefry, "RNG_PHILOX": _philox}
