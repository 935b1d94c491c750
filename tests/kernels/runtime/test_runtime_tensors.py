"""The canonical hash of any tensor, and what it must tell apart; `test_runtime_vectors` holds it to its vectors."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.runtime.tensors import Text, describe, little_endian, numpy_dtype

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["bfloat16", "float16", "float32", "float64", "complex64", "complex128"]


def by_the_book(name, dtype, shape, body):
    """docs/protocol.md, "Tensors", taken literally."""
    dimensions = ",".join(str(length) for length in shape)
    header = f'{{"dtype":"{dtype}","name":"{name}","shape":[{dimensions}]}}'.encode()
    return hashlib.sha256(struct.pack("<Q", len(header)) + header + body).hexdigest()


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
