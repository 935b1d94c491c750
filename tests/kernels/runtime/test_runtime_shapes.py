"""Holding tensors to their declarations."""

import numpy as np

from kernels.runtime.declared import Table
from kernels.runtime.shapes import mismatches
from kernels.runtime.tensors import Text

TABLES = {
    "ids": Table("int32", ("batch", "length")),
    "mask": Table("int32", ("batch", "length")),
    "text": Table("string", ()),
}
GOOD = {"ids": np.zeros((2, 3), np.int32), "mask": np.zeros((2, 3), np.int32), "text": Text((), ("",))}


def test_what_fits_binds_the_names():
    bound = {}
    assert mismatches(GOOD, TABLES, bound) == []
    assert bound == {"batch": 2, "length": 3}


def test_every_mismatch_is_named():
    tensors = {"ids": np.zeros((2, 3), np.int64), "maks": np.zeros(1), "text": Text((1,), ("",))}
    assert mismatches(tensors, TABLES, {}) == [
        "'mask' (int32 [batch, length]) is missing",
        "'maks' is not declared; did you mean 'mask'?",
        "'ids' is int64, not int32",
        "'text' has shape [1], which is not of the form string []",
    ]


def test_one_name_is_one_length():
    tensors = GOOD | {"mask": np.zeros((2, 4), np.int32)}
    assert mismatches(tensors, TABLES, {}) == ["'mask' has length 4 along axis 1, but 'length' is 3 elsewhere"]
    assert mismatches(GOOD, TABLES, {"batch": 5})[0] == "'ids' has length 2 along axis 0, but 'batch' is 5 elsewhere"


def test_fixed_lengths():
    found = mismatches({"x": np.zeros((1, 8))}, {"x": Table("float64", ("n", 9))}, {})
    assert found == ["'x' has length 8 along axis 1, not 9"]
