import jax
import numpy as np
import pytest
from agreement import DTYPES, QUICK, SHAPES, applied, assert_one_value, bits, every, numbers
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.order import RULES


@given(
    data=st.data(),
    shape=SHAPES.filter(len),
    dtypes=st.lists(st.sampled_from([*DTYPES, "int32", "uint8", "int64", "bool"]), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    special=st.sampled_from([0, 0.05, 0.5, 1]),
)
@QUICK
def test_any_operands_keys_and_dimension(data, shape, dtypes, seed, special):
    axis = data.draw(st.sampled_from(range(len(shape))))
    keys = data.draw(st.integers(1, len(dtypes)))
    operands = []
    for i, dtype in enumerate(dtypes):
        many = numbers(tuple(shape), dtype if dtype in DTYPES else "float32", seed + i, special)
        operands.append(many if dtype in DTYPES else (np.nan_to_num(many, posinf=9, neginf=-9) % 5).astype(dtype))

    def function(*operands):
        out = RULES["sort"](operands, {"dimension": axis, "num_keys": keys, "is_stable": False})
        k = min(3, shape[axis])
        return out + [RULES["top_k"]((x,), {"k": k, "axis": axis}) for x in operands]

    assert_one_value(every(function, *operands))


@pytest.mark.parametrize("dtype", [*DTYPES, "int16", "uint32", "int64"])
@pytest.mark.parametrize("length", [63, 1023, 1024, 100_003])
def test_long_lines_are_those_of_a_stable_sort(dtype, length):
    x = numbers((length,), dtype if dtype in DTYPES else "float64", 1, 0.01)
    if dtype not in DTYPES:
        x = np.clip(np.nan_to_num(x), -100, 100).astype(dtype)
    place = np.arange(length, dtype="i4")
    keys = np.asarray(x, "f8") if dtype in DTYPES else x
    expected = np.argsort(keys, kind="stable")  # NumPy: NaN last, zeros equal
    with jax.enable_x64(True):
        value, order = applied(RULES, lambda *x: lax.sort(x, num_keys=1), x, place)
        greatest, at = applied(RULES, lambda x: lax.top_k(x, 7), x)
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(bits(value), bits(x[expected]))
    nan = np.isnan(keys)
    known = sorted(range(length), key=lambda i: (not nan[i], 0 if nan[i] else -keys[i].item()))[:7]
    assert list(at) == known
    np.testing.assert_array_equal(bits(greatest), bits(x[known]))


def test_zeros_are_equal_nans_last_and_bits_kept():
    x = np.array([0x80000000, 0, 0xFFC00001, 0x7F800000, 0x7FC00002, 1, 0x80000001, 0x80000000], "u4").view("f4")
    out = applied(RULES, lax.sort, x)
    assert [hex(one) for one in bits(out)] == [
        *("0x80000001", "0x80000000", "0x0", "0x80000000", "0x1", "0x7f800000", "0xffc00001", "0x7fc00002")
    ]


def test_keys_that_have_no_order_are_refused():
    z = np.array([1 + 2j, 3j], "c8")
    with pytest.raises(KernelError, match=r"no sort by complex64"):
        RULES["sort"]((z,), {"num_keys": 1, "dimension": 0})
    with pytest.raises(KernelError, match=r"no top_k by float8_e4m3fn"):
        RULES["top_k"]((jax.numpy.ones(3, "float8_e4m3fn"),), {"k": 1, "axis": 0})
