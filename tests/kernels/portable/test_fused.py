"""Elementwise programs: from every library the same bits, which are also those of the operations one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, assert_one_value, every, numbers
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import fused
from kernels.runtime.portable.fused import Operand, Step


@pytest.fixture(scope="module", autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


BOOL = np.dtype(np.bool_)
AXES = {"axes": (1,)}


def dtype_of(name):
    return np.dtype(jnp.dtype(name))


def softmax(x, dtype):
    return fused.call(
        x.shape,
        [Operand(x, (0, 1))],
        [
            Step("reduce_max", (0,), dtype, AXES),
            Step("sub", (0, 1), dtype),
            Step("mul", (2, 2), dtype),
            Step("reduce_sum", (3,), dtype, AXES),
            Step("div", (3, 4), dtype),
        ],
        [5, 4],
    )


@pytest.mark.parametrize("shape", [(3, 384), (50, 7), (2, 5000), (1, 1), (3000, 1), (2, 0), (0, 5), (4, 2048)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reduction_and_what_uses_it_in_one_pass(shape, dtype):
    x = numbers(shape, dtype, 3)
    found = every(lambda x: softmax(x, dtype_of(dtype)), x)
    assert_one_value(found)
    if dtype == "float64" and shape[1] > 1:
        square = (x - x.max(1, keepdims=True)) ** 2
        np.testing.assert_allclose(found[0][0], square / square.sum(1, keepdims=True), rtol=1e-12)


def test_operands_of_rows_of_columns_and_of_everything():
    x, row, column, one = (numbers(s, "float32", s[0] if s else 1) for s in [(5, 7, 30), (5, 7), (30,), ()])
    float32 = np.dtype(np.float32)

    def function(x, row, column, one):
        operands = [Operand(x, (0, 1, 2)), Operand(row, (0, 1)), Operand(column, (2,)), Operand(one)]
        steps = [
            Step("mul", (1, 3), float32),  # 4: of rows only
            Step("add", (0, 4), float32),  # 5
            Step("reduce_sum", (5,), float32, {"axes": (2,)}),  # 6
            Step("max", (6, 1), float32),  # 7
            Step("mul", (5, 2), float32),  # 8
            Step("sub", (8, 7), float32),  # 9
            Step("reduce_min", (9,), float32, {"axes": (2,)}),  # 10
            Step("lt", (9, 10), BOOL),  # 11
            Step("reduce_sum", (1,), float32, {"axes": (2,)}),  # 12: of a row's value, thirty times
        ]
        return fused.call(x.shape, operands, steps, [9, 10, 11, 4, 0, 12, 9])

    found = every(function, x, row, column, one)
    assert_one_value(found)
    y = x + (row * one)[..., None]
    z = y * column - np.maximum(function(x, row, column, one)[1] * 0 + y.sum(2), row)[..., None]
    assert [value.shape for value in found[0]] == [x.shape, row.shape, x.shape, x.shape, x.shape, row.shape, x.shape]
    np.testing.assert_allclose(found[0][0], z, rtol=1e-4, atol=1e-4)


@st.composite
def programs(draw):
    """A shape, operands that broadcast to it, and steps over them, with or without a reduction."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 17, 40]), min_size=1, max_size=3)))
    rows = draw(st.integers(0, len(shape)))
    axes = tuple(range(rows, len(shape)))
    dtype = draw(st.sampled_from(DTYPES))
    dims = draw(st.lists(st.sets(st.sampled_from(range(len(shape)))), min_size=1, max_size=3))
    operands = [tuple(sorted(axes)) for axes in dims]
    kinds = ["number"] * len(operands)
    steps = []
    for _ in range(draw(st.integers(1, 9))):
        which = [i for i, kind in enumerate(kinds) if kind == "number"]
        tests = [i for i, kind in enumerate(kinds) if kind == "test"]
        value = st.sampled_from(which)
        one = st.sampled_from(["neg", "abs", "sqrt", "sign", "floor", "square", "integer_pow", "round"])
        two = st.sampled_from(["add", "sub", "mul", "div", "max", "min", "rem"])
        choices = [st.tuples(one, st.tuples(value)), st.tuples(two, st.tuples(value, value))]
        choices.append(st.tuples(st.sampled_from(["lt", "ge", "ne"]), st.tuples(value, value)))
        choices.append(st.tuples(st.just("clamp"), st.tuples(value, value, value)))
        if axes:
            choices.append(st.tuples(st.sampled_from(["reduce_sum", "reduce_max", "reduce_min"]), st.tuples(value)))
        if tests:
            choices.append(st.tuples(st.just("select_n"), st.tuples(st.sampled_from(tests), value, value)))
        op, args = draw(st.one_of(choices))
        kinds.append("test" if op in {"lt", "ge", "ne"} else "number")
        params = {
            "integer_pow": {"y": draw(st.integers(-5, 9))},
            "round": {"rounding_method": draw(st.sampled_from(list(lax.RoundingMethod)))},
        }.get(op, {"axes": axes} if op.startswith("reduce") else {})
        steps.append(Step(op, args, BOOL if kinds[-1] == "test" else dtype_of(dtype), params))
    results = draw(st.lists(st.sampled_from(range(len(kinds))), min_size=1, max_size=3))
    return shape, dtype, operands, steps, results


@given(program=programs(), seed=st.integers(0, 99), special=st.sampled_from([0, 0.02, 0.5]))
@QUICK
def test_any_program(program, seed, special):
    shape, dtype, dims, steps, results = program
    arrays = [numbers(tuple(shape[axis] for axis in axes), dtype, seed + i, special) for i, axes in enumerate(dims)]

    def function(*arrays):
        operands = [Operand(array, axes) for array, axes in zip(arrays, dims, strict=True)]
        return fused.call(shape, operands, steps, results)

    assert_one_value(every(function, *arrays))


SPECIALS = np.array([0, 1, 1.5, 2, 2.5, 3, 1e-45, 1e-40, 1.1754944e-38, 0.49999997, 1e30, 3.4e38, np.inf, np.nan])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "max", "min", "rem", "nextafter"])
def test_special_values_of_pairs(op, dtype):
    values = np.concatenate([SPECIALS, -SPECIALS]).astype(dtype)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    found = every(
        lambda x, y: fused.call(x.shape, [Operand(x, (0,)), Operand(y, (0,))], [Step(op, (0, 1), x.dtype)], [2])[0],
        x,
        y,
    )
    assert_one_value(found)
    with np.errstate(all="ignore"):
        numpy_has = {"sub": "subtract", "mul": "multiply", "div": "divide", "max": "maximum", "min": "minimum"}
        wanted = getattr(np, {**numpy_has, "rem": "fmod"}.get(op, op))(x, y)
    np.testing.assert_array_equal(found[0], wanted)


@given(x=st.floats(), y=st.floats(), narrow=st.booleans())
@QUICK
def test_remainders_are_exact(x, y, narrow):
    dtype = np.float32 if narrow else np.float64
    with np.errstate(all="ignore"):
        a, b = np.full(3, x, dtype), np.full(3, y, dtype)
        wanted = np.fmod(a, b)
        wanted[np.isnan(wanted)] = np.nan
    found = fused.call((3,), [Operand(a, (0,)), Operand(b, (0,))], [Step("rem", (0, 1), a.dtype)], [2])[0]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


FLOATS = [dtype_of(name) for name in DTYPES]
INTEGERS = [np.dtype(f"{sign}int{width}") for sign in ("", "u") for width in (8, 16, 32, 64)]


def converted(x, target):
    step = Step("convert_element_type", (0,), target, {"new_dtype": target})
    return every(lambda x: fused.call(x.shape, [Operand(x, (0,))], [step], [1])[0], x)


@pytest.mark.parametrize("source", FLOATS)
def test_conversions_of_floats(source):
    x = np.concatenate(
        [numbers((500,), source, 5, 0.1), np.array([127.5, 128, -129, 255.5, 65504, 65519, 65520, 2**31])]
    )
    with np.errstate(over="ignore"):
        x = np.concatenate([x, [2.0**63, -(2.0**63), 2.0**64, 2.0**-25, 2.0**-24 * 1.5]]).astype(source)
    for target in [*FLOATS, *INTEGERS, BOOL]:
        found = converted(x, target)
        assert_one_value(found)
        if target in FLOATS and source != np.float64:
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(np.asarray(found[0], float), np.asarray(x.astype(target), float))


@pytest.mark.parametrize("source", [*INTEGERS, BOOL])
def test_conversions_of_integers(source):
    info = np.iinfo(source) if source != BOOL else np.iinfo(np.uint8)
    x = np.array(
        [info.min + (info.max - info.min) * i // 400 for i in range(401)], np.uint8 if source == BOOL else source
    )
    x = (x % 2).astype(BOOL) if source == BOOL else x
    for target in FLOATS:
        found = converted(x, target)
        assert_one_value(found)
        if target in {np.float32, np.float64}:
            np.testing.assert_array_equal(found[0], x.astype(target))


@pytest.mark.parametrize("source", ["bfloat16", "float16"])
def test_every_narrow_number_there_and_back(source):
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype_of(source))
    for target in FLOATS:
        assert_one_value(converted(x, target))


@given(bits=st.tuples(st.integers(1, 11), st.integers(0, 52)), seed=st.integers(0, 9), wide=st.booleans())
@QUICK
def test_reduced_precision(bits, seed, wide):
    x = numbers((300,), "float64" if wide else "float32", seed, 0.1)
    step = Step("reduce_precision", (0,), x.dtype, {"exponent_bits": bits[0], "mantissa_bits": bits[1]})
    assert_one_value(every(lambda x: fused.call(x.shape, [Operand(x, (0,))], [step], [1])[0], x))


def test_a_nan_is_the_one_nan():
    words = np.array([0xFFC00001, 0x7F800001, 0xFF812345, 0x3F800000], np.uint32)
    x = np.resize(words, 44).view(np.float32)  # whole vectors, and the rest of one
    steps = [Step("select_n", (1, 0, 0), x.dtype), Step("add", (0, 0), x.dtype)]
    steps += [Step(name, (0,), x.dtype) for name in ("neg", "log", "log1p", "rsqrt", "tanh", "exp", "logistic")]
    for step in steps:
        mask = jnp.ones(44, bool)
        (found,) = fused.call((44,), [Operand(x, (0,)), Operand(mask, (0,))], [step], [2])
        assert set(np.asarray(found).view(np.uint32).reshape(-1, 4)[:, :3].ravel()) == {0x7FC00000}


def test_what_there_is_not_is_refused():
    x = jnp.zeros((2, 3))
    float32 = np.dtype(np.float32)
    with pytest.raises(KernelError, match="do not include 'airy'"):
        fused.call((2, 3), [Operand(x, (0, 1))], [Step("airy", (0,), float32)], [1])
    with pytest.raises(KernelError, match="does not broadcast"):
        fused.call((2, 4), [Operand(x, (0, 1))], [Step("exp", (0,), float32)], [1])
    with pytest.raises(KernelError, match="one set of trailing axes"):
        fused.call((2, 3), [Operand(x, (0, 1))], [Step("reduce_sum", (0,), float32, {"axes": (0,)})], [1])
    with pytest.raises(KernelError, match="complex64"):
        fused.call((), [Operand(jnp.zeros((), np.complex64))], [Step("exp", (0,), float32)], [1])
    assert not fused.takes("exp", [np.dtype(complex)], np.dtype(complex))
    assert not fused.takes("add", [np.dtype(int)] * 2, np.dtype(int))
    assert fused.takes("select_n", [BOOL, float32, float32], float32)


def test_the_batch_does_not_matter():
    x = numbers((300, 77), "float32", 1)
    whole = softmax(x, x.dtype)[0]
    for row in (0, 7, 299):
        np.testing.assert_array_equal(softmax(x[row : row + 1], x.dtype)[0], whole[row : row + 1])


def test_every_way_to_run_gives_the_same():
    x = numbers((40, 77), "float32", 2)
    jitted = jax.jit(lambda x: softmax(x, x.dtype))(x)
    mapped = softmax(x, x.dtype)
    np.testing.assert_array_equal(jitted[0], mapped[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_of_operations(dtype):
    """Every two of add, sub and mul, with operands that are one number for all in every place."""
    x, y, z = (numbers((3000,), dtype, seed, 0.05) for seed in range(3))
    one = numbers((), dtype, 4)

    def function(*arrays):
        operands = [Operand(array, (0,)) if array.ndim else Operand(array) for array in arrays]
        steps, results = [], []
        for first, second in itertools.product(["add", "sub", "mul"], repeat=2):
            for a, b, c in itertools.product((0, 3), (1, 3), (2, 3)):
                inner = len(operands) + len(steps)
                for args in ((inner, c), (c, inner + 2)):
                    steps += [Step(first, (a, b), dtype_of(dtype)), Step(second, args, dtype_of(dtype))]
                results += [inner + 1, inner + 3]
        return fused.call((3000,), operands, steps, results)

    assert_one_value(every(function, x, y, z, one))
