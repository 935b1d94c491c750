import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, applied, assert_one_value, every, numbers
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.window import RULES


@st.composite
def windows(draw):
    """The shape of an operand and windows over it, of which some lie in the padding."""
    rank = draw(st.integers(1, 3))
    shape = tuple(draw(st.sampled_from([1, 2, 5, 9, 33])) for _ in range(rank))
    small = [tuple(draw(st.integers(1, most)) for _ in range(rank)) for most in (3, 3, 3, 2)]
    padding = tuple((draw(st.integers(-1, 3)), draw(st.integers(-1, 3))) for _ in range(rank))
    names = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
    params = dict(zip(names, small, strict=True)) | {"padding": padding}
    for i, size in enumerate(shape):
        room = (size - 1) * params["base_dilation"][i] + 1 + sum(padding[i])
        assume(room >= (params["window_dimensions"][i] - 1) * params["window_dilation"][i] + 1)
    return shape, params


@given(case=windows(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), special=st.sampled_from([0, 0.05, 0.5]))
@QUICK
def test_any_windows_and_values(case, dtype, seed, special):
    shape, params = case
    x = numbers(shape, dtype, seed, special)

    def function(x):
        sums = [RULES[f"reduce_window_{name}"]((x,), params)[0] for name in ("sum", "max", "min")]
        whole = applied(RULES, lambda x: lax.reduce_window(x, np.asarray(0.5, x.dtype), lax.mul, **params), x)
        select = [
            RULES["select_and_gather_add"]((x, x), {**params, "select_prim": prim})[0] for prim in (lax.ge_p, lax.le_p)
        ]
        return [*sums, whole, *select]

    assert_one_value(every(function, x))


@given(case=windows(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), special=st.sampled_from([0, 0.05, 0.5]))
@QUICK
def test_any_scatter_to_selected_elements(case, dtype, seed, special):
    shape, params = case
    ones = (1,) * len(shape)
    params = {**params, "base_dilation": ones, "window_dilation": ones, "select_prim": lax.ge_p}
    room = [size + sum(pair) for size, pair in zip(shape, params["padding"], strict=True)]
    assume(all(window <= size for window, size in zip(params["window_dimensions"], room, strict=True)))
    x = numbers(shape, dtype, seed, special)
    windows = jax.eval_shape(lambda x: RULES["reduce_window_sum"]((x,), params)[0], x)
    source = numbers(windows.shape, dtype, seed + 1, special)
    assert_one_value(every(lambda *args: RULES["select_and_scatter_add"](args, params), source, x))


def test_pooling_and_its_gradient_are_those_of_jax():
    x = numbers((2, 9, 9, 3), "float32", 1)
    size = {
        "window_dimensions": (1, 3, 3, 1),
        "window_strides": (1, 2, 2, 1),
        "padding": ((0, 0), (1, 1), (1, 0), (0, 0)),
    }

    def pooled(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, *size.values())

    np.testing.assert_array_equal(applied(RULES, pooled, x), pooled(x))
    source = np.round(numbers(pooled(x).shape, "float32", 2))
    params = {**size, "select_prim": lax.ge_p}
    (found,) = RULES["select_and_scatter_add"]((source, x), params)
    np.testing.assert_array_equal(found, jax.vjp(pooled, x)[1](source)[0])
    dilated = {**params, "base_dilation": (1,) * 4, "window_dilation": (1,) * 4}
    (tangent,) = RULES["select_and_gather_add"]((x, x), dilated)
    np.testing.assert_array_equal(tangent, pooled(x))


def test_sums_and_generic_reductions_are_those_of_jax():
    x = np.round(numbers((5, 40), "float32", 3))
    for function in (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 40), (1, 1), "SAME"),
        lambda x: lax.reduce_window(x, np.float32(3), lax.add, (2, 3), (2, 1), ((1, 1), (2, 0)), (2, 1), (1, 3)),
        lambda x: lax.reduce_window(x, np.float32(2), lax.max, (1, 3), (1, 2), "VALID"),
    ):
        np.testing.assert_array_equal(applied(RULES, function, x), function(x))
    scalar = jnp.float32(4)
    assert applied(RULES, lambda x: lax.reduce_window(x, np.float32(3), lax.add, (), (), ()), scalar) == 7


def test_integers_stay_and_the_unknown_is_refused():
    whole = np.arange(24).reshape(4, 6).astype("i4")
    out = applied(RULES, lambda x: lax.reduce_window(x, 0, lax.add, (2, 2), (1, 1), "VALID"), whole)
    np.testing.assert_array_equal(out, whole[:-1, :-1] + whole[1:, :-1] + whole[:-1, 1:] + whole[1:, 1:])
    x = numbers((4, 6), "float32", 4)
    with pytest.raises(KernelError, match=r"no reduce_window by this computation"):
        applied(RULES, lambda x: lax.reduce_window(x, np.float32(0), lambda a, b: a - b, (2, 2), (1, 1), "VALID"), x)
    with pytest.raises(KernelError, match=r"no select_and_scatter_add of int32"):
        RULES["select_and_scatter_add"]((whole, whole), {})
