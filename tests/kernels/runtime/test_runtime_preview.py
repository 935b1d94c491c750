"""What people see of a result."""

import ml_dtypes
import numpy as np
import pytest

from kernels.runtime.preview import LONGEST, WIDTH, preview

UNIT = np.random.default_rng(0).normal(size=(2, 384)).astype(np.float32) / 20


def test_a_matrix_of_embeddings():
    assert f"embedding = {preview('embedding', UNIT)}" == (
        "embedding = [[ 0.0062865107 , -0.006605243  , ..., -0.04332537   ,  0.0061272047 ],\n"
        "             [-0.03980434   , -0.024360906  , ...,  0.00044306638, -0.009863998  ]]"
    )


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32(0.1), "0.1"),
        (np.int64(-3), "-3"),
        (np.array([7, 9, 4]), "[7, 9, 4]"),
        (np.arange(1000), "[  0,   1,   2,   3,   4,   5, ..., 994, 995, 996, 997, 998, 999]"),
        (np.zeros((0, 3), np.float32), "[]"),
        (np.array([True, False]), "[ True, False]"),
        (np.array([1 - 2j], np.complex64), "[1.-2.j]"),
        (np.array([np.nan, -np.inf, -0.0], np.float32), "[ nan, -inf,  -0.]"),
        (np.array([0.1, 3], ml_dtypes.bfloat16), "[0.100098, 3]"),
        (np.array([[1, 2], [3, 4]], np.uint8), "[[1, 2],\n     [3, 4]]"),
    ],
)
def test_texts(array, text):
    assert preview("y", np.asarray(array)) == text


def test_float32_values_come_back():
    values = UNIT[0, :40].reshape(-1, 2)
    shown = preview("y", values)
    first = np.array(shown.splitlines()[0].strip("[], ").split(","), np.float32)
    assert first.tobytes() == values[0].tobytes()


@pytest.mark.parametrize("dtype", ["float64", "int8", "complex64"])
@pytest.mark.parametrize("length", [1, 2, 3, 20])
@pytest.mark.parametrize("rank", range(9))
def test_it_stays_short(rank, length, dtype):
    shape = (length,) * min(rank, 3) + (2,) * (rank - 3)
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    text = preview("name", array)
    assert len(text) <= LONGEST
    assert rank > 3 or max(map(len, f"name = {text}".splitlines())) <= WIDTH


def test_a_kernel_can_not_change_how_it_looks():
    expected = preview("embedding", UNIT)
    with np.printoptions(precision=1, threshold=5, formatter={"all": lambda value: "?"}, legacy="1.13"):
        assert preview("embedding", UNIT) == expected
