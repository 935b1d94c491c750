"""The schema of what XLA serialises, taken from the jaxlib that serialised it.

XLA's messages are its own business: fields move from one version to the next. But its library carries the descriptors
of all messages that it can write, as every C++ library with full protocol buffers does, each a `FileDescriptorProto`
(protobuf's descriptor.proto) in read-only data. Read with those, a name means what that compiler meant by it.
"""

from __future__ import annotations

import base64
import functools
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from builder.errors import IntegrityError
from builder.store.blobs import Store

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import Message

LIBRARY: Final = "jaxlib/libjax_common.so"
"""The file of a jaxlib wheel, or of an image's site packages, that holds XLA."""

ROOTS: Final = ("xla/service/cpu/executable.proto", "xla/pjrt/proto/compile_options.proto")
"""The files that declare what a serialised executable consists of."""

RECORDS: Final = "xla-schemas"
_FORMAT: Final = 1
_STEP: Final = 64 << 20
"""Bytes between two looks: jaxlib 0.10.2 has all descriptors in the first 40 MB of 350."""
_MOST: Final = 4 << 30
_LONGEST: Final = 1 << 20
"""Of one descriptor: xla.proto's, the largest, has 45 kB."""
_VARINTS: Final = frozenset({10, 11, 14})
"""Fields of FileDescriptorProto that are numbers (public and weak dependencies, the edition); others have a length."""
_LAST: Final = 15
_SUFFIX: Final = b".proto\x12"
_HEAD: Final = re.compile(rb"\n([\x07-\x7f])([a-z0-9_/.]+\.proto)\x12")
_NAME: Final = 2 + 127 + 1


@dataclass(frozen=True, slots=True)
class Schema:
    """Descriptors of messages: `files` is a serialised FileDescriptorSet, each file after those that it needs."""

    files: bytes

    def parse(self, name: str, data: bytes) -> Any:
        """A message of that full name.

        Raises:
            IntegrityError: the bytes are no such message, or the schema has none of that name.
        """
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        try:
            return _message(self.files, name).FromString(data)
        except KeyError:
            raise IntegrityError(f"this jaxlib has no message {name}") from None
        except DecodeError:
            raise IntegrityError(f"these bytes are no {name}") from None


def of_wheel(store: Store, sha256: str) -> Schema:
    """The schema of a jaxlib wheel in the store; looked for once per wheel, in 0.5 s.

    Raises:
        IntegrityError: the blob is no wheel with XLA in it, or it carries no descriptors.
        EnvironmentFault: the store has no such blob.
    """
    key = f"{_FORMAT}-{sha256}"
    if record := store.recall(RECORDS, key):
        return Schema(base64.b64decode(record["files"]))
    with library(store, sha256) as content:
        found = extract(content)
    store.remember(RECORDS, key, {"files": base64.b64encode(found.files).decode()})
    return found


@contextmanager
def library(store: Store, sha256: str) -> Iterator[BinaryIO]:
    """XLA's library in a jaxlib wheel of the store, to be read from its beginning.

    Raises:
        IntegrityError: the blob is no wheel with XLA in it.
        EnvironmentFault: the store has no such blob.
    """
    try:
        with zipfile.ZipFile(store.verified(sha256)) as wheel, wheel.open(LIBRARY) as content:
            yield content  # type: ignore[misc]  # a ZipExtFile reads as any binary file does
    except (KeyError, zipfile.BadZipFile):
        raise IntegrityError(f"is no wheel that holds {LIBRARY}", where=f"sha256:{sha256}") from None


def extract(content: BinaryIO) -> Schema:
    """The schema that a library carries, read from its beginning no further than needed.

    Raises:
        IntegrityError: it carries none, or not all of it.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415

    data = bytearray()
    places: dict[str, list[int]] = {}
    while len(data) < _MOST and (chunk := content.read(_STEP)):
        begin = max(0, len(data) - _NAME)
        data += chunk
        for place in _beginnings(data, begin):
            name = data[place + 2 : place + 2 + data[place + 1]].decode("ascii")
            places.setdefault(name, []).append(place)
        found: dict[str, FileDescriptorProto] = {}
        if all(_add(data, places, name, found) for name in ROOTS):
            return Schema(FileDescriptorSet(file=found.values()).SerializeToString(deterministic=True))
    raise IntegrityError("this jaxlib does not carry the descriptors of what it serialises", where=LIBRARY)


def _beginnings(data: bytearray, begin: int) -> Iterator[int]:
    """Where descriptors may begin: with their own name (field 1), then their package (field 2)."""
    place = data.find(_SUFFIX, begin)
    while place >= 0:
        for match in _HEAD.finditer(data, max(0, place - _NAME), place + len(_SUFFIX)):
            if match.end() == place + len(_SUFFIX) and match[1][0] == len(match[2]):
                yield match.start()
        place = data.find(_SUFFIX, place + 1)


def _add(
    data: bytearray, places: Mapping[str, Sequence[int]], name: str, found: dict[str, FileDescriptorProto]
) -> bool:
    """Read a file's descriptor and those of all that it imports, which come first; False if one is not there."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    for place in () if name in found else places.get(name, ()):
        window = bytes(data[place : place + _LONGEST])
        end = _end(window)
        if end == len(window):  # it may go on behind what has been read
            continue
        try:
            file = FileDescriptorProto.FromString(window[:end])
        except DecodeError:
            continue
        if all(_add(data, places, needed, found) for needed in file.dependency):
            found[name] = file
            break
    return name in found


def _end(window: bytes) -> int:
    """Where a descriptor ends: its fields stand in the order of their numbers, and what follows has none or a lower."""
    place, last = 0, 0
    while True:
        tag, after = _varint(window, place)
        field, kind = tag >> 3, tag & 7
        if not last <= field <= _LAST or field == 0 or kind != (0 if field in _VARINTS else 2):
            return place
        if field == last == 1:
            return place
        value, after = _varint(window, after)
        after += value if kind else 0
        if after > len(window):
            return len(window)
        place, last = after, field


def _varint(window: bytes, place: int) -> tuple[int, int]:
    """A number of up to three bytes, and where it ends; 0 where there is none."""
    value = 0
    for index in range(3):
        if place + index >= len(window):
            return 0, place
        byte = window[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004
            return value, place + index + 1
    return 0, place


@functools.lru_cache(maxsize=2)
def _pool(files: bytes) -> Any:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    pool = DescriptorPool()
    try:
        for file in FileDescriptorSet.FromString(files).file:
            pool.Add(file)
    except (DecodeError, TypeError) as error:
        raise IntegrityError(f"the descriptors that this jaxlib carries do not fit together: {error}") from None
    return pool


@functools.lru_cache(maxsize=16)
def _message(files: bytes, name: str) -> type[Message]:
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415

    return GetMessageClass(_pool(files).FindMessageTypeByName(name))
