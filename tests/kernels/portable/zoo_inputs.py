"""Arrays made from integers: the same on every host, since nothing here rounds."""

import ml_dtypes
import numpy as np

UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}

SPECIAL = {
    "float32": (
        "00000000 80000000 00000001 80000001 007fffff 807fffff 00800000 80800000 7f7fffff ff7fffff 7f800000 ff800000 "
        "7fc00000 7f800001 ffc12345 3f800000 bf800000 3f7fffff 34000000 4b000001 cb800000 40490fdb 42b17218 c2cff1b5"
    ),
    "float64": (
        "0000000000000000 8000000000000000 0000000000000001 8000000000000001 000fffffffffffff 0010000000000000 "
        "7fefffffffffffff ffefffffffffffff 7ff0000000000000 fff0000000000000 7ff8000000000000 7ff0000000000001 "
        "fff8000000012345 3ff0000000000000 bff0000000000000 3fefffffffffffff 3cb0000000000000 4340000000000001 "
        "400921fb54442d18 40862e42fefa39ef c0874910d52d3051"
    ),
    "float16": "0000 8000 0001 8001 03ff 0400 7bff fbff 7c00 fc00 7e00 7c01 fe55 3c00 bc00 3bff 6401 4248 4c80",
    "bfloat16": "0000 8000 0001 8001 007f 0080 7f7f ff7f 7f80 ff80 7fc0 7f81 ffd5 3f80 bf80 3f7f 4b01 4049 42b1",
}
"""Bits of ±0, subnormals, the least normal, the greatest finite, infinities, NaNs, ±1 and neighbours, round numbers."""


def mixed(count, seed):
    """The first `count` of a sequence of 64-bit integers: SplitMix64."""
    begin = np.uint64(seed * 0x632BE59BD9B4E019 % 2**64)
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + begin
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def integers(shape, below, seed=0, dtype=np.int32):
    """Integers from 0 up to `below`."""
    return (mixed(int(np.prod(shape)), seed) % np.uint64(below)).astype(dtype).reshape(shape)


def floats(shape, dtype=np.float32, seed=0, scale=1):
    """Floats from -scale up to scale, on a grid that every type holds exactly; `scale` is a power of two."""
    dtype = np.dtype(dtype)
    bits = {"float32": 24, "float64": 53, "float16": 11, "bfloat16": 8}[dtype.name]
    whole = (mixed(int(np.prod(shape)), seed) >> np.uint64(64 - bits)).astype(np.float64)
    return ((whole / 2.0 ** (bits - 1) - 1) * scale).astype(dtype).reshape(shape)


def positive(shape, dtype=np.float32, seed=0, scale=1):
    """As `floats`, without sign and never zero."""
    x = np.abs(floats(shape, dtype, seed, scale))
    return np.where(x == 0, np.asarray(scale, x.dtype), x)


def special(dtype=np.float32):
    """The special values of a type."""
    dtype = np.dtype(dtype)
    words = SPECIAL[dtype.name].split()
    return np.array([int(word, 16) for word in words], UNSIGNED[dtype.itemsize]).view(dtype)


def pairs(dtype=np.float32):
    """Every special value with every other, and plain ones between: two arrays."""
    x = np.concatenate([special(dtype), floats((9,), dtype, 5), floats((6,), dtype, 6, 64)])
    left, right = np.meshgrid(x, x, indexing="ij")
    return np.ascontiguousarray(left.ravel()), np.ascontiguousarray(right.ravel())


def ladder(dtype=np.float32, seed=7):
    """Special values, and others over all magnitudes, for a function of one argument."""
    dtype = np.dtype(dtype)
    bits = mixed(211, seed).astype(np.uint64) >> np.uint64(64 - 8 * dtype.itemsize)
    return np.concatenate(
        [special(dtype), bits.astype(UNSIGNED[dtype.itemsize]).view(dtype), floats((97,), dtype, 8, 8)]
    )


bfloat16 = ml_dtypes.bfloat16
float16 = np.float16
float32 = np.float32
float64 = np.float64
FLOATS = (float32, float64, bfloat16, float16)
