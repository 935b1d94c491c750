"""The tar inside a Debian package, in the dialects that dpkg-deb has written: GNU, POSIX with PAX records, v7.

Read by own code from bytes already at rest: `tarfile` skips what it does not know, and a package is refused instead.
dpkg itself takes only files, directories, links and device nodes and no PAX header; devices have no place in an image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.header import BLOCK, padding
from builder.layers.order import check_path
from builder.layers.spool import Spool

_ZERO: Final = bytes(BLOCK)
_MOST_ENTRIES: Final = 1_000_000
_LONG_NAME: Final = 8192
_PAX: Final = 1 << 16
_IGNORED_PAX: Final = frozenset({"atime", "ctime", "uname", "gname", "comment"})
_CAPABILITY: Final = "SCHILY.xattr.security.capability"
_KINDS: Final = {"0": Kind.FILE, "\0": Kind.FILE, "1": Kind.HARDLINK, "2": Kind.SYMLINK, "5": Kind.DIRECTORY}
_REFUSED: Final = {
    "3": "a character device",
    "4": "a block device",
    "6": "a FIFO",
    "7": "a contiguous file",
    "g": "a global PAX header",
    "S": "a sparse file",
}
_OCTAL: Final = frozenset(b"01234567")


@dataclass(frozen=True, slots=True)
class _Header:
    """One entry's own header block with what its extensions say, and the offset at which its content starts."""

    block: bytes
    fields: dict[str, str]
    xattrs: tuple[tuple[str, bytes], ...]
    size: int
    offset: int


def read_deb_tar(spool: Spool, where: str) -> list[Entry]:
    """Read every header; each file's `source` opens its bytes in `spool`.

    Raises:
        IntegrityError: the archive is malformed or truncated, or holds something that no image may: a device, FIFO or
            sparse file, a path that is absolute, has `..` or is not UTF-8, a duplicate, a hard link to anything but an
            earlier file, an entry below something that is not a directory.
    """
    entries: dict[str, Entry] = {}
    offset = 0
    while (header := _header(spool, offset, where)) is not None:
        entry = _entry(header, where)
        offset = header.offset
        if entry.kind is Kind.FILE:
            if offset + entry.size > spool.size:
                raise IntegrityError(f"the archive ends inside {entry.path!r}: it is truncated", where=where)
            entry = replace(entry, source=partial(spool.open, offset, entry.size))
            offset += entry.size + padding(entry.size)
        if entry.path:
            _admit(entry, entries, where)
        elif entry.kind is not Kind.DIRECTORY:
            raise IntegrityError("the archive's root is not a directory", where=where)
    _check_end(spool, offset, where)
    _check_parents(entries, where)
    return list(entries.values())


def _header(spool: Spool, offset: int, where: str) -> _Header | None:
    """The next entry's header, or None at the end mark."""
    fields: dict[str, str] = {}
    xattrs: tuple[tuple[str, bytes], ...] = ()
    while True:
        block = spool.read(offset, BLOCK)
        if len(block) < BLOCK:
            raise IntegrityError("the archive ends without its end mark: it is truncated", where=where)
        if block == _ZERO:
            if fields or xattrs:
                raise IntegrityError("the archive ends after a tar header extension", where=where)
            return None
        _check_sum(block, where)
        offset += BLOCK
        flag = chr(block[156])
        size = _number(fields.get("size") or block[124:136], "size", where)
        if flag not in "LKx":
            return _Header(block, fields, xattrs, size, offset)
        limit = _PAX if flag == "x" else _LONG_NAME
        if size > limit:
            raise IntegrityError(f"a tar header extension of {size} bytes; at most {limit} are read", where=where)
        extension = spool.read(offset, size)
        if len(extension) < size:
            raise IntegrityError("the archive is truncated", where=where)
        offset += size + padding(size)
        if flag == "x":
            found, xattrs = _pax(extension, where)
        else:
            found = {"path" if flag == "L" else "linkpath": _text(extension.removesuffix(b"\0"), where)}
        if fields.keys() & found.keys():
            raise IntegrityError("two tar header extensions say the same thing", where=where)
        fields |= found


def _entry(header: _Header, where: str) -> Entry:
    block, fields = header.block, header.fields
    name = fields.get("path") or _name(block, where)
    flag = chr(block[156])
    kind = _KINDS.get(flag)
    if kind is None:
        what = _REFUSED.get(flag, f"an entry of the unknown type {flag!r}")
        raise IntegrityError(f"{name!r} is {what}; only files, directories and links are allowed", where=where)
    path = _plain(name, kind, where)
    if header.size and kind is not Kind.FILE:
        raise IntegrityError(f"{path!r} is a {kind.value} with {header.size} bytes of content", where=where)
    if header.xattrs and kind is not Kind.FILE:
        raise IntegrityError(f"{path!r} is a {kind.value} with extended attributes", where=where)
    target = ""
    if kind in (Kind.HARDLINK, Kind.SYMLINK):
        target = fields.get("linkpath") or _text(block[157:257].split(b"\0", 1)[0], where)
        if kind is Kind.HARDLINK:
            target = _plain(target, kind, where)
        elif not target or not target.isprintable():
            raise IntegrityError(f"the symlink {path!r} leads to {target!r}", where=where)
    return Entry(
        path=path,
        kind=kind,
        mode=_number(block[100:108], "mode", where) & 0o7777,
        mtime=_number(fields.get("mtime") or block[136:148], "mtime", where),
        uid=_number(fields.get("uid") or block[108:116], "uid", where),
        gid=_number(fields.get("gid") or block[116:124], "gid", where),
        size=header.size,
        target=target,
        xattrs=header.xattrs,
    )


def _name(block: bytes, where: str) -> str:
    raw = block[:100].split(b"\0", 1)[0]
    # Only POSIX archives have the prefix field; GNU keeps other things there.
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + raw if prefix else raw, where)


def _plain(name: str, kind: Kind, where: str) -> str:
    """The path without its leading `./`; empty for the root."""
    path = name.removeprefix("./")
    if kind is Kind.DIRECTORY:
        path = path.removesuffix("/")
        if path in ("", "."):
            return ""
    # A path with a newline would forge lines of the package database's file lists.
    if not path.isprintable():
        raise IntegrityError(f"the path {path!r} has characters that are not printable", where=where)
    check_path(path, where)
    return path


def _admit(entry: Entry, entries: dict[str, Entry], where: str) -> None:
    if entry.path in entries:
        raise IntegrityError(f"{entry.path!r} is in the archive twice", where=where)
    if len(entries) >= _MOST_ENTRIES:
        raise IntegrityError(f"the archive has more than {_MOST_ENTRIES} entries", where=where)
    if entry.kind is Kind.HARDLINK:
        origin = entries.get(entry.target)
        if origin is None or origin.kind is not Kind.FILE:
            raise IntegrityError(
                f"{entry.path!r} is a hard link to {entry.target!r}, which is no earlier file of the archive",
                where=where,
            )
    entries[entry.path] = entry


def _check_parents(entries: dict[str, Entry], where: str) -> None:
    """Nothing may lie below a file or a link: unpacking it would write through the link."""
    for path in entries:
        parent = path.rpartition("/")[0]
        while parent:
            above = entries.get(parent)
            if above is not None:
                if above.kind is not Kind.DIRECTORY:
                    raise IntegrityError(f"{path!r} lies below {parent!r}, which is a {above.kind.value}", where=where)
                break
            parent = parent.rpartition("/")[0]


def _check_end(spool: Spool, offset: int, where: str) -> None:
    if spool.read(offset + BLOCK, BLOCK) != _ZERO:
        raise IntegrityError("the archive's end mark is damaged", where=where)
    while block := spool.read(offset, 1 << 16):
        if block.strip(b"\0"):
            raise IntegrityError("bytes follow the end of the archive", where=where)
        offset += len(block)


def _check_sum(block: bytes, where: str) -> None:
    expected = _number(block[148:156], "checksum", where)
    if sum(block) - sum(block[148:156]) + 8 * 32 != expected:
        raise IntegrityError("a tar header does not meet its checksum", where=where)


def _number(field: bytes | str, what: str, where: str) -> int:
    """A field of a header (octal, or base 256 where the first bit is set) or of a PAX record (decimal)."""
    if isinstance(field, str):
        whole = field.partition(".")[0] if what == "mtime" else field
        if whole.isascii() and whole.isdigit() and len(whole) <= 18:  # noqa: PLR2004
            return int(whole)
    elif field[0] == 0x80:  # noqa: PLR2004
        return int.from_bytes(field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if _OCTAL.issuperset(digits):
            return int(digits or b"0", 8)
    raise IntegrityError(f"a tar header's {what} is {field!r}", where=where)


def _text(raw: bytes, where: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"the name {raw!r} is not UTF-8", where=where) from error
    if "\0" in text:
        raise IntegrityError(f"the name {text!r} holds a NUL byte", where=where)
    return text


def _pax(body: bytes, where: str) -> tuple[dict[str, str], tuple[tuple[str, bytes], ...]]:
    found: dict[str, str] = {}
    xattrs: list[tuple[str, bytes]] = []
    seen: set[str] = set()
    at = 0
    while at < len(body):
        digits, space, _ = body[at : at + 8].partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        record = body[at + len(digits) + 1 : at + length]
        keyword, equals, value = record[:-1].partition(b"=")
        if not equals or record[-1:] != b"\n" or at + length > len(body):
            raise IntegrityError("a PAX header is malformed", where=where)
        at += length
        key = _text(keyword, where)
        if key in seen:
            raise IntegrityError(f"a PAX header says {key} twice", where=where)
        seen.add(key)
        if key in ("path", "linkpath", "size", "uid", "gid", "mtime"):
            found[key] = _text(value, where)
        elif key == _CAPABILITY:
            xattrs.append(("security.capability", value))
        elif key not in _IGNORED_PAX:
            raise IntegrityError(f"a PAX header has the keyword {key!r}, which no Debian package needs", where=where)
    return found, tuple(xattrs)
