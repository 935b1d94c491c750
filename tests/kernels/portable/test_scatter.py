import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import DTYPES, QUICK, applied, assert_one_value, bits, every, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.scatter import RULES

FUNCTIONS = (lax.scatter, lax.scatter_add, lax.scatter_sub, lax.scatter_mul, lax.scatter_max, lax.scatter_min)
CASES = {
    "rows": ((7, 5), (9, 1), (9, 5), lax.ScatterDimensionNumbers((1,), (0,), (0,))),
    "elements": ((7, 5), (9, 2), (9,), lax.ScatterDimensionNumbers((), (0, 1), (0, 1))),
    "windows": ((7, 5), (4, 2), (4, 3, 2), lax.ScatterDimensionNumbers((1, 2), (), (0, 1))),
    "columns": ((7, 5), (6, 1), (7, 6), lax.ScatterDimensionNumbers((0,), (1,), (1,))),
    "swapped": ((7, 5), (6, 2), (3, 6, 2), lax.ScatterDimensionNumbers((0, 2), (), (1, 0))),
    "batched": ((3, 7, 4), (3, 5, 1), (3, 5, 4), lax.ScatterDimensionNumbers((2,), (1,), (1,), (0,), (0,))),
    "one": ((6,), (1,), (2,), lax.ScatterDimensionNumbers((0,), (), (0,))),
    "nowhere": ((7, 5), (0, 1), (0, 5), lax.ScatterDimensionNumbers((1,), (0,), (0,))),
    "large": ((50, 40), (1000, 1), (1000, 40), lax.ScatterDimensionNumbers((1,), (0,), (0,))),
}


@given(
    case=st.sampled_from(list(CASES)),
    dtype=st.sampled_from(DTYPES),
    index=st.sampled_from(["int32", "int64", "uint8", "uint32", "uint64", "int8"]),
    mode=st.sampled_from([lax.GatherScatterMode.CLIP, lax.GatherScatterMode.FILL_OR_DROP]),
    seed=st.integers(0, 99),
    special=st.sampled_from([0, 0.2]),
)
@settings(QUICK, max_examples=24)
def test_any_updates(*, case, dtype, index, mode, seed, special):
    shape, places, given_shape, numbers_ = CASES[case]
    low = 0 if index.startswith("u") else -2
    indices = np.random.default_rng(seed).integers(low, 8, places).astype(index)
    if index == "uint64" and indices.size:
        indices.flat[0] = 2**64 - 1
    operand, updates = numbers(shape, dtype, seed, special), numbers(given_shape, dtype, seed + 1, special)

    def function(*args):
        return [applied(RULES, lambda *x, f=f: f(*x, numbers_, mode=mode), *args) for f in FUNCTIONS]

    with jax.enable_x64(True):
        found = every(function, operand, indices, updates)
        assert_one_value(found)
        if mode == lax.GatherScatterMode.FILL_OR_DROP and special == 0 and dtype == "float64" and index == "int64":
            for f, ours in list(zip(FUNCTIONS, found[0], strict=True))[1:]:
                np.testing.assert_allclose(ours, f(operand, indices, updates, numbers_, mode=mode), rtol=1e-9)


def test_updates_of_one_element_are_applied_in_order():
    operand, indices = np.zeros(3, "f4"), np.array([[1], [1], [1], [5]], "i4")
    updates = np.array([2**24, 1, 1, 9], "f4")
    numbers_ = lax.ScatterDimensionNumbers((), (0,), (0,))
    out = applied(RULES, lambda *x: lax.scatter_add(*x, numbers_), operand, indices, updates)
    assert out.tolist() == [0, 2**24, 0]
    reverse = applied(RULES, lambda *x: lax.scatter_add(*x, numbers_), operand, indices, updates[[1, 2, 0, 3]])
    assert reverse.tolist() == [0, 2**24 + 2, 0]
    last = applied(RULES, lambda *x: lax.scatter(*x, numbers_), operand, indices, updates)
    assert last.tolist() == [0, 1, 0]


def test_narrow_sums_are_rounded_once():
    indices = np.zeros((300, 1), "i4")
    numbers_ = lax.ScatterDimensionNumbers((), (0,), (0,))
    ones = jnp.ones(300, "bfloat16")
    out = applied(RULES, lambda *x: lax.scatter_add(*x, numbers_), jnp.zeros(1, "bfloat16"), indices, ones)
    assert float(out[0]) == 300  # one by one in bfloat16 it would stay at 256


def test_replacing_moves_bits_of_any_type():
    numbers_ = lax.ScatterDimensionNumbers((), (0,), (0,))
    indices = np.array([[2], [0], [2]], "i4")
    for dtype in ("bool", "int8", "uint16", "int32", "complex64", "float32"):
        updates = np.array([1, 0, 1]).astype(dtype)
        out = applied(RULES, lambda *x: lax.scatter(*x, numbers_), np.zeros(3, dtype), indices, updates)
        np.testing.assert_array_equal(out, np.array([0, 0, 1]).astype(dtype))
    nan = np.array([0x7FA00001], "u4").view("f4")
    out = applied(RULES, lambda *x: lax.scatter(*x, numbers_), nan, np.array([[3]], "i4"), nan)
    assert bits(out) == 0x7FA00001


def test_integers_complex_numbers_and_refusals():
    numbers_ = lax.ScatterDimensionNumbers((), (0,), (0,))
    indices = np.array([[1], [1]], "i4")
    whole = applied(RULES, lambda *x: lax.scatter_add(*x, numbers_), np.ones(2, "i4"), indices, np.ones(2, "i4"))
    assert whole.tolist() == [1, 3]
    z = np.array([1 + 2j, 3j], "c8")
    assert applied(RULES, lambda *x: lax.scatter_add(*x, numbers_), z, indices, z).tolist() == [1 + 2j, 1 + 8j]
    with pytest.raises(KernelError, match=r"no scatter-mul of complex64"):
        applied(RULES, lambda *x: lax.scatter_mul(*x, numbers_), z, indices, z)
    with pytest.raises(KernelError, match=r"function of one's own"):
        RULES["scatter"]((z, indices, z), {"update_jaxpr": object()})
