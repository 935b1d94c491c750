"""Input files: what each format gives, and what a hostile one gets."""

import contextlib
import io
import json
import os
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from kernels.runtime.declared import Table
from kernels.runtime.errors import InputError
from kernels.runtime.reading import read_folder, read_json, read_npz, read_safetensors
from kernels.runtime.tensors import Text

TABLES = {"x": Table("float32", ("n",)), "text": Table("string", ("n",))}
LIMIT = 1 << 20


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(header, body=b"", version=b"\x01\x00"):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body


def zipped(*members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_generous_limit_costs_no_memory(source):
    (source / "x.json").write_text('{"x": [0.5]}')
    assert read_folder(source, TABLES, 1 << 60)["x"] == [0.5]


def test_a_folder_is_merged_by_name(source):
    (source / "a.safetensors").write_bytes(save({"a": np.float32([1, 2]), "b": np.int8([[3]])}))
    (source / "b.npz").write_bytes(npz(c=np.array([True, False]), d=np.array(["ä", ""])))
    (source / "c.JSON").write_text('{"x": [0.5], "text": ["hé"]}', encoding="utf-8")
    (source / ".hidden").write_bytes(b"left alone")
    found = read_folder(source, TABLES, LIMIT)
    assert sorted(found) == ["a", "b", "c", "d", "text", "x"]
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == [[3]]
    assert found["c"].tolist() == [True, False]
    assert found["d"] == Text((2,), ("ä", ""))
    assert found["text"] == Text((1,), ("hé",))
    assert found["x"].tolist() == [0.5]


def test_a_name_in_two_files_is_refused(source):
    (source / "1.json").write_text('{"x": [1]}')
    (source / "2.npz").write_bytes(npz(x=np.float32([1])))
    with pytest.raises(InputError, match=r"'x' is in both 1.json and 2.npz"):
        read_folder(source, TABLES, LIMIT)


@pytest.mark.parametrize("name", ["x.txt", "x", "x.npy", "x.pt"])
def test_other_files_are_refused(source, name):
    (source / name).write_bytes(b"")
    with pytest.raises(InputError, match="is no input file"):
        read_folder(source, TABLES, LIMIT)


def test_what_is_not_a_file_is_refused(source):
    os.mkfifo(source / "x.json")  # opened without care, this would wait for ever
    with pytest.raises(InputError, match="no regular file"):
        read_folder(source, TABLES, LIMIT)
    (source / "x.json").unlink()
    (source / "x.json").mkdir()
    with pytest.raises(InputError, match=r"x\.json"):
        read_folder(source, TABLES, LIMIT)


def test_a_folder_that_is_a_file(source):
    (source / "x").write_bytes(b"")
    with pytest.raises(InputError, match="Not a directory"):
        read_folder(source / "x", TABLES, LIMIT)


def test_all_files_together_are_bounded(source):
    (source / "1.safetensors").write_bytes(save({"a": np.zeros(600, np.uint8)}))
    (source / "2.safetensors").write_bytes(save({"b": np.zeros(600, np.uint8)}))
    assert len(read_folder(source, TABLES, 1600)) == 2
    with pytest.raises(InputError, match=r"2.safetensors: more than \d+ bytes"):
        read_folder(source, TABLES, 1200)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\:"), min_size=1, max_size=8)
ARRAYS = hnp.arrays(
    st.sampled_from(["bool", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64", "complex64"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(st.dictionaries(NAMES, ARRAYS, max_size=3))
def test_safetensors_and_npz_give_what_was_saved(arrays):
    for found in (read_safetensors(save(arrays), {}, LIMIT), read_npz(npz_of(arrays), {}, LIMIT)):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes()


def npz_of(arrays):
    members = []
    for name, array in arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, array, allow_pickle=False)
        members.append((f"{name}.npy", file.getvalue()))
    return zipped(*members)


def test_npz_layouts():
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    found = read_npz(
        npz(
            save=np.savez_compressed,
            big=array,
            fortran=np.asfortranarray(array),
            scalar=np.int8(3),
            text=np.array([["é", ""]], ">U3"),
        ),
        {},
        LIMIT,
    )
    assert found["big"].tolist() == found["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["big"].dtype == found["fortran"].dtype == np.dtype("int32")
    assert found["scalar"].shape == ()
    assert found["text"] == Text((1, 2), ("é", ""))


def test_safetensors_hold_bfloat16():
    array = np.array([1, -0.5], ml_dtypes.bfloat16)
    found = read_safetensors(save({"a": array}), {}, LIMIT)["a"]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


ONE = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 8, "not a safetensors file"),
        (struct.pack("<Q", 1 << 62) + b"{}", "not a safetensors file"),
        (safetensors(b"{"), "not a safetensors file"),
        (safetensors({"a": ONE}), "not a safetensors file"),
        (safetensors({"a": ONE}, b"12"), "not a safetensors file"),
        (safetensors({"a": ONE | {"shape": [2]}}, b"1"), "not a safetensors file"),
        (safetensors({"a": ONE | {"shape": [1 << 40, 1 << 40]}}, b"1"), "not a safetensors file"),
        (safetensors({"a": ONE, "b": ONE}, b"1"), "not a safetensors file"),
        (safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(ONE).encode(),) * 2), b"1"), "'a' occurs twice"),
        (safetensors({"a": ONE | {"dtype": "F8_E4M3"}}, b"1"), "element type F8_E4M3"),
        (safetensors({"a": ONE | {"dtype": "BOOL"}}, b"\x02"), "bool but holds bytes other than 0 and 1"),
    ],
)
def test_hostile_safetensors(data, reason):
    with pytest.raises(InputError, match=reason):
        read_safetensors(data, {}, LIMIT)


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a readable .npz file"),
        (b"PK\x03\x04", "not a readable .npz file"),
        (npz(x=np.float32([1]))[:-30], "not a readable .npz file"),
        (zipped(("x.npy", b"")), "no .npy file of version 1 or 2"),
        (zipped(("x.txt", b"")), "is no .npy file"),
        (zipped(("x.npy", npy(GOOD, b"1234", b"\x03\x00"))), "no .npy file of version 1 or 2"),
        (zipped(("x.npy", npy(GOOD, b"123"))), "holds less|holds 3 bytes"),
        (zipped(("x.npy", npy(GOOD, b"12345"))), "holds 5 bytes"),
        (zipped(("x.npy", npy(GOOD.replace("1,", "-1,-1,"), b"1234"))), "which nothing has"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "|O"), b"1234"))), "element type object"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "|S4"), b"1234"))), "element type"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "<V2"), b"12"))), "element type"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "<U0"), b""))), "which nothing has"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "<M8[s]"), b"12345678"))), "element type"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "<U1"), b"\xff\xff\xff\xff"))), "not Unicode"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "<U1"), b"\x00\xd8\x00\x00"))), "not Unicode"),
        (zipped(("x.npy", npy(GOOD.replace("<f4", "|b1"), b"\x02"))), "other than 0 and 1"),
        (zipped(("x.npy", npy("__import__('os').abort()"))), "no .npy file"),
        (zipped(("x.npy", b"1" * 100), method=zipfile.ZIP_LZMA), "compressed in a way"),
    ],
)
def test_hostile_npz(data, reason):
    with pytest.raises(InputError, match=reason):
        read_npz(data, {}, LIMIT)


def test_a_name_twice_in_one_npz():
    member = ("x.npy", npy(GOOD, b"1234"))
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(member, member)
    with pytest.raises(InputError, match="is in it twice"):
        read_npz(data, {}, LIMIT)


def test_an_npz_bomb_is_refused_before_it_opens():
    data = npz(save=np.savez_compressed, x=np.zeros(4 * LIMIT, np.uint8))
    assert len(data) < LIMIT
    with pytest.raises(InputError, match="more than"):
        read_npz(data, {}, LIMIT)


def test_an_npz_whose_directory_lies_is_refused():
    """Says 132 bytes, inflates to a megabyte: the reader stops at what was said, and the check sum tells."""
    data = bytearray(zipped(("x.npy", npy(GOOD, b"\0" * 1000000)), method=zipfile.ZIP_DEFLATED))
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 132)
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        read_npz(bytes(data), {}, LIMIT)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_get_a_foreign_exception(data):
    for read in (read_json, read_npz, read_safetensors):
        for variant in (data, b'{"x": ' + data, safetensors(data), zipped(("x.npy", b"\x93NUMPY\x01\x00" + data))):
            with contextlib.suppress(InputError):
                read(variant, TABLES, LIMIT)


@given(st.data())
def test_no_flipped_byte_gets_a_foreign_exception(data):
    whole = data.draw(
        st.sampled_from(
            [npz(x=np.float32([1, 2])), npz(np.savez_compressed, x=np.array(["ab"])), save({"x": np.eye(2)})]
        )
    )
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    for read in (read_npz, read_safetensors):
        with contextlib.suppress(InputError):
            read(changed, TABLES, LIMIT)
