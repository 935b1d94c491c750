"""The canonical tensor hash: vectors, a second implementation by the document's words, and what it must tell apart."""

import hashlib
import re
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.runtime.tensors import Text, describe, describe_all, little_endian, numpy_dtype

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["bfloat16", "float16", "float32", "float64", "complex64", "complex128"]


def by_the_book(name, dtype, shape, body):
    """docs/protocol.md, "Tensors", taken literally."""
    dimensions = ",".join(str(length) for length in shape)
    header = f'{{"dtype":"{dtype}","name":"{name}","shape":[{dimensions}]}}'.encode()
    return hashlib.sha256(struct.pack("<Q", len(header)) + header + body).hexdigest()


# The vectors of docs/protocol.md.
VECTORS = [
    ("x", np.array([1, -2.5], np.float32), "float32", [2], "0000803f000020c0"),
    ("scalar", np.array(7, np.int16), "int16", [], "0700"),
    ("empty", np.zeros((0, 3), np.uint8), "uint8", [0, 3], ""),
    ("flags", np.array([[True], [False]]), "bool", [2, 1], "0100"),
    ("half", np.array([1], ml_dtypes.bfloat16), "bfloat16", [1], "803f"),
    ("text", Text((2,), ("", "é")), "string", [2], "00000000000000000200000000000000c3a9"),
]


@pytest.mark.parametrize(("name", "tensor", "dtype", "shape", "body"), VECTORS)
def test_vectors(name, tensor, dtype, shape, body):
    expected = by_the_book(name, dtype, shape, bytes.fromhex(body))
    assert describe(name, tensor) == {"dtype": dtype, "shape": shape, "sha256": expected}


def test_the_document_has_these_vectors():
    text = (Path(__file__).parents[3] / "docs/protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `\w+` `\[.*\]` \| .* \| `([0-9a-f]{64})` \|$", text, re.MULTILINE)
    assert rows == [(name, describe(name, tensor)["sha256"]) for name, tensor, *_ in VECTORS]


def test_one_vector_in_full():
    """Made with printf and sha256sum, so that no code of this project takes part."""
    found = describe_all({"x": np.array([1, -2.5], np.float32)})
    assert found["tensors"]["x"]["sha256"] == "0f23ef226ea3b0ce21ea68fe1479436648e65a1b23fc4132f4d701c79d4e5ec4"
    assert found["sha256"] == "d94b2a9df320a5e745fa0d760219891ed820cc08fe7b78b8bfcf0f1dace240b8"


@given(
    hnp.arrays(st.sampled_from([">f4", "<f4", ">i8", "<u2", "|i1", ">c8"]), hnp.array_shapes(min_dims=0, min_side=0))
)
def test_layout_in_memory_does_not_matter(array):
    plain = array.astype(array.dtype.newbyteorder("<"), order="C")
    expected = by_the_book("a", array.dtype.name, array.shape, plain.tobytes())
    strided = np.repeat(array, 2, axis=0)[::2] if array.ndim else array
    for same in (array, np.asarray(array, order="F"), strided):
        assert describe("a", same)["sha256"] == expected


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_has_its_name_and_bytes(name):
    array = np.arange(6).astype(numpy_dtype(name)).reshape(2, 3)
    found = describe("a", array.T)
    assert found == {"dtype": name, "shape": [3, 2], "sha256": found["sha256"]}
    assert found["sha256"] == by_the_book("a", name, [3, 2], np.ascontiguousarray(array.T).tobytes())
    assert little_endian(array).flags.c_contiguous


def test_what_differs_hashes_apart():
    zero = np.zeros(2, np.float32)
    nan = np.array([0x7FC00000, 0], np.uint32).view(np.float32)
    different = [
        ("x", zero),
        ("y", zero),
        ("x", -zero),
        ("x", zero.astype(np.float16)),
        ("x", zero.view(np.int32)),
        ("x", zero.reshape(1, 2)),
        ("x", zero.reshape(2, 1)),
        ("x", nan),
        ("x", np.array([0x7FC00001, 0], np.uint32).view(np.float32)),
        ("x", Text((2,), ("ab", "c"))),
        ("x", Text((2,), ("a", "bc"))),
        ("x", Text((1, 2), ("a", "bc"))),
        ("x", np.zeros((0, 2), np.float32)),
        ("x", np.zeros((2, 0), np.float32)),
    ]
    assert len({describe(name, tensor)["sha256"] for name, tensor in different}) == len(different)


def test_text_nests():
    assert Text((), ("a",)).nested() == "a"
    assert Text((2,), ("a", "b")).nested() == ["a", "b"]
    assert Text((2, 2), ("a", "b", "c", "d")).nested() == [["a", "b"], ["c", "d"]]
    assert Text((2, 0), ()).nested() == [[], []]
    assert Text((0, 2), ()).nested() == []
