"""Files of outputs made by hand, byte by byte, and by the library that the runtime uses."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


def container(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(items: Mapping[str, tuple[str, Sequence[int], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in items.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return container(header, data)


def write(path: Path, **items: tuple[str, Sequence[int], bytes]) -> Path:
    path.write_bytes(tensors(items))
    return path
