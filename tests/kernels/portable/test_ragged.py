"""Ragged groups: each result is the plain contraction of its group alone, bit for bit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_one_value, bits, every, numbers
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.grouping import alone
from kernels.runtime.portable.transform import portable

CONTRACTING = lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), (0,), ())
BATCH = lax.RaggedDotDimensionNumbers((((2,), (1,)), ((0,), (0,))), (0,), ())

SIZES = {
    "plain": [3, 0, 20, 1, 9],
    "all": [0, 37, 0, 0, 0],
    "none": [0, 0, 0, 0, 0],
    "each place": [5, 5, 5, 5, 17],
    "too many": [30, 30, 2**31 - 1, 2**31 - 1, 4],
    "below zero": [7, -4, 8, -(2**31), 40],
}


def ranges(sizes, most):
    """Where groups begin and end."""
    ends = [min(end, most) for end in itertools.accumulate(max(int(one), 0) for one in sizes)]
    return list(zip([0, *ends], ends, strict=False))


def wider(dtype):
    return np.float32 if dtype == "bfloat16" else None


@functools.cache
def product(dtype):
    wide = wider(dtype)
    return jax.jit(portable(lambda a, b: lax.dot(a, b, preferred_element_type=wide)))


def rows(x, matrices, sizes, dtype):
    """Each group's rows by its matrix; zeros elsewhere."""
    dot = product(dtype)
    made = np.array(dot(np.zeros_like(x), matrices[0]))
    made[:] = 0
    for matrix, (begin, end) in zip(matrices, ranges(sizes, len(x)), strict=True):
        made[begin:end] = dot(x[begin:end], matrix)
    return made


def contracted(x, y, sizes, dtype):
    """Each group's places of both, contracted."""
    return np.stack([product(dtype)(x[a:b].T, y[a:b]) for a, b in ranges(sizes, len(x))])


def same(one, other):
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    np.testing.assert_array_equal(bits(one), bits(other))


def function(x, matrices, sizes, y):
    wide = wider(x.dtype.name)
    return (
        lax.ragged_dot(x, matrices, sizes, preferred_element_type=wide),
        lax.ragged_dot_general(x, y, sizes, CONTRACTING, preferred_element_type=wide),
    )


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.slow)])
def test_each_group_is_its_own_contraction(dtype):
    x, y, matrices = (numbers(shape, dtype, seed) for seed, shape in enumerate([(37, 6), (37, 3), (5, 6, 4)]))
    computed = jax.jit(portable(function))
    for listed in SIZES.values():
        sizes = np.array(listed, np.int32)
        found = computed(x, matrices, sizes, y)
        same(np.asarray(found[0]), rows(x, matrices, sizes, dtype))
        same(np.asarray(found[1]), contracted(x, y, sizes, dtype))


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(t, marks=pytest.mark.slow) for t in ("float64", "float16"))]
)
def test_special_values_stay_in_their_group(dtype):
    x, y, matrices = (numbers(s, dtype, seed, 0.3) for seed, s in enumerate([(37, 6), (37, 3), (5, 6, 4)]))
    sizes = np.array(SIZES["plain"], np.int32)
    found = every(portable(function), x, matrices, sizes, y)
    assert_one_value(found)
    with jax.enable_x64(True):
        same(found[0][0], rows(x, matrices, sizes, dtype))
        same(found[0][1], contracted(x, y, sizes, dtype))


def test_a_group_begins_its_own_blocks():
    x, y = numbers((1300, 2), "float32", 1), numbers((1300, 3), "float32", 2)
    sizes = np.array([5, 1100, 1, 40, 101, 53], np.int32)
    found = portable(lambda x, y, n: lax.ragged_dot_general(x, y, n, CONTRACTING))(x, y, sizes)
    same(np.asarray(found), contracted(x, y, sizes, "float32"))


def test_what_underflow_made_negative_is_plus_zero():
    tiny = np.full((9, 1), 1e-30, np.float32)
    made = portable(lambda x, y, n: lax.ragged_dot_general(x, y, n, CONTRACTING))(-tiny, tiny, np.array([2, 1, 4]))
    np.testing.assert_array_equal(bits(made), np.zeros((3, 1, 1), np.uint32))


@pytest.mark.slow
def test_any_type_of_sizes_and_any_type_of_numbers():
    x, y = np.arange(200 * 3).reshape(200, 3) % 7 - 3, np.arange(4 * 3 * 2).reshape(4, 3, 2) % 5 - 2
    for kind in ("int8", "uint64"):
        sizes = np.array([90, 0, 100, 3], kind)
        with jax.enable_x64(True):
            found = portable(lax.ragged_dot)(x.astype("f4"), y.astype("f4"), sizes)
        same(np.asarray(found), rows(x.astype("f4"), y.astype("f4"), sizes, "float32"))
    whole = portable(lax.ragged_dot)(x.astype("i4"), y.astype("i4"), np.array([90, 0, 100, 3]))
    np.testing.assert_array_equal(whole, np.asarray(found).astype("i4"))
    z = (x + 1j * x[::-1]).astype("c8")
    both = portable(lax.ragged_dot)(z, (y * 1j).astype("c8"), np.array([90, 0, 100, 3]))
    np.testing.assert_array_equal(both, lax.ragged_dot(z, (y * 1j).astype("c8"), np.array([90, 0, 100, 3])))


LAYOUTS = {
    "turned": (
        ((6, 2, 13, 3), (5, 3, 2, 4, 6)),
        lax.RaggedDotDimensionNumbers((((0, 1), (4, 2)), ((), ())), (2,), (0,)),
    ),
    "batched": (((4, 13, 6), (5, 6, 4, 3)), lax.RaggedDotDimensionNumbers((((2,), (1,)), ((0,), (2,))), (1,), (0,))),
    "after others": (((4, 13, 6), (5, 6, 3)), lax.RaggedDotDimensionNumbers((((2,), (1,)), ((), ())), (1,), (0,))),
    "contracted": (((4, 3, 13), (13, 4, 2)), lax.RaggedDotDimensionNumbers((((2,), (0,)), ((0,), (1,))), (2,), ())),
    "contracted between": (
        ((4, 13, 3, 2), (2, 3, 4, 13)),
        lax.RaggedDotDimensionNumbers((((0, 1, 2), (2, 3, 1)), ((), ())), (1,), ()),
    ),
    "batch": (((4, 3, 13), (4, 13, 2)), BATCH),
}
PREFIX = {"turned": (3,), "batched": (4,), "after others": (4,), "contracted": (4,), "contracted between": (4,)}
PREFIX["turned"] = ()


FEW = {"contracted between", "batch"}
CASES = [
    pytest.param(name, own, marks=() if name in FEW and not own else pytest.mark.slow)
    for name in LAYOUTS
    for own in (False, True)
]


@pytest.mark.parametrize(("name", "own"), CASES)
def test_layouts_and_sizes_by_what_comes_before(name, own):
    shapes, dimensions = LAYOUTS[name]
    groups, rng = 5, np.random.default_rng(1)
    sizes = rng.integers(0, 5, (*(PREFIX.get(name, ()) if own else ()), groups)).astype("i4")
    x, y = (numbers(shape, "float64", seed).astype("f4") for seed, shape in enumerate(shapes))

    def asked(x, y, sizes):
        return lax.ragged_dot_general(x, y, sizes, dimensions)

    found = jax.jit(portable(asked))(x, y, sizes)
    wanted = asked(x, y, sizes)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-2)
    same(np.asarray(portable(asked, alone)(x, y, sizes)), np.asarray(found))


@pytest.mark.parametrize("shapes", [((0, 4), (3, 4, 2)), ((5, 0), (3, 0, 2)), ((5, 4), (0, 4, 2)), ((5, 4), (3, 4, 0))])
def test_empty_operands(shapes):
    x, y = (np.ones(shape, np.float32) for shape in shapes)
    sizes = np.full(len(y), 2)
    np.testing.assert_array_equal(portable(lax.ragged_dot)(x, y, sizes), np.zeros((len(x), y.shape[2])))
    made = portable(lambda x, n: lax.ragged_dot_general(x, x, n, CONTRACTING))(x, sizes)
    lengths = [b - a for a, b in ranges(sizes, len(x))]
    wanted = [np.full((x.shape[1], x.shape[1]), length) for length in lengths]
    np.testing.assert_array_equal(made, np.reshape(wanted, made.shape))


def experts(x, matrices, gate, sizes):
    hidden = jax.nn.silu(lax.ragged_dot(x, gate, sizes)) * lax.ragged_dot(x, matrices, sizes)
    return jnp.sum(hidden * hidden)


@pytest.mark.slow
def test_gradients_and_batches():
    x, a, b = (numbers(s, "float32", seed) for seed, s in enumerate([(2, 19, 6), (2, 4, 6, 5), (2, 4, 6, 5)]))
    sizes = np.array([[5, 0, 9, 3], [1, 2, 3, 4]], np.int32)
    slope = jax.grad(experts, argnums=(0, 1, 2))
    batched = jax.vmap(slope, (0, 0, 0, 0))
    found, single = jax.jit(portable(batched))(x, a, b, sizes), jax.jit(portable(slope))
    for one, other in zip(found, batched(x, a, b, sizes), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2)
    for row in range(2):
        for one, other in zip(found, single(x[row], a[row], b[row], sizes[row]), strict=True):
            same(np.asarray(one)[row], np.asarray(other))


def test_what_stays_undefined():
    x, y, sizes = np.ones((4, 2), np.float32), np.ones((2, 2, 3), np.float32), np.array([1, 3])
    with pytest.raises(KernelError, match="the algorithm"):
        portable(lambda *args: lax.ragged_dot(*args, precision=lax.DotAlgorithmPreset.BF16_BF16_F32_X3))(x, y, sizes)
    with pytest.raises(KernelError, match="float8_e4m3fn"):
        portable(lax.ragged_dot)(x.astype("float8_e4m3fn"), y.astype("float8_e4m3fn"), sizes)
