"""A safetensors file from a host that may lie: every length is bounded, and no byte has two readings or none.

The format is that of the safetensors repository's README; what it leaves to readers is refused here: repeated keys,
holes, overlaps, unknown keys, offsets that fit no shape. Data is read by position, never mapped, since a file that
is cut short under a mapping kills the process.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from builder.errors import IntegrityError, UsageError
from builder.harness.compare import strict
from builder.harness.compare.formats import FORMATS, Format

OUTPUTS: Final = "outputs.safetensors"
"""The name of a run's tensors in its folder (docs/protocol.md, section 7)."""

LARGEST_HEADER: Final = 16 << 20
"""Bytes. A receipt, bounded at as much, says more about each tensor than the header does."""

_LARGEST_DIMENSION: Final = 2**53 - 1
"""As in the canonical JSON that a tensor's hash is taken over (RFC 7493)."""

_KEYS: Final = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor's elements stand: `begin` and `size` in bytes of the file."""

    name: str
    format: Format
    shape: tuple[int, ...]
    begin: int
    size: int

    @property
    def elements(self) -> int:
        """How many."""
        return self.size // self.format.size


def outputs_file(path: Path) -> Path:
    """The file of outputs that a path names: itself, or `outputs.safetensors` in a run's folder.

    Who names a link means what it leads to. Links inside of a run's folder were left by a host and are not followed.
    """
    return path / OUTPUTS if path.is_dir() else path.resolve()


class Container:
    """An open safetensors file; `tensors` by name, sorted."""

    def __init__(self, path: Path) -> None:
        """Open it and read its header.

        Raises:
            UsageError: there is no such file.
            IntegrityError: it is no safetensors file that the protocol allows.
        """
        self._path = path
        self._handle = _opened(path)
        try:
            self.tensors: Mapping[str, Tensor] = self._header()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def read_into(self, tensor: Tensor, start: int, target: bytearray) -> None:
        """Fill `target` with the tensor's bytes from byte `start` on.

        Raises:
            IntegrityError: the file ends before.
        """
        view, place = memoryview(target), tensor.begin + start
        while view:
            count = os.preadv(self._handle, [view], place)
            if not count:
                self._refuse("it was cut short while it was read")
            view, place = view[count:], place + count

    def element(self, tensor: Tensor, index: int) -> bytes:
        """The bytes of one element, by its place in C order."""
        target = bytearray(tensor.format.size)
        self.read_into(tensor, index * tensor.format.size, target)
        return bytes(target)

    def refuse_bool(self, tensor: Tensor) -> NoReturn:
        """Say that a boolean is neither 0 nor 1."""
        self._refuse(f"{tensor.name!r} is bool but holds bytes other than 0 and 1")

    def _header(self) -> dict[str, Tensor]:
        whole = os.fstat(self._handle).st_size
        if whole < struct.calcsize("<Q"):
            self._refuse("it is shorter than a header's length")
        (length,) = struct.unpack("<Q", os.pread(self._handle, 8, 0))
        if length > LARGEST_HEADER:
            self._refuse(f"its header would have {length} bytes, more than {LARGEST_HEADER}")
        if 8 + length > whole:
            self._refuse("its header goes beyond its end")
        text = os.pread(self._handle, length, 8)
        if not text.startswith(b"{"):
            self._refuse("its header is no JSON object")
        try:
            header = strict.loads(text)
        except ValueError as error:
            self._refuse(f"its header is not JSON ({error})")
        header.pop("__metadata__", None)
        found = [self._tensor(name, item, 8 + length) for name, item in header.items()]
        self._without_gaps(found, 8 + length, whole)
        return {tensor.name: tensor for tensor in sorted(found, key=lambda tensor: tensor.name)}

    def _tensor(self, name: str, item: Any, base: int) -> Tensor:
        try:
            name.encode()
        except UnicodeEncodeError:
            self._refuse(f"{name!r} is not Unicode")
        if not isinstance(item, dict) or item.keys() != _KEYS:
            self._refuse(f"{name!r} has not exactly dtype, shape and data_offsets")
        dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
        if not isinstance(dtype, str) or dtype not in FORMATS:
            self._refuse(f"{name!r} has element type {dtype!r}, which no output can have")
        if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:  # noqa: PLR2004 - begin and end
            self._refuse(f"{name!r} has a shape or offsets that are no lists of whole numbers")
        begin, end = offsets
        size = math.prod(shape) * FORMATS[dtype].size
        if end - begin != size:
            self._refuse(f"{name!r} has {end - begin} bytes where its shape needs {size}")
        return Tensor(name, FORMATS[dtype], tuple(shape), base + begin, size)

    def _without_gaps(self, tensors: Iterable[Tensor], place: int, whole: int) -> None:
        for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.size)):
            if tensor.begin != place:
                self._refuse(f"{tensor.name!r} does not begin where the one before it ends")
            place += tensor.size
        if place != whole:
            self._refuse(f"its tensors end at byte {place}, the file at {whole}")

    def _refuse(self, message: str) -> NoReturn:
        raise IntegrityError(f"not a file of outputs: {message}", where=str(self._path))


def _opened(path: Path) -> int:
    """A handle on a regular file; never waits for a FIFO."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        hint = "give the folder that `kbuild run --output DIR` wrote, or a .safetensors file"
        raise UsageError(f"no outputs here: {error.strerror}", where=str(path), hint=hint) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError("not a regular file", where=str(path))
    return handle


def _whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= _LARGEST_DIMENSION for item in value)
