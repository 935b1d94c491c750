"""Files of outputs come from hosts that may be hostile: what is accepted, and what is refused in one sentence."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from compare_samples import SIZES, container, tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from builder.errors import IntegrityError, UsageError
from builder.harness.compare.container import LARGEST_HEADER, Container, outputs_file
from builder.harness.compare.formats import FORMATS

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outputs.safetensors"


def test_what_the_library_writes_is_read(file: Path) -> None:
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array(7, np.int64),
        "none": np.zeros((0, 5), np.float16),
        "z": np.array([1 + 2j], np.complex64),
    }
    file.write_bytes(save(arrays, metadata={"made": "somewhere"}))
    with Container(file) as found:
        assert list(found.tensors) == ["a", "b", "none", "z"]
        for name, array in arrays.items():
            tensor, target = found.tensors[name], bytearray(array.nbytes)
            assert (tensor.format.name, tensor.shape, tensor.elements) == (array.dtype.name, array.shape, array.size)
            found.read_into(tensor, 0, target)
            assert target == array.tobytes()
        assert found.element(found.tensors["b"], 4) == struct.pack("<f", 4)


def test_types_are_the_protocols(file: Path) -> None:
    document = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    assert "element types `BOOL`, `U8`…`U64`, `I8`…`I64`, `F16`, `BF16`, `F32`, `F64`, `C64`" in document
    assert {name: form.size for name, form in FORMATS.items()} == SIZES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "shorter than a header's length"),
        (b"\x02\0\0\0\0\0\0", "shorter than a header's length"),
        (struct.pack("<Q", 2**63) + b"{}", f"more than {LARGEST_HEADER}"),
        (struct.pack("<Q", LARGEST_HEADER + 1) + b"{}", f"more than {LARGEST_HEADER}"),
        (struct.pack("<Q", 3) + b"{}", "goes beyond its end"),
        (container(b""), "no JSON object"),
        (container(b" {}"), "no JSON object"),
        (container([]), "no JSON object"),
        (container(b'{"a":'), "not JSON"),
        (container(b'{"a":' + b"[" * 200_000), "not JSON"),
        (container(b'{"a":\xff}'), "not JSON"),
        (container(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'), "twice"),
        (container(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "twice"),
        (container(b'{"a":NaN}'), "not JSON"),
        (container(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "not Unicode"),
        (container({"a": []}), "dtype, shape and data_offsets"),
        (container({"a": ONE | {"extra": 1}}, b"1234"), "dtype, shape and data_offsets"),
        (container({"a": {"dtype": "F32", "shape": [1]}}, b"1234"), "dtype, shape and data_offsets"),
        (container({"a": ONE | {"dtype": "F8_E5M2"}}, b"1234"), "which no output can have"),
        (container({"a": ONE | {"dtype": ["F32"]}}, b"1234"), "which no output can have"),
        (container({"a": ONE | {"shape": [-1]}}, b"1234"), "no lists of whole numbers"),
        (container({"a": ONE | {"shape": [1.0]}}, b"1234"), "no lists of whole numbers"),
        (container({"a": ONE | {"shape": [True]}}, b"1234"), "no lists of whole numbers"),
        (container({"a": ONE | {"shape": [2**53, 0], "data_offsets": [0, 0]}}), "no lists of whole numbers"),
        (container({"a": ONE | {"data_offsets": [0, 4, 8]}}, b"1234"), "no lists of whole numbers"),
        (container({"a": ONE | {"data_offsets": [4, 0]}}, b"1234"), "where its shape needs 4"),
        (container({"a": ONE | {"shape": [2**40, 2**40]}}, b"1234"), "where its shape needs"),
        (container({"a": ONE}, b"123"), "the file at"),
        (container({"a": ONE}, b"12345"), "the file at"),
        (container({}, b"1"), "the file at"),
        (container({"a": ONE, "b": ONE}, b"1234"), "does not begin where the one before it ends"),
        (container({"a": ONE, "b": ONE | {"data_offsets": [2, 6]}}, b"123456"), "does not begin where"),
        (container({"a": ONE, "b": ONE | {"data_offsets": [5, 9]}}, b"123456789"), "does not begin where"),
        (container({"a": ONE | {"data_offsets": [4, 8]}}, b"12345678"), "does not begin where"),
    ],
)
def test_malformed_files_are_refused(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match="not a file of outputs") as caught:
        Container(file)
    assert said in caught.value.message
    assert caught.value.where == str(file)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(container, st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["F32", "dtype"]),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner),
            max_leaves=12,
        ), st.binary(max_size=9)),
    )
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_only_one_error_escapes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        with Container(file) as found:
            assert 8 + sum(tensor.size for tensor in found.tensors.values()) <= len(content)
    except IntegrityError:
        pass


def test_a_header_at_the_bound_is_read_within_bounded_memory(file: Path) -> None:
    file.write_bytes(container(b"{}" + b" " * (LARGEST_HEADER - 2)))
    with Container(file) as found:
        assert not found.tensors


def test_a_file_cut_short_meanwhile_is_an_error_not_a_crash(file: Path) -> None:
    file.write_bytes(tensors({"x": ("U8", [4096], bytes(4096))}))
    with Container(file) as found:
        os.truncate(file, 2048)
        with pytest.raises(IntegrityError, match="cut short"):
            found.read_into(found.tensors["x"], 0, bytearray(4096))


def test_neither_fifo_nor_link_nor_folder_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "outputs.safetensors"
    with pytest.raises(UsageError, match="no outputs here"):
        Container(outputs_file(tmp_path))
    os.mkfifo(file)
    with pytest.raises(UsageError, match="regular"):
        Container(outputs_file(tmp_path))
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="no outputs here"):
        Container(outputs_file(tmp_path))
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match="regular"):
        Container(outputs_file(tmp_path))


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(tensors({"x": ("U8", [1], b"1")}))
    (tmp_path / "link").symlink_to("real")
    with Container(outputs_file(tmp_path / "link")) as found:
        assert list(found.tensors) == ["x"]
