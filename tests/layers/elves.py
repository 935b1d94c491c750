"""The smallest shared objects that a dynamic linker believes, made without a compiler."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, AARCH64 = 62, 183


def shared(
    soname: str = "",
    needed: Sequence[str] = (),
    *,
    machine: int = X86_64,
    runpath: str = "",
    level: int = 0,
    kind: int = 3,
    interpreter: str = "",
) -> bytes:
    """A 64-bit little-endian object with these dynamic tags; `level` marks the x86-64 level that it needs."""
    strings, tags = b"\0", []
    for tag, texts in ((14, [soname] if soname else []), (1, needed), (29, [runpath] if runpath else [])):
        for text in texts:
            tags.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    interp = interpreter.encode() + b"\0" if interpreter else b""
    mark = struct.pack("<III4sIII4x", 4, 16, 5, b"GNU\0", 0xC0008002, 4, 1 << level) if level else b""
    count = 2 + bool(interp) + bool(mark)
    note_at = 64 + 56 * count
    interp_at = note_at + len(mark)
    strings_at = interp_at + len(interp) + -(interp_at + len(interp)) % 8
    dynamic_at = strings_at + len(strings) + -(strings_at + len(strings)) % 8
    tags += [(5, strings_at), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    total = dynamic_at + len(dynamic)
    segments = [
        struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, total, total, 4096),
        struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8),
    ]
    if interp:
        segments.append(struct.pack("<IIQQQQQQ", 3, 4, interp_at, interp_at, interp_at, len(interp), len(interp), 1))
    if mark:
        segments.append(struct.pack("<IIQQQQQQ", 0x6474E553, 4, note_at, note_at, note_at, len(mark), len(mark), 8))
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", kind, machine, 1, 0, 64, 0, 0, 64, 56, count, 64, 0, 0)
    out = bytearray(total)
    out[:64] = head
    out[64:note_at] = b"".join(segments)
    out[note_at:interp_at] = mark
    out[interp_at : interp_at + len(interp)] = interp
    out[strings_at : strings_at + len(strings)] = strings
    out[dynamic_at:] = dynamic
    return bytes(out)


def libc(version: bytes = b"2.41-12", *, machine: int = X86_64) -> bytes:
    """A libc.so.6 that says which glibc it is."""
    release = version.split(b"-")[0]
    banner = b"GNU C Library (Debian GLIBC %s) stable release version %s.\n" % (version, release)
    return shared("libc.so.6", machine=machine) + banner
