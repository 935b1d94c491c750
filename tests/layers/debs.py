"""Debian packages for tests, made byte by byte, so that what dpkg-deb would never write can be written too."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Mapping
from pathlib import Path

import zstandard

from builder.layers.deb import Deb, read_deb
from builder.store.artifact import Artifact

CONTROL = {
    "Package": "demo",
    "Version": "1:2.0-3",
    "Architecture": "amd64",
    "Maintainer": "Someone <someone@example.org>",
    "Description": "a demonstration\n of nothing\n .\n at all",
}
COMPRESS = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}
END = bytes(1024)


def header(
    name: bytes | str,
    *,
    flag: bytes = b"0",
    size: int = 0,
    link: bytes | str = b"",
    mode: int = 0o644,
    mtime: int = 1_600_000_000,
    uid: int = 0,
    gid: int = 0,
    magic: bytes = b"ustar  \0",
    prefix: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    """One tar header as GNU tar writes it."""
    name = name.encode() if isinstance(name, str) else name
    link = link.encode() if isinstance(link, str) else link
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, mtime)
    after = flag + link.ljust(100, b"\0") + magic + bytes(64) + bytes(16) + prefix.ljust(155, b"\0") + bytes(12)
    total = sum(before) + 256 + sum(after) if checksum is None else checksum
    return b"%s%06o\0 %s" % (before, total, after)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes | str, data: bytes = b"", **more) -> bytes:
    """A tar entry with its content."""
    return header(name, size=len(data), **more) + pad(data)


def folder(name: str, mode: int = 0o755, **more) -> bytes:
    return header(f"./{name}/", flag=b"5", mode=mode, **more)


def link(name: str, target: str) -> bytes:
    return header(f"./{name}", flag=b"2", link=target, mode=0o777)


def hard(name: str, target: str) -> bytes:
    return header(f"./{name}", flag=b"1", link=target)


def long(name: bytes, flag: bytes = b"L") -> bytes:
    """GNU's extension header for a long name."""
    return member("././@LongLink", name + b"\0", flag=flag, mode=0)


def pax(**records: bytes) -> bytes:
    body = b""
    for key, value in records.items():
        text = b" %s=%s\n" % (key.replace("__", ".").encode(), value)
        length = len(text) + 1
        while len(str(length)) + len(text) != length:
            length += 1
        body += str(length).encode() + text
    return member("PaxHeaders/x", body, flag=b"x", magic=b"ustar\00000")


def tree(files: Mapping[str, bytes | str]) -> bytes:
    """A data tar: bytes are files (programs if they start with `#!`), text is a symlink's target, `x/` a folder."""
    out, seen = [folder(".")], set()
    for path, content in files.items():
        parts = path.rstrip("/").split("/")
        for depth in range(1, len(parts) + path.endswith("/")):
            above = "/".join(parts[:depth])
            if above not in seen:
                out.append(folder(above))
                seen.add(above)
        if path.endswith("/"):
            continue
        if isinstance(content, str):
            out.append(link(path, content))
        else:
            out.append(member(f"./{path}", content, mode=0o755 if content.startswith((b"#!", b"\x7fELF")) else 0o644))
    return b"".join(out) + END


def stanza(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in fields.items()).encode()


def ar(*members: tuple[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name.encode(), 0, 0, 0, 0o100644, len(data))
        out += data + b"\n" * (len(data) % 2)
    return out


def deb(
    data: bytes,
    *,
    control: Mapping[str, str] = CONTROL,
    files: Mapping[str, bytes] | None = None,
    suffix: str = ".xz",
    control_suffix: str = ".xz",
) -> bytes:
    """A whole package around a data tar."""
    control_tar = b"".join(member(f"./{name}", text) for name, text in (files or {}).items())
    control_tar = folder(".") + member("./control", stanza(control)) + control_tar + END
    return ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{control_suffix}", COMPRESS[control_suffix](control_tar)),
        (f"data.tar{suffix}", COMPRESS[suffix](data)),
    )


def artifact(data: bytes, control: Mapping[str, str] = CONTROL) -> Artifact:
    return Artifact(
        kind="deb",
        name=control["Package"],
        version=control["Version"],
        architecture=control["Architecture"],
        registry="debian",
        path=f"pool/main/d/demo/{control['Package']}.deb",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        roles=("image",),
        platforms=("linux/amd64",),
    )


def read(folder: Path, data: bytes, control: Mapping[str, str] = CONTROL) -> Deb:
    """Read a package from its bytes."""
    path = folder / f"{control['Package']}.deb"
    path.write_bytes(data)
    return read_deb(path, artifact(data, control))


def package(folder: Path, name: str, files: Mapping[str, bytes | str], **more) -> Deb:
    """Make and read a package of a tree; keywords are control fields, or control files when they are bytes."""
    fields = CONTROL | {"Package": name}
    fields |= {key.replace("_", "-"): value for key, value in more.items() if isinstance(value, str)}
    scripts = {key: value for key, value in more.items() if isinstance(value, bytes)}
    return read(folder, deb(tree(files), control=fields, files=scripts, suffix=""), fields)
