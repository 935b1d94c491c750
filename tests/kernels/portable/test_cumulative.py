from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, SHAPES, applied, assert_one_value, bits, every, numbers
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import cumulative, portable
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


def cumulated(join, start, x):
    """Another reading of R4: a list, cumulated."""
    out = []
    for i, one in enumerate(x):
        out.append(join(out[-1] if i % 16 else start, one))
    if len(x) > 16:
        before = cumulated(join, start, [out[i - 1] for i in range(16, len(x), 16)])
        out[16:] = [join(before[i // 16 - 1], out[i]) for i in range(16, len(x))]
    return out


def test_sums_are_what_the_specification_writes_out():
    for shape, axis in [((10_003,), 0), ((4097, 5), 0), ((3, 4113), 1), ((2, 65, 30), 1), ((256,), 0), ((257, 2), 0)]:
        x = numbers(shape, "float32", 1)
        for operation, function, start in [(np.add, lax.cumsum, 0), (np.multiply, lax.cumprod, 1)]:
            line = partial(cumulated, operation, np.float32(start))
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                expected = np.apply_along_axis(line, axis, x).astype("f4")
                back = np.flip(np.apply_along_axis(line, axis, np.flip(x, axis)), axis).astype("f4")
            found = applied(RULES, partial(function, axis=axis), x)
            np.testing.assert_array_equal(bits(found), bits(expected))
            found = applied(RULES, partial(function, axis=axis, reverse=True), x)
            np.testing.assert_array_equal(bits(found), bits(back))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 255, 256, 257, 273, 4097])
def test_the_edges_of_blocks(length):
    operands = [numbers(shape, dtype, length) for shape in [(length,), (3, length)] for dtype in DTYPES]

    def function(operands):
        return [
            applied(RULES, partial(f, axis=x.ndim - 1, reverse=reverse), x)
            for x in operands
            for f in OPERATIONS
            for reverse in (False, True)
        ]

    assert_one_value(every(function, operands))


def test_logarithms_of_sums_are_what_the_specification_writes_out():
    function = {name: jax.jit(portable(getattr(jax.lax, name))) for name in ("exp", "log1p")}

    def join(a, b):
        (m, r), (other, more) = a, b
        q = np.float32(1) if m == other else np.float32(function["exp"](-abs(m - other)))
        d, t = (q, more + q) if m < other else (np.float32(1), (more + np.float32(1)) * q)
        return max(m, other), r * d + t

    for length in (1, 16, 17, 300):
        x = numbers((length,), "float32", 4)
        pairs = cumulated(join, (np.float32(-np.inf), np.float32(0)), [(one, np.float32(0)) for one in x])
        expected = [m + np.float32(function["log1p"](r)) for m, r in pairs]
        np.testing.assert_array_equal(bits(applied(cumulative.RULES, lax.cumlogsumexp, x)), bits(np.array(expected)))


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
    operands = [
        numbers(shape, dtype, 3, special) for shape in [(7, 65), (300, 2), (0, 3), (1,)] for special in (0, 0.05)
    ]

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
