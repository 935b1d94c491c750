"""Tensors out of JSON: exactly what was declared, or a sentence that says why not."""

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runtime.declared import Table
from kernels.runtime.errors import InputError
from kernels.runtime.json_tensors import JsonError, from_json, strict_json
from kernels.runtime.tensors import Text


def make(value, dtype, *shape):
    return from_json("x", value, {"x": Table(dtype, shape)})


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (True, "bool", ()),
        ([True, False], "bool", ("n",)),
        ([[1, 2], [3, 4]], "int8", (2, "n")),
        ([255], "uint8", (1,)),
        ([2**63 - 1, -(2**63)], "int64", (2,)),
        ([2**64 - 1], "uint64", (1,)),
        ([3.0, 1e2], "int32", (2,)),
        ([0.1, 16777216, -0.0], "float32", (3,)),
        (1.5, "float16", ()),
        ([1e308, 5e-324], "float64", (2,)),
    ],
)
def test_numbers(value, dtype, shape):
    found = make(value, dtype, *shape)
    assert found.dtype.name == dtype
    assert found.tobytes() == np.array(value).astype(dtype).tobytes()


def test_a_number_is_rounded_twice_as_documented():
    # docs/protocol.md: decimal to binary64, then to the declared type, both to nearest even. This decimal lies just
    # above the middle of 1 and the next binary32; by way of binary64 it becomes the middle, and so 1.
    assert make(1.00000005960464477539062500001, "float32") == np.float32(1)
    assert make(1.0039062500001, "bfloat16") == ml_dtypes.bfloat16(1)
    assert make(2**-8 + 1 + 2**-23, "bfloat16") == ml_dtypes.bfloat16(1.0078125)


def test_text():
    assert make("é", "string") == Text((), ("é",))
    assert make([["a"], ["b"]], "string", "n", 1) == Text((2, 1), ("a", "b"))


@pytest.mark.parametrize(
    ("value", "shape", "found"),
    [([], ("n",), (0,)), ([], ("n", 384), (0, 384)), ([], ("n", "m"), (0, 0)), ([[], []], ("n", "m"), (2, 0))],
)
def test_empty_lists(value, shape, found):
    assert make(value, "float32", *shape).shape == found
    assert make(value, "string", *shape).shape == found


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "reason"),
    [
        (1, "bool", (), "write true or false"),
        (True, "int8", (), "true is no number"),
        (None, "float32", (), "null is no number"),
        ("1", "float32", (), '"1" is no number'),
        ([1, [2]], "float32", ("n",), r"\[2\] is no number"),
        ({"a": 1}, "float32", (), "is no number"),
        (128, "int8", (), "128 is not one"),
        (-1, "uint64", (), "-1 is not one"),
        (2**63, "int64", (), "is not one"),
        (1.5, "int32", (), "1.5 is not one"),
        (float("inf"), "int32", (), "is not one"),
        (float("inf"), "float32", (), "out of its range"),
        (10**400, "float64", (), "out of its range"),
        (3.5e38, "float32", (), "out of its range"),
        (65520, "float16", (), "out of its range"),
        (16777217, "float32", (), "exactly"),
        (2**53 + 1, "float64", (), "exactly"),
        (257, "bfloat16", (), "exactly"),
        (1, "complex64", (), "JSON can't hold"),
        (1, "string", (), "1 is none"),
        ("\ud800", "string", (), "surrogate"),
        ([1, 2], "float32", (), "nested too deeply"),
        ([[1]], "float32", ("n",), "nested too deeply"),
        (1, "float32", ("n",), "0 dimensions"),
        ([1], "float32", ("n", "m"), "1 dimensions"),
        ([[1], [2, 3]], "float32", ("n", "m"), "not rectangular"),
        ([[1], 2], "float32", ("n", "m"), "not rectangular"),
        ([[], [1]], "float32", ("n", "m"), "not rectangular"),
        ([[1], []], "float32", ("n", "m"), "not rectangular"),
        ([["a"], "b"], "string", ("n", 1), "not rectangular"),
    ],
)
def test_what_does_not_fit_is_refused(value, dtype, shape, reason):
    with pytest.raises(InputError, match=reason):
        make(value, dtype, *shape)


def test_an_undeclared_name_is_refused_with_the_closest():
    with pytest.raises(InputError, match="did you mean 'text'"):
        from_json("txet", 1, {"text": Table("string", ())})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b"[Infinity]",
        b"-Infinity",
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"1" * 5_000,
        b'"\x00"',
        b"01",
    ],
)
def test_not_json(data):
    with pytest.raises(JsonError):
        strict_json(data)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_float32_survives_its_shortest_decimal(values):
    text = "[" + ",".join(repr(value) for value in values) + "]"
    assert make(strict_json(text.encode()), "float32", "n").tobytes() == struct.pack(f"<{len(values)}f", *values)
