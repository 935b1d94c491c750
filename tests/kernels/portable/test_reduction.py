import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, SHAPES, applied, assert_one_value, bits, every, numbers
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import reduction
from kernels.runtime.portable.reduction import MAXIMUM, MINIMUM, PRODUCT, RULES, SUM

LENGTHS = (0, 1, 2, 63, 64, 65, 255, 256, 257, 511, 513, 1000, 1024, 1025, 4096, 4097, 100_003)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_length(dtype):
    rows = [numbers((length,), dtype, length) for length in LENGTHS]

    def function(rows):
        out = [reduction.reduce(operation, x, (0,)) for x in rows for operation in (SUM, MAXIMUM, MINIMUM)]
        return out + [reduction.reduce(PRODUCT, x, (0,)) for x in rows[:-3]]

    assert_one_value(every(function, rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_any_length(dtype):
    shapes = [
        (4097, 3),
        (1025, 3),
        (330, 70),
        (200, 600),
        (65, 130),
        (1, 257),
        (300, 1),
        (8200, 2),
        (600, 300),
        (2, 70, 33),
        (70, 2, 33),
        (3, 5000),
    ]
    operands = [numbers(shape, dtype, 1) for shape in shapes]

    def function(operands):
        return [reduction.reduce(operation, x, (x.ndim - 2,)) for x in operands for operation in (SUM, MINIMUM)]

    assert_one_value(every(function, operands))


@given(
    data=st.data(),
    shape=SHAPES,
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
    special=st.sampled_from([0, 0.01, 0.5]),
)
@QUICK
def test_any_axes_and_values(data, shape, dtype, seed, special):
    chosen = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True)) if shape else []
    operation = data.draw(st.integers(0, 3))
    x = numbers(tuple(shape), dtype, seed, special)
    found = every(lambda x: reduction.reduce(operation, x, chosen), x)
    assert_one_value(found)
    near = {SUM: jnp.sum, PRODUCT: jnp.prod, MAXIMUM: jnp.max, MINIMUM: jnp.min}[operation]
    if special == 0 and np.prod([shape[axis] for axis in chosen]) > 0 and dtype == "float64":
        np.testing.assert_allclose(found[0], near(x, tuple(chosen)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extrema_know_nan_and_the_sign_of_zero(dtype):
    one = {"float32": 0x7FC00000, "float64": 0x7FF8000000000000, "bfloat16": 0x7FC0, "float16": 0x7E00}[dtype]
    zeros, nans = [], []
    for shape in [(5,), (5, 3), (3, 130)]:
        zero, nan = np.full(shape, -0.0), np.ones(shape)
        zero[-1], nan[1] = 0, -np.nan
        zeros.append(zero.astype(dtype))
        nans.append(nan.astype(dtype))

    @jax.jit
    def function(zeros, nans):
        extrema = [[reduction.reduce(operation, x, (0,)) for operation in (MAXIMUM, MINIMUM)] for x in zeros]
        return extrema, [reduction.reduce(operation, x, (0,)) for x in nans for operation in range(4)]

    extrema, outs = function(zeros, nans)
    for greatest, least in extrema:
        assert not np.signbit(greatest).any()
        assert np.signbit(least).all()
    for out in outs:
        np.testing.assert_array_equal(bits(out), np.full(out.shape, one, bits(out).dtype))


def test_a_row_is_what_the_specification_writes_out():
    """Another reading of R1, in NumPy."""

    def chunk(x, lanes):
        lane = np.zeros(lanes, x.dtype)
        for k in range(0, len(x), 4 * lanes):
            chain = np.zeros(lanes, x.dtype)
            for i, one in enumerate(x[k : k + 4 * lanes]):
                chain[i % lanes] += one
            lane += chain
        while len(lane) > 1:
            lane = lane[: len(lane) // 2] + lane[len(lane) // 2 :]
        return lane[0]

    def written(x):
        lanes = 256 // x.itemsize
        value, lost = x.dtype.type(0), x.dtype.type(0)
        for c in range(0, len(x), 8 * lanes):
            more = chunk(x[c : c + 8 * lanes], lanes)
            after = value + more
            taken = after - value
            lost += (value - (after - taken)) + (more - taken)
            value = after
        return value + lost

    for dtype in ("float32", "float64"):
        x = numbers((9001,), dtype, 3)
        assert bits(reduction.reduce(SUM, x, (0,))) == bits(written(np.asarray(x)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_lose_nothing_to_one_another(dtype):
    lanes = 256 // np.dtype(dtype).itemsize
    x = np.zeros((8 * lanes * 1000, 20), dtype)
    x[:: 8 * lanes] = 2.0 ** -(4 * np.dtype(dtype).itemsize + 12)  # each too little for what is there
    x[0] = 1
    expected = np.asarray(x, "f8" if dtype == "float32" else np.longdouble).sum(0).astype(dtype)
    np.testing.assert_array_equal(reduction.reduce(SUM, x, (0,)), expected)
    np.testing.assert_array_equal(reduction.reduce(SUM, np.ascontiguousarray(x.T), (1,)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_far_apart(dtype):
    rows = np.ones((4, 5000), dtype)
    rows[0, 4000], rows[1, 10], rows[2, 10], rows[2, 4000], rows[3, 0] = np.inf, -np.inf, np.inf, -np.inf, np.nan
    expected = np.array([np.inf, -np.inf, np.nan, np.nan])
    for x, axis in [(rows, 1), (np.ascontiguousarray(rows.T), 0)]:
        found = every(lambda x, axis=axis: reduction.reduce(SUM, x, (axis,)), x)
        assert_one_value(found)
        np.testing.assert_array_equal(np.asarray(found[0], "f8"), expected)


def test_a_sum_that_overflows_is_infinite():
    x = np.full(2000, 1e38, "float32")
    assert reduction.reduce(SUM, x, (0,)) == np.inf
    assert reduction.reduce(SUM, -x, (0,)) == -np.inf


def test_a_row_of_a_batch_is_the_row_alone():
    x = numbers((33, 5, 700), "float32", 4)
    sums = reduction.reduce(SUM, x, (2,))
    columns = reduction.reduce(SUM, x, (0, 1))
    for i in (0, 7, 32):
        np.testing.assert_array_equal(bits(sums[i]), bits(reduction.reduce(SUM, x[i], (1,))))
    np.testing.assert_array_equal(bits(columns[3:5]), bits(reduction.reduce(SUM, x[:, :, 3:5], (0, 1))))
    np.testing.assert_array_equal(bits(columns), bits(reduction.reduce(SUM, x.transpose(2, 0, 1), (1, 2))))


def test_subnormals_are_kept():
    x = jnp.full(3, 1e-45, "float32")
    assert bits(reduction.reduce(SUM, x, (0,))) == 3
    assert bits(reduction.reduce(MAXIMUM, -x, (0,))) == 0x80000001


def test_rules_take_the_parameters_of_their_primitives():
    x = numbers((4, 6), "float32", 5)
    for function in (
        lambda x: jnp.sum(x, 0),
        jnp.prod,
        lambda x: jnp.max(x, 1),
        lambda x: jnp.min(x, (1, 0)),
        lambda x: lax.reduce(x, np.float32(2), lambda a, b: b * a, (0,)),
        lambda x: lax.reduce(x, np.float32(7), lax.max, (1,)),
    ):
        np.testing.assert_allclose(applied(RULES, function, x), function(x), rtol=1e-5)
    whole = jnp.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(applied(RULES, lambda x: jnp.sum(x, 0), whole), jnp.sum(whole, 0))
    z = x + 1j * x[::-1]
    out = applied(RULES, lambda z: jnp.sum(z, 1), z)
    assert out.dtype == z.dtype
    np.testing.assert_allclose(out, jnp.sum(z, 1), rtol=1e-5)


def test_what_the_specification_lacks_is_refused_by_name():
    x = numbers((4, 6), "float32", 5)
    with pytest.raises(KernelError, match=r"no reduce by this computation"):
        applied(RULES, lambda x: lax.reduce(x, np.float32(0), lambda a, b: a + b * 2, (0,)), x)
    with pytest.raises(KernelError, match=r"several operands"):
        RULES["reduce"]((x, x, x[0, 0], x[0, 0]), {})
    with pytest.raises(KernelError, match=r"no reduce_max of float8_e4m3fn"):
        RULES["reduce_max"]((x.astype("float8_e4m3fn"),), {"axes": (0,)})
    with pytest.raises(KernelError, match=r"no reduce_prod of complex64"):
        RULES["reduce_prod"]((x.astype("complex64"),), {"axes": (0,)})


_THREADS = """
import sys, hashlib
from pathlib import Path
import jax, numpy as np
from jax import lax
from kernels.runtime import native
from kernels.runtime.portable import order, reduction, scatter, window
native.search(Path(sys.argv[1]))
random = np.random.default_rng(0)
cases = [((1000003,), (0,)), ((300, 1000), (0,)), ((300, 1000), (1,)), ((40, 50, 60), (0, 2)), ((9000, 70), (0,))]
numbers = lambda shape: random.integers(-(2**23), 2**23, shape).astype(np.float32) / 1000
operands = [numbers(shape) for shape, _ in cases]
windows = dict(window_dimensions=(2, 3, 2), window_strides=(1, 2, 1), padding=((0, 0),) * 3)
dilation = dict(base_dilation=(1,) * 3, window_dilation=(1,) * 3)
places = random.integers(0, 300, (5000, 1))
rows = lax.ScatterDimensionNumbers((1,), (0,), (0,))
updates = numbers((5000, 1000))

@jax.jit
def everything(operands, places, updates):
    out = [reduction.reduce(i, x, axes) for x, (_, axes) in zip(operands, cases) for i in range(4)]
    out += [reduction.cumulate(i, x, axes[0], reverse=False) for x, (_, axes) in zip(operands, cases) for i in range(4)]
    out += [reduction.RULES["argmax"]((x,), {"axes": (0,), "index_dtype": np.int32})[0] for x in operands]
    (sums,) = window.RULES["reduce_window_sum"]((operands[3],), {**windows, **dilation})
    out += [sums, *window.RULES["select_and_scatter_add"]((sums, operands[3]), {**windows, "select_prim": lax.ge_p})]
    added = {"dimension_numbers": rows, "mode": lax.GatherScatterMode.CLIP}
    out += scatter.RULES["scatter-add"]((operands[1], places, updates), added)
    return out + order.RULES["sort"]((operands[2],), {"dimension": 1, "num_keys": 1})

digest = hashlib.sha256()
for one in everything(operands, places, updates):
    digest.update(np.asarray(one).tobytes())
print(digest.hexdigest())
"""


DIGEST = "f27314fbf81b5e1674c53dbb12a149f6b91c18d7e64ea48e4a040f16d4111e4d"
"""What the specification gives; also on arm64, under QEMU's cortex-a72."""


def test_the_number_of_threads_cannot_be_seen(libraries, tmp_path):
    seen = set()
    for threads in (1, 7):
        ran = subprocess.run(
            [sys.executable, "-c", _THREADS, str(libraries)],
            env={**os.environ, "NPROC": str(threads), "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(ran.stdout.strip())
    assert seen == {DIGEST}
