"""One file inside a wheel, hashed without unpacking the rest.

The wheel is what an index sent, so nothing of it is believed: names, sizes and compression ratios are bounded, and a
name that stands twice names nothing. What is hashed here is compared with what the build takes from the same wheel.
"""

from __future__ import annotations

import difflib
import hashlib
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from builder.errors import IntegrityError, ResolveError
from builder.lock.rules import LARGEST, safe_relative
from builder.store.artifact import Member

_CHUNK = 1 << 20
_RATIO = 1000
_RATIO_FREE = 64 << 20
"""Deflate reaches 1032:1 on zeros; a member above 64 MiB that comes near is a bomb."""

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_SHOWN = 5

# What zipfile lets escape on malformed input, beside its own BadZipFile.
_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
    struct.error,
)


def member(archive: Path, name: str, *, where: str) -> Member:
    """Hash one file of a wheel.

    Args:
        archive: the wheel.
        name: of the file, as the wheel's directory has it.
        where: what messages call the wheel.

    Raises:
        ResolveError: there is no such file.
        IntegrityError: the wheel is malformed, or the file is one that no kernel may get.
    """
    try:
        with zipfile.ZipFile(archive) as wheel:
            entries = [entry for entry in wheel.infolist() if entry.filename == name]
            if not entries:
                raise _missing(wheel, name, where)
            if len(entries) > 1:
                raise IntegrityError(f"{name} is there twice", where=where)
            return _hash(wheel, entries[0], where)
    except _MALFORMED as error:
        raise IntegrityError(f"not a usable zip archive: {error}", where=where, hint=_HINT) from error


_HINT = "the index serves a damaged or hostile wheel: try another index"


def _hash(wheel: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> Member:
    if problem := safe_relative(entry.filename):
        raise IntegrityError(problem, where=where, hint=_HINT)
    if entry.flag_bits & _ENCRYPTED:
        raise IntegrityError(f"{entry.filename} is encrypted", where=where, hint=_HINT)
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise IntegrityError(f"{entry.filename} is no regular file", where=where, hint=_HINT)
    bomb = entry.file_size > _RATIO_FREE and entry.file_size > _RATIO * max(entry.compress_size, 1)
    if bomb or entry.file_size > LARGEST:
        message = f"{entry.filename} grows from {entry.compress_size} to {entry.file_size} bytes: a bomb"
        raise IntegrityError(message, where=where, hint=_HINT)
    digest, size = hashlib.sha256(), 0
    # ZipExtFile stops at file_size, so the declared size bounds what is read; it checks the CRC at the end.
    with wheel.open(entry) as content:
        while data := content.read(_CHUNK):
            digest.update(data)
            size += len(data)
    if size != entry.file_size:
        raise IntegrityError(f"{entry.filename} holds {size} bytes, not {entry.file_size} as promised", where=where)
    return Member(path=entry.filename, sha256=digest.hexdigest(), size=size)


def _missing(wheel: zipfile.ZipFile, name: str, where: str) -> ResolveError:
    """The error for a file that is not there, with names that may have been meant: alike ones, or the largest."""
    files = {entry.filename: entry.file_size for entry in wheel.infolist() if not entry.is_dir()}
    basename = name.rpartition("/")[2]
    near = [path for path in sorted(files) if path.rpartition("/")[2] == basename]
    near += [path for path in difflib.get_close_matches(name, sorted(files), n=_SHOWN, cutoff=0.6) if path not in near]
    largest = sorted(files, key=lambda path: (-files[path], path))
    names = ", ".join(repr(path)[1:-1] for path in (near or largest)[:_SHOWN])
    hint = f"did you mean {names}?" if near else f"its largest files are {names}" if names else "it holds no files"
    return ResolveError(f"there is no file {name!r} in the wheel", where=where, hint=hint)
