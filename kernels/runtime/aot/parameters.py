"""A kernel's parameters as bytes in its image: found in the weights as they are, or written beside the programs.

Nodes map them into memory and hand them to XLA where they stand, so no `load` runs there and programs of several shapes
share one copy. XLA reads memory in place if it begins at a multiple of 64 bytes, and copies it otherwise.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from kernels.runtime.aot.manifest import FOLDER, Parameter
from kernels.runtime.errors import KernelError
from kernels.runtime.tensors import Array, little_endian, numpy_dtype

FILE: Final = "parameters.bin"
ALIGNMENT: Final = 64
SMALLEST: Final = 4096
"""Bytes from which on it is worth looking for a parameter in the weights."""
_PROBE: Final = 512


class Writer:
    """Places parameters one after the other, equal ones once.

    Attributes:
        placed: where each one is; file names are paths below the root of an image.

    Args:
        weights: the image's files of weights, below `root`.
        root: of the image.
        out: takes the bytes that no weights hold.
    """

    def __init__(self, weights: Iterable[Path], root: Path, out: BinaryIO) -> None:
        self._files = {path.relative_to(root).as_posix(): _map(path) for path in weights if path.stat().st_size}
        self._out = out
        self._hash = hashlib.sha256()
        self._known: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self.placed: list[Parameter] = []

    def add(self, leaf: Array) -> int:
        """Place one parameter, and return its index in `placed`."""
        array = little_endian(leaf)
        data = array.reshape(-1).view(np.uint8).data
        key = (array.dtype.name, array.shape, hashlib.sha256(data).digest())
        if key not in self._known:
            where = _find(data, self._files) if data.nbytes >= SMALLEST else None
            if where is None:
                self._write(bytes(-self._out.tell() % ALIGNMENT))
                where = (FOLDER / FILE).as_posix(), self._out.tell()
                self._write(data)
            self._known[key] = len(self.placed)
            self.placed.append(Parameter(array.dtype.name, array.shape, *where))
        return self._known[key]

    def sha256(self) -> str:
        """Of everything that was written to `out`, in hex."""
        return self._hash.hexdigest()

    def _write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._out.write(data)


class Leaves:
    """The parameters of a kernel, of which every program takes some: each is placed, and so hashed, once per type.

    Attributes:
        count: how many there are.
        writer: places them.

    Args:
        values: what the kernel loaded, flattened.
        writer: places them.
    """

    def __init__(self, values: Sequence[Any], writer: Writer) -> None:
        self.count = len(values)
        self.writer = writer
        self._values = values
        self._places: dict[tuple[int, np.dtype[Any]], int] = {}

    def place(self, index: int, dtype: np.dtype[Any]) -> int:
        """Where the writer has one of them as that type, by its number."""
        key = (index, dtype)
        if key not in self._places:
            self._places[key] = self.writer.add(np.asarray(self._values[index], dtype=dtype))
        return self._places[key]


def load(parameters: Sequence[Parameter], root: Path) -> list[Array]:
    """The parameters of an image, mapped from its files.

    Raises:
        KernelError: a file is missing, or too short.
    """
    files: dict[str, mmap.mmap] = {}
    return [_array(item, files, root) for item in parameters]


def _array(item: Parameter, files: dict[str, mmap.mmap], root: Path) -> Array:
    dtype = numpy_dtype(item.dtype)
    count = math.prod(item.shape)
    if not count:
        return np.empty(item.shape, dtype)
    if item.file not in files:
        try:
            files[item.file] = _map(root / item.file)
        except (OSError, ValueError) as error:
            raise KernelError(f"the parameters in {item.file} cannot be read: {error}") from error
    data = files[item.file]
    if item.offset < 0 or item.offset + count * dtype.itemsize > len(data):
        raise KernelError(f"{item.file} ends before its parameter at {item.offset}")
    array: Array = np.frombuffer(data, dtype, count, item.offset)
    return array.reshape(item.shape)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _find(data: memoryview, files: Mapping[str, mmap.mmap]) -> tuple[str, int] | None:
    """Where these bytes stand in one of the files: the first place at which all of them do."""
    probe = bytes(data[:_PROBE])
    if len(set(probe)) == 1:
        return None  # a fill that stands everywhere would be looked for everywhere
    for name, content in files.items():
        at = content.find(probe)
        while at >= 0:
            if memoryview(content)[at : at + data.nbytes] == data:
                return name, at
            at = content.find(probe, at + 1)
    return None
