"""Wheels and zips for tests, made byte by byte, so that what `zipfile` would never write can be written too."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.store.artifact import Artifact

EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Item:
    """One member; `None` stands for what the content asks for."""

    name: bytes
    data: bytes = b""
    mode: int = 0o100644
    deflate: bool = False
    flags: int = 0x800
    method: int | None = None
    crc: int | None = None
    size: int | None = None
    packed: bytes | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    extra: bytes = b""
    descriptor: bytes = b""
    listed: int = 1
    gap: bytes = b""


def pack(item: Item) -> bytes:
    if item.packed is not None:
        return item.packed
    if not item.deflate:
        return item.data
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(item.data) + compressor.flush()


def archive(items: Sequence[Item], *, before: bytes = b"", behind: bytes = b"", comment: bytes = b"") -> bytes:
    body, rows = bytearray(before), bytearray()
    count = 0
    for item in items:
        packed = pack(item)
        crc = zlib.crc32(item.data) if item.crc is None else item.crc
        size = len(item.data) if item.size is None else item.size
        method = item.method if item.method is not None else 8 if item.deflate else 0
        local = item.name if item.local_name is None else item.local_name
        at = len(body)
        streamed = bool(item.flags & 8)
        body += struct.pack(
            "<4s5H3L2H",
            b"PK\3\4", 20, item.flags, method, 0, 0x21,
            0 if streamed else crc, 0 if streamed else len(packed),
            0 if streamed else size if item.local_size is None else item.local_size,
            len(local), 0,
        )  # fmt: skip
        body += local + packed + item.descriptor + item.gap
        for _ in range(item.listed):
            rows += struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2", 0x314, 20, item.flags, method, 0, 0x21, crc, len(packed), size,
                len(item.name), len(item.extra), 0, 0, 0, item.mode << 16, at,
            )  # fmt: skip
            rows += item.name + item.extra
            count += 1
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(rows), len(body), len(comment))
    return bytes(body + rows + end + comment + behind)


def checksum(data: bytes, kind: str = "sha256") -> str:
    return f"{kind}={base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b'=').decode()}"


def row(name: str, data: bytes) -> str:
    return f"{name},{checksum(data)},{len(data)}\n"


WHEEL = b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(
    files: Mapping[str, bytes],
    *,
    name: str = "demo",
    version: str = "1.0",
    record: str | None = None,
    items: Sequence[Item] = (),
    modes: Mapping[str, int] | None = None,
    deflate: bool = False,
) -> bytes:
    """A wheel of `files`, with WHEEL, METADATA and a right RECORD unless they are given, and of `items` as they are."""
    info = f"{name}-{version}.dist-info"
    content = {
        f"{info}/WHEEL": WHEEL,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        **files,
    }
    if record is None:
        record = "".join(row(path, data) for path, data in content.items()) + f"{info}/RECORD,,\n"
    content[f"{info}/RECORD"] = record.encode()
    members = [
        Item(path.encode(), data, deflate=deflate, mode=(modes or {}).get(path, 0o100644))
        for path, data in content.items()
    ]
    return archive([*members, *items])


def artifact(data: bytes, file: str = "demo-1.0-py3-none-any.whl", **changes: object) -> Artifact:
    name, version = file.split("-")[:2]
    item = Artifact(
        kind="wheel",
        name=name.replace("_", "-").lower(),
        version=version,
        architecture="any",
        registry="pypi",
        path=f"{name}/{file}",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        roles=("image",),
        platforms=("linux/amd64", "linux/arm64"),
    )
    return item.model_copy(update=changes)


def write(folder: Path, data: bytes) -> Path:
    path = folder / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    return path


__all__ = ["EPOCH", "Item", "archive", "artifact", "checksum", "pack", "replace", "row", "wheel", "write"]
