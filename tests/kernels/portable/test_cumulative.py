from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, SHAPES, applied, assert_one_value, bits, every, numbers
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import cumulative
from kernels.runtime.portable.reduction import RULES

OPERATIONS = (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin)
INDICES = (lax.argmax, lax.argmin)


@given(
    data=st.data(),
    shape=SHAPES.filter(len),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
    special=st.sampled_from([0, 0.01, 0.5]),
)
@QUICK
def test_any_axis_and_values(data, shape, dtype, seed, special):
    axis = data.draw(st.sampled_from(range(len(shape))))
    x = numbers(tuple(shape), dtype, seed, special)

    def function(x):
        out = [
            applied(RULES, partial(f, axis=axis, reverse=reverse), x) for f in OPERATIONS for reverse in (False, True)
        ]
        if shape[axis] > 0:
            out += [applied(RULES, partial(f, axis=axis, index_dtype=np.int32), x) for f in INDICES]
        return out

    assert_one_value(every(function, x))


def test_sums_are_one_chain():
    for shape, axis in [((100_003,), 0), ((4097, 9), 0), ((9, 4097), 1), ((2, 65, 600), 1)]:
        x = numbers(shape, "float32", 1)
        out = applied(RULES, partial(lax.cumsum, axis=axis), x)
        np.testing.assert_array_equal(bits(out), bits(np.cumsum(x, axis, dtype="f4")))
        back = applied(RULES, partial(lax.cumsum, axis=axis, reverse=True), x)
        flipped = np.flip(np.cumsum(np.flip(x, axis), axis, dtype="f4"), axis)
        np.testing.assert_array_equal(bits(back), bits(flipped))


def test_an_index_is_of_the_first_nan_and_else_of_the_first_equal():
    rows = np.array([[1, 3, 3, 2], [-0.0, 0.0, -0.0, -1], [5, -np.nan, np.nan, 7], [-np.inf] * 4], "f4")
    for x, axis in [(rows, 1), (rows.T.copy(), 0)]:
        assert applied(RULES, partial(lax.argmax, axis=axis, index_dtype=np.int32), x).tolist() == [1, 0, 1, 0]
        assert applied(RULES, partial(lax.argmin, axis=axis, index_dtype=np.int32), x).tolist() == [0, 3, 1, 0]
    tiny = np.array([0, 1e-45, 3e-45], "f4")
    assert applied(RULES, lambda x: lax.argmax(x, 0, np.int32), tiny) == 2


def test_long_lines_have_the_index_that_numpy_finds():
    for shape, axis in [((100_003,), 0), ((4097, 300), 0), ((30, 4097), 1)]:
        x = numbers(shape, "float32", 2)
        out = applied(RULES, partial(lax.argmax, axis=axis, index_dtype=np.int32), x)
        np.testing.assert_array_equal(out, np.argmax(x, axis))


def test_integers_and_complex_numbers():
    whole = np.arange(24).reshape(4, 6).astype("i4")
    np.testing.assert_array_equal(applied(RULES, lambda x: lax.cumsum(x, 1), whole), np.cumsum(whole, 1))
    assert applied(RULES, lambda x: lax.argmax(x, 0, np.int32), whole).tolist() == [3] * 6
    z = (whole + 1j * whole[::-1]).astype("c8")
    np.testing.assert_array_equal(applied(RULES, lambda x: lax.cumsum(x, 0), z), np.cumsum(z, 0))
    with pytest.raises(KernelError, match=r"no cumprod of complex64"):
        applied(RULES, lambda x: lax.cumprod(x, 0), z)
    with pytest.raises(KernelError, match=r"no argmax to int8"):
        applied(RULES, lambda x: lax.argmax(x, 0, np.int8), jnp.ones(3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_logarithm_of_cumulative_sums_of_exponentials(dtype, reverse):
    operands = [numbers(shape, dtype, 3, special) for shape in [(7, 65), (0, 3), (1,)] for special in (0, 0.05)]

    def function(operands):
        return [applied(cumulative.RULES, partial(lax.cumlogsumexp, axis=0, reverse=reverse), x) for x in operands]

    found = every(function, operands)
    assert_one_value(found)
    exact = np.asarray(operands[0], "f8")
    expected = np.logaddexp.accumulate(exact[::-1])[::-1] if reverse else np.logaddexp.accumulate(exact)
    np.testing.assert_allclose(
        np.asarray(found[0][0], "f8"), expected, rtol={"float32": 3e-7}.get(dtype, 1e-2), atol=1e-6
    )


def test_infinities_in_a_logarithm_of_sums():
    x = np.array([-np.inf, -np.inf, 1, np.inf, 2, -np.inf, np.nan, 0], "f4")
    out = applied(cumulative.RULES, lax.cumlogsumexp, x)
    np.testing.assert_array_equal(out, np.array([-np.inf, -np.inf, 1, *[np.inf] * 3, np.nan, np.nan], "f4"))
    with pytest.raises(KernelError, match=r"no cumlogsumexp of complex64"):
        applied(cumulative.RULES, lax.cumlogsumexp, x.astype("c8"))
