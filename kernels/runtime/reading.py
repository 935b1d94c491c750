"""Inputs from a folder of `.safetensors`, `.npz` and `.json` files, merged by tensor name.

Everything here comes from outside: sizes are bounded before memory is taken, nothing is unpickled, and a malformed
file is one `InputError` that names it.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kernels.runtime.declared import Table
from kernels.runtime.errors import InputError
from kernels.runtime.json_tensors import JsonError, from_json, strict_json
from kernels.runtime.tensors import Array, Tensor, Text, numpy_dtype

SAFETENSORS = {
    "BF16": "bfloat16", "BOOL": "bool", "C64": "complex64", "F16": "float16", "F32": "float32", "F64": "float64",
    "I16": "int16", "I32": "int32", "I64": "int64", "I8": "int8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "U8": "uint8",
}  # fmt: skip
LONGEST_NPY_HEADER = 10_000
"""NumPy's own bound; the header is parsed as a Python literal."""


def read_folder(folder: Path, tables: Mapping[str, Table], limit: int) -> dict[str, Tensor]:
    """Read every input file of a folder; other files in it are refused, hidden ones ignored.

    Args:
        folder: where the files are.
        tables: the declared inputs; JSON needs them to know element types.
        limit: how many bytes the files, and the tensors in them, may have together.

    Raises:
        InputError: a file is malformed, too large or of another kind, or a name occurs twice.
    """
    origin: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name in _names(folder):
        reader = READERS.get(os.path.splitext(name)[1].lower())  # noqa: PTH122  # names may hold odd bytes
        if reader is None:
            raise InputError(
                f"{name} is no input file", hint=f"give inputs as {', '.join(READERS)} and keep other files elsewhere"
            )
        data = _bounded(folder / name, limit)
        try:
            found = reader(data, tables, limit)
        except InputError as fault:
            raise InputError(f"{name}: {fault.message}", hint=fault.hint) from fault
        limit = max(0, limit - max(len(data), sum(map(_bytes, found.values()))))
        for key, tensor in found.items():
            if key in tensors:
                raise InputError(f"{key!r} is in both {origin[key]} and {name}", hint="give each input once")
            tensors[key], origin[key] = tensor, name
    return tensors


def read_safetensors(data: bytes, tables: Mapping[str, Table], limit: int) -> dict[str, Tensor]:
    """Read a safetensors file's bytes; the library checks offsets, this checks what it lets pass."""
    from safetensors import SafetensorError, deserialize  # noqa: PLC0415

    del tables, limit  # typed by itself, and never larger than its file
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
        # The library keeps the last of two tensors with one name; two readings of one file are one too many.
        strict_json(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    except (SafetensorError, JsonError, struct.error, ValueError) as error:
        raise InputError(f"not a safetensors file ({error})") from error
    tensors: dict[str, Tensor] = {}
    for name, item in found:
        if item["dtype"] not in SAFETENSORS:
            raise InputError(f"{name!r} has element type {item['dtype']}, which no input can have")
        dtype = numpy_dtype(SAFETENSORS[item["dtype"]])
        tensors[name] = _checked(name, np.frombuffer(item["data"], dtype).reshape(item["shape"]))
    return tensors


def read_npz(data: bytes, tables: Mapping[str, Table], limit: int) -> dict[str, Tensor]:
    """Read an `.npz` file's bytes: a zip of `.npy` files."""
    import zipfile  # noqa: PLC0415 - only for these

    del tables
    tensors: dict[str, Tensor] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    raise InputError(f"{name!r} inside is no .npy file")
                if name in tensors:
                    raise InputError(f"{name!r} is in it twice")
                # The directory's sizes may lie, but the zip reader delivers no more than they say.
                if member.file_size > limit:
                    raise _too_large(limit)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{name!r} is compressed in a way that NumPy does not use")
                limit -= member.file_size
                with archive.open(member) as file:
                    tensors[name] = _npy(name, file, member.file_size)  # type: ignore[arg-type]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError, struct.error) as error:
        raise InputError(f"not a readable .npz file ({error})") from error
    return tensors


def read_json(data: bytes, tables: Mapping[str, Table], limit: int) -> dict[str, Tensor]:
    """Read a JSON object of name to nested lists; names that the spec doesn't declare can't be given a type."""
    del limit
    try:
        document = strict_json(data)
    except JsonError as error:
        raise InputError(f"not JSON ({error})") from error
    if not isinstance(document, dict):
        raise InputError("not a JSON object that maps input names to values")
    return {name: from_json(name, value, tables) for name, value in document.items()}


READERS: dict[str, Callable[[bytes, Mapping[str, Table], int], dict[str, Tensor]]] = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".json": read_json,
}


def _names(folder: Path) -> list[str]:
    try:
        return sorted((name for name in os.listdir(folder) if not name.startswith(".")), key=os.fsencode)  # noqa: PTH208
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error


def _bounded(path: Path, limit: int) -> bytes:
    try:
        # Without O_NONBLOCK a FIFO would be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path.name} is no regular file")
            # No more than there is: reading takes a buffer of what is asked for, whatever comes.
            data = file.read(min(status.st_size, limit) + 1)
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror}") from error
    if len(data) > limit:
        raise InputError(f"{path.name}: {_too_large(limit).message}", hint=_too_large(limit).hint)
    return data


def _too_large(limit: int) -> InputError:
    return InputError(
        f"more than {limit} bytes of inputs", hint="raise hardware.memory in the spec, which bounds all inputs together"
    )


def _npy(name: str, file: BinaryIO, size: int) -> Tensor:
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = header(file, max_header_size=LONGEST_NPY_HEADER)
    except (ValueError, KeyError) as error:
        raise InputError(f"{name!r} is no .npy file of version 1 or 2 ({error})") from error
    if dtype.kind not in "biufcU":
        raise InputError(
            f"{name!r} has element type {dtype}, which no input can have",
            hint="give bfloat16 as .safetensors" if dtype.kind == "V" else None,
        )
    if min(shape, default=0) < 0 or not dtype.itemsize:
        raise InputError(f"{name!r} says shape {list(shape)} of {dtype}, which nothing has")
    expected = math.prod(shape) * dtype.itemsize
    # Checked before memory is taken: a header of a few bytes can claim any shape.
    if expected > size:
        raise InputError(f"{name!r} says shape {list(shape)} of {dtype}, but holds less")
    data = file.read()
    if len(data) != expected:
        raise InputError(f"{name!r} says shape {list(shape)} of {dtype}, but holds {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape[::-1] if fortran else shape)
    array = array.T if fortran else array
    if dtype.kind == "U":
        return _text(name, array)
    return _checked(name, np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape))


def _text(name: str, array: Array) -> Text:
    # Decoded here: NumPy itself turns code points beyond Unicode into a SystemError.
    data, size = np.ascontiguousarray(array).tobytes(), array.dtype.itemsize
    codec = "utf-32-be" if array.dtype.str.startswith(">") else "utf-32-le"
    try:
        values = (data[start : start + size].decode(codec) for start in range(0, len(data), size))
        return Text(array.shape, tuple(value.rstrip("\0") for value in values))
    except UnicodeDecodeError as error:
        raise InputError(f"{name!r} holds text that is not Unicode") from error


def _checked(name: str, array: Array) -> Array:
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise InputError(f"{name!r} is bool but holds bytes other than 0 and 1")
    return array


def _bytes(tensor: Tensor) -> int:
    return sum(map(len, tensor.values)) * 4 if isinstance(tensor, Text) else tensor.nbytes
