"""Dot products and convolutions: every fast library gives the referee's bits, and XLA's value but for rounding."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, assert_one_value, bits, every, numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import contraction

SIZES = st.sampled_from([1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33])
FORMATS = st.sampled_from(["float32", "float32", "float64", "bfloat16", "float16"])
MOST_STEPS = 60_000
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def dot(lhs, rhs, numbers, **params):
    params = {"precision": None, "preferred_element_type": None, "out_sharding": None} | params
    (result,) = contraction.RULES["dot_general"]((lhs, rhs), {"dimension_numbers": numbers, **params})
    return result


def conv(lhs, rhs, **parameters):
    """As `lax.conv_general_dilated` takes it, by way of its jaxpr."""
    (equation,) = jax.make_jaxpr(lambda a, b: lax.conv_general_dilated(a, b, **parameters))(lhs, rhs).eqns
    (result,) = contraction.RULES["conv_general_dilated"]((lhs, rhs), equation.params)
    return result


@st.composite
def dots(draw):
    """Operands' shapes and dimension numbers, of every order of dimensions."""
    shared = {kind: draw(st.lists(SIZES, max_size=2)) for kind in ("contracting", "batch")}
    if draw(st.booleans()) and shared["contracting"]:
        shared["contracting"][0] = draw(st.sampled_from([0, 31, 32, 64, 255, 257, 513, 1057, 8225]))
    sides = []
    for _ in range(2):
        sizes = [*shared["contracting"], *shared["batch"], *draw(st.lists(SIZES, max_size=2))]
        order = draw(st.permutations(range(len(sizes))))
        where = [order.index(dimension) for dimension in range(len(sizes))]
        cut = len(shared["contracting"])
        shape = [sizes[dimension] for dimension in order]
        sides.append((shape, tuple(where[:cut]), tuple(where[cut : cut + len(shared["batch"])])))
    (lhs, *lhs_named), (rhs, *rhs_named) = sides
    return lhs, rhs, (tuple(zip(lhs_named, rhs_named, strict=True)))


@MANY
@given(dots(), st.tuples(FORMATS, FORMATS, st.none() | FORMATS), st.integers(0, 99), st.sampled_from([0, 0.05]))
def test_dots_of_every_layout(case, formats, seed, special):
    lhs_shape, rhs_shape, named = case
    left, right, preferred = formats
    if "float64" in (left, right):
        preferred = "float64"  # C1
    contracted = np.prod([lhs_shape[dimension] for dimension in named[0][0]], initial=1)
    shared = np.prod([lhs_shape[dimension] for dimension in named[1][0]], initial=1)
    if np.prod(lhs_shape, initial=1) * np.prod(rhs_shape, initial=1) > MOST_STEPS * max(contracted * shared, 1):
        lhs_shape = [min(size, 3) for size in lhs_shape]
        rhs_shape = [min(size, 3) for size in rhs_shape]
    lhs, rhs = numbers(lhs_shape, left, seed, special), numbers(rhs_shape, right, seed + 100, special)
    assert_one_value(every(lambda a, b: dot(a, b, named, preferred_element_type=preferred), lhs, rhs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [
        (5, 600, 1100),
        (245, 30, 40),
        (500, 9, 33),
        (1, 300, 5000),
        (4, 40, 5000),
        (40, 300, 1),
        (1, 5000, 1),
        (30, 8500, 70),
        (3, 8400, 600),
        (20, 9000, 1),
        (530, 1025, 2),
    ],
)
def test_dots_larger_than_a_block(rows, inner, columns, dtype):
    lhs, rhs = numbers((rows, inner), dtype, 1), numbers((inner, columns), dtype, 2)

    def both(lhs, rhs):
        return dot(lhs, rhs, (((1,), (0,)), ((), ()))), dot(rhs, lhs, (((0,), (1,)), ((), ()))).T

    found = every(both, lhs, rhs)
    assert_one_value(found)
    near = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
    wide = np.asarray(lhs, "float64"), np.asarray(rhs, "float64")
    scale = np.abs(wide[0]).max() * np.abs(wide[1]).max() * inner**0.5
    true = wide[0] @ wide[1]
    held = np.abs(true) < float(jnp.finfo(dtype).max)  # the others are infinite
    for one in found[0]:
        assert np.abs(np.where(held, one.astype("float64") - true, 0)).max() < near * scale


@st.composite
def convolutions(draw):
    """Shapes and every parameter of `lax.conv_general_dilated`."""
    spatial = draw(st.integers(0, 3))
    groups, batch_groups = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (5, 1), (16, 1), (1, 2), (1, 3)]))
    small = st.integers(1, 3)
    features, kernels, batch = draw(st.sampled_from([0, 1, 2, 3, 17])), draw(st.integers(1, 3)), draw(small)
    sizes = [draw(st.sampled_from([1, 2, 5, 9] if spatial > 1 else [0, 1, 5, 23])) for _ in range(spatial)]
    window = [draw(small) for _ in range(spatial)]
    orders = [draw(st.permutations(range(spatial + 2))) for _ in range(3)]
    lhs = [batch * batch_groups, features * groups, *sizes]
    rhs = [kernels * groups * batch_groups, features, *window]
    shapes = []
    for shape, order in zip((lhs, rhs), orders, strict=False):
        placed = [0] * len(shape)
        for size, place in zip(shape, order, strict=True):
            placed[place] = size
        shapes.append(placed)
    parameters = {
        "window_strides": [draw(small) for _ in range(spatial)],
        "padding": [(draw(st.integers(-(size // 2), 3)), draw(st.integers(-(size // 2), 3))) for size in sizes],
        "lhs_dilation": [draw(small) for _ in range(spatial)],
        "rhs_dilation": [draw(small) for _ in range(spatial)],
        "dimension_numbers": lax.ConvDimensionNumbers(*map(tuple, orders)),
        "feature_group_count": groups,
        "batch_group_count": batch_groups,
    }
    return *shapes, parameters


@MANY
@given(convolutions(), FORMATS, st.integers(0, 99), st.sampled_from([0, 0.05]))
def test_convolutions_of_every_layout(case, dtype, seed, special):
    lhs_shape, rhs_shape, parameters = case
    lhs, rhs = numbers(lhs_shape, dtype, seed, special), numbers(rhs_shape, dtype, seed + 100, special)
    found = every(lambda a, b: conv(a, b, **parameters), lhs, rhs)
    assert_one_value(found)
    if special == 0 and np.prod(lhs_shape):
        wide = [operand.astype("float64") for operand in (lhs, rhs)]
        reference = np.asarray(lax.conv_general_dilated(*wide, **parameters))
        near = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
        scale = 1 + np.abs(wide[0]).max() * np.abs(wide[1]).max() * wide[1].size
        assert found[0].shape == reference.shape
        assert np.all(np.abs(np.asarray(found[0], np.float64) - reference) < near * scale)


@pytest.mark.parametrize(
    ("lhs", "rhs", "parameters"),
    [
        ((2, 30, 30, 3), (3, 3, 3, 20), {"padding": "SAME"}),
        ((2, 14, 14, 40), (3, 3, 40, 33), {"padding": "SAME", "window_strides": (2, 2)}),
        ((1, 12, 12, 40), (3, 3, 1, 40), {"padding": "SAME", "feature_group_count": 40}),
        ((1, 12, 12, 20), (3, 3, 1, 40), {"padding": "SAME", "feature_group_count": 20}),
        ((3, 6, 6, 300), (1, 1, 300, 20), {"padding": "VALID"}),
    ],
    ids=["first", "strided", "depthwise", "multiplied", "pointwise"],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convolutions_of_models(lhs, rhs, parameters, dtype):
    lhs, rhs = numbers(lhs, dtype, 1), numbers(rhs, dtype, 2)
    parameters = {"window_strides": (1, 1)} | parameters

    def both(lhs, rhs):
        last = conv(lhs, rhs, **parameters, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        lhs, rhs = jnp.transpose(lhs, (0, 3, 1, 2)), jnp.transpose(rhs, (3, 2, 0, 1))
        return last, conv(lhs, rhs, **parameters, dimension_numbers=("NCHW", "OIHW", "NCHW"))

    found = every(both, lhs, rhs)
    assert_one_value(found)
    last, first = found[0]
    np.testing.assert_array_equal(bits(last), bits(first.transpose(0, 2, 3, 1)))


@pytest.mark.parametrize("inner", [1, 20, 384, 1537])
def test_a_row_gives_the_same_bits_alone(inner):
    lhs, rhs = numbers((50, inner), "float32", 1), numbers((inner, 70), "float32", 2)
    named = (((1,), (0,)), ((), ()))
    whole = bits(dot(lhs, rhs, named))
    for rows in (1, 2, 3, 5, 12, 13, 29):
        np.testing.assert_array_equal(bits(dot(lhs[7 : 7 + rows], rhs, named)), whole[7 : 7 + rows])
    np.testing.assert_array_equal(bits(dot(lhs[9], rhs[:, 33], (((0,), (0,)), ((), ())))), whole[9, 33])
    batched = dot(jnp.stack([lhs] * 3), jnp.stack([rhs] * 3), (((2,), (1,)), ((0,), (0,))))
    for one in bits(batched):
        np.testing.assert_array_equal(one, whole)


def test_a_convolution_gives_the_same_bits_as_its_dot():
    image, kernel = numbers((2, 9, 9, 24), "float32", 1), numbers((24, 40), "float32", 2)
    layout = ("NHWC", "HWIO", "NHWC")
    by_conv = conv(image, kernel[None, None], window_strides=(1, 1), padding="VALID", dimension_numbers=layout)
    np.testing.assert_array_equal(bits(by_conv), bits(dot(image, kernel, (((3,), (0,)), ((), ())))))


def test_subnormals_are_kept():
    lhs, rhs = jnp.full((3, 40), 2.0**-70, "float32"), jnp.full((40, 33), 2.0**-70, "float32")
    found = every(lambda a, b: dot(a, b, (((1,), (0,)), ((), ()))), lhs, rhs)
    assert_one_value(found)
    assert (found[0] == np.float32(40 * 2.0**-140)).all()


@pytest.mark.parametrize("inner", [33, 1024, 1025, 5000])
def test_long_sums_lose_little(inner):
    """All products are 1 + 2^-11 + 2^-24, of which one chain would lose the last part thousands of times."""
    lhs = jnp.full((2, inner), 1 + 2.0**-12, "float32")
    found = np.asarray(dot(lhs, lhs.T, (((1,), (0,)), ((), ()))), np.float64)
    true = inner * (1 + 2.0**-12) ** 2
    assert np.abs(found - true).max() <= 4 * np.spacing(np.float32(true))


def added(terms):
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + term)
    return total


def test_the_order_of_a_sum():
    """By hand: chains of blocks, blocks of a panel, panels of a span, spans."""
    count = 8192 + 300
    x, y = np.random.default_rng(0).standard_normal((2, count)).astype(np.float32)

    def of(size, smaller):
        return lambda begin, end: added(smaller(at, min(at + size, end)) for at in range(begin, end, size))

    def chain(begin, end):
        total = np.float32(0)
        for at in range(begin, end):
            total = np.float32(np.float64(x[at]) * np.float64(y[at]) + np.float64(total))  # rounds once, but for luck
        return total

    expected = of(8192, of(256, of(32, chain)))(0, count)
    found = dot(jnp.asarray(x), jnp.asarray(y), (((0,), (0,)), ((), ())))
    assert bits(found) == bits(expected)


def test_zeros_of_either_sign_add_up_to_plus_zero():
    zeros = jnp.full((4, 4), -0.0, "float32")
    assert (bits(dot(zeros, jnp.ones((4, 4), "float32"), (((1,), (0,)), ((), ())))) == 0).all()


def test_a_hole_meets_an_infinite_weight_as_zero_does():
    found = every(
        lambda a, b: conv(a, b, window_strides=(1,), padding=[(1, 0)]),
        jnp.ones((1, 1, 2), "float32"),
        jnp.array([[[np.inf, 1]]], "float32"),
    )
    assert_one_value(found)
    assert bits(found[0]).tolist() == [[[0x7FC00000, 0x7F800000]]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "bool"])
def test_integers_stay_with_xla(dtype):
    lhs, rhs = jnp.ones((3, 4), dtype), jnp.ones((4, 5), dtype)
    preferred = None if dtype == "bool" else "int32"
    text = jax.jit(lambda a, b: dot(a, b, (((1,), (0,)), ((), ())), preferred_element_type=preferred)).lower(lhs, rhs)
    assert "custom_call" not in text.as_text()
    image = jnp.ones((1, 2, 5), dtype)
    if dtype != "bool":
        assert conv(image, image, window_strides=(1,), padding="VALID", preferred_element_type="int32").item() == 10


@pytest.mark.parametrize(
    ("dtype", "params", "message"),
    [
        ("complex64", {}, "dot_general of complex64, complex64, complex64 is not defined"),
        ("float8_e4m3fn", {}, "float8_e4m3fn"),
        ("int8", {"preferred_element_type": "float32"}, "dot_general of int8, int8, float32 is not defined"),
        ("float64", {"preferred_element_type": "float32"}, "dot_general of float64, float64, float32"),
        ("float32", {"precision": lax.DotAlgorithmPreset.BF16_BF16_F32_X3}, "algorithm"),
    ],
)
def test_what_is_not_specified_is_refused(dtype, params, message):
    operand = jnp.ones((2, 2), dtype)
    with pytest.raises(KernelError, match=message):
        dot(operand, operand, (((1,), (0,)), ((), ())), **params)


@pytest.mark.parametrize("precision", [None, (lax.Precision.DEFAULT,) * 2, lax.DotAlgorithmPreset.F32_F32_F32])
def test_precision_moves_no_bit(precision):
    lhs, rhs = numbers((9, 70), "float32", 1), numbers((70, 9), "float32", 2)
    named = (((1,), (0,)), ((), ()))
    np.testing.assert_array_equal(bits(dot(lhs, rhs, named, precision=precision)), bits(dot(lhs, rhs, named)))


_THREADS = """
import hashlib, sys
from pathlib import Path
import jax, jax.numpy as jnp
from jax import lax
from kernels.runtime import native
from kernels.runtime.portable import contraction
native.search(Path(sys.argv[1]))

def dot(a, b):
    params = {"precision": None, "preferred_element_type": None, "out_sharding": None}
    return contraction.dot_general((a, b), {"dimension_numbers": (((1,), (0,)), ((), ())), **params})[0]

def conv(a, b, **parameters):
    equation = jax.make_jaxpr(lambda a, b: lax.conv_general_dilated(a, b, **parameters))(a, b).eqns[0]
    return contraction.conv_general_dilated((a, b), equation.params)[0]

@jax.jit
def all_of(x, y):
    nhwc = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    image, kernel = x.reshape(1, 50, 60, 240), y[:240, :216].reshape(3, 3, 240, 24)
    depthwise = {**nhwc, "feature_group_count": 240}
    return (dot(x, y), dot(x[:1], y), dot(x, y[:, :1]), dot(x.T, x),
            dot(x.astype("bfloat16"), y.astype("bfloat16")), conv(image, kernel, **nhwc),
            conv(image, y[:9, :240].reshape(3, 3, 1, 240), **depthwise))

x = jnp.sin(jnp.arange(1200 * 600, dtype="float32")).reshape(1200, 600)
y = jnp.cos(jnp.arange(600 * 900, dtype="float32")).reshape(600, 900)
print([hashlib.sha256(value.tobytes()).hexdigest() for value in all_of(x, y)])
"""


def test_the_number_of_threads_cannot_be_seen(libraries):
    seen = set()
    for threads in (1, 2, 7):
        environment = {**os.environ, "NPROC": str(threads), "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", _THREADS, str(libraries)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seen.add(ran.stdout)
    assert len(seen) == 1
