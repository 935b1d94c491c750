"""Tar headers of the canonical layer format: ustar, and a PAX header only where ustar cannot say it.

Written and read by own code: `tarfile` splits long names over the `prefix` field, pads to its record size and has
changed its defaults before. `docs/layer-format.md` is the normative text.
"""

from __future__ import annotations

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind

BLOCK = 512
MAX_PAX = 2**20
"""Bytes of a PAX header's records that a reader accepts."""

_TYPES = {Kind.FILE: b"0", Kind.HARDLINK: b"1", Kind.SYMLINK: b"2", Kind.DIRECTORY: b"5"}
_KINDS = {flag: kind for kind, flag in _TYPES.items()}
_PAX_NAME = b"././@PaxHeader"
_NAME = 100
_XATTR = "SCHILY.xattr."
_TAIL = b"ustar\x00" + b"00" + bytes(64) + b"0000000\x00" * 2 + bytes(167)
"""Magic, version, empty user and group names, device numbers, empty prefix: the same in every header."""
_TAIL_SUM = sum(_TAIL)
_OCTAL = frozenset(b"01234567")
_NUMBERS = ("mtime", "uid", "gid", "size")


def padding(size: int) -> int:
    """Zero bytes after `size` bytes of content."""
    return -size % BLOCK


def encode(entry: Entry) -> bytes:
    """The header of one checked entry, a multiple of 512 bytes."""
    records: list[tuple[bytes, bytes]] = [(f"{_XATTR}{name}".encode(), value) for name, value in entry.xattrs]
    name = entry.path.encode() + (b"/" if entry.kind is Kind.DIRECTORY else b"")
    if len(name) > _NAME or not name.isascii():
        records.append((b"path", name))
    link = entry.target.encode()
    if len(link) > _NAME or not link.isascii():
        records.append((b"linkpath", link))
    block = _ustar(
        name=name[:_NAME],
        mode=entry.mode,
        uid=_number(records, b"uid", entry.uid, 7),
        gid=_number(records, b"gid", entry.gid, 7),
        size=_number(records, b"size", entry.size, 11),
        mtime=_number(records, b"mtime", entry.mtime, 11),
        flag=_TYPES[entry.kind],
        link=link[:_NAME],
    )
    if not records:
        return block
    body = b"".join(_record(key, value) for key, value in sorted(records))
    pax = _ustar(name=_PAX_NAME, mode=0o644, uid=0, gid=0, size=len(body), mtime=0, flag=b"x", link=b"")
    return pax + body + bytes(padding(len(body))) + block


def encoded_size(entry: Entry) -> int:
    """Length of `encode(entry)`, without making it in the usual case."""
    plain = (
        len(entry.path) < _NAME
        and len(entry.target) <= _NAME
        and entry.path.isascii()
        and entry.target.isascii()
        and not entry.xattrs
        and entry.uid < 8**7
        and entry.gid < 8**7
        and entry.size < 8**11
        and entry.mtime < 8**11
    )
    return BLOCK if plain else len(encode(entry))


def pax_size(block: bytes) -> int | None:
    """Length of the PAX records that this header announces, or None if it is an entry's own header.

    Raises:
        IntegrityError: it announces more than `MAX_PAX`.
    """
    if block[156:157] != b"x":
        return None
    size = _octal(block[124:136], "PAX header size", repr(block[:_NAME].rstrip(b"\0")))
    if not 0 < size <= MAX_PAX:
        raise IntegrityError(f"a PAX header of {size} bytes; at most {MAX_PAX} are accepted")
    return size


def decode(block: bytes, records: bytes) -> Entry:
    """Read an entry from its ustar header and its PAX records (empty if it has none).

    Only the meaning is read here. That the bytes are canonical is checked by encoding the result again, which also
    covers the checksum, the magic and every unused field.

    Raises:
        IntegrityError: the header is malformed or is of a kind that no layer may hold.
    """
    flag = block[156:157]
    where = repr(block[:_NAME].rstrip(b"\0").decode(errors="backslashreplace"))
    kind = _KINDS.get(flag)
    if kind is None:
        raise IntegrityError(f"a tar entry of type {flag!r}; only files, folders and links are allowed", where=where)
    pax = _parse(records, where)
    numbers = {
        "uid": _octal(block[108:116], "uid", where),
        "gid": _octal(block[116:124], "gid", where),
        "size": _octal(block[124:136], "size", where),
        "mtime": _octal(block[136:148], "mtime", where),
    }
    for key in _NUMBERS:
        if key in pax:
            numbers[key] = _decimal(pax.pop(key), key, where)
    name = _text(pax.pop("path", block[:_NAME].rstrip(b"\0")), where)
    if kind is Kind.DIRECTORY:
        if not name.endswith("/"):
            raise IntegrityError("a folder whose name has no slash at its end", where=where)
        name = name[:-1]
    target = _text(pax.pop("linkpath", block[157:257].rstrip(b"\0")), where)
    unknown = sorted(key for key in pax if not key.startswith(_XATTR))
    if unknown:
        raise IntegrityError(f"an unknown PAX record {unknown[0]!r}", where=where)
    return Entry(
        path=name,
        kind=kind,
        mode=_octal(block[100:108], "mode", where),
        target=target,
        xattrs=tuple((key.removeprefix(_XATTR), value) for key, value in pax.items()),
        uid=numbers["uid"],
        gid=numbers["gid"],
        size=numbers["size"],
        mtime=numbers["mtime"],
    )


def _number(records: list[tuple[bytes, bytes]], key: bytes, value: int, digits: int) -> int:
    """The number for its ustar field: itself, or 0 beside a PAX record."""
    if value < 8**digits:
        return value
    records.append((key, b"%d" % value))
    return 0


def _ustar(*, name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, flag: bytes, link: bytes) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(_NAME, b"\0"), mode, uid, gid, size, mtime)
    after = flag + link.ljust(_NAME, b"\0") + _TAIL
    # NULs add nothing, so the padding and the fixed tail need no adding up: this runs once per file of an image.
    checksum = sum(name) + sum(before[_NAME:]) + 8 * ord(" ") + flag[0] + sum(link) + _TAIL_SUM
    return b"%s%06o\0 %s" % (before, checksum, after)


def _record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _parse(records: bytes, where: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    while at < len(records):
        space = records.find(b" ", at, at + 8)
        digits = records[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else -1
        equals = records.find(b"=", space, end)
        if end <= space or end > len(records) or equals < 0 or records[end - 1 : end] != b"\n":
            raise IntegrityError("a malformed PAX record", where=where)
        key = _text(records[space + 1 : equals], where)
        if key in found:
            raise IntegrityError(f"the PAX record {key!r} is stated twice", where=where)
        found[key] = records[equals + 1 : end - 1]
        at = end
    return found


def _octal(field: bytes, what: str, where: str) -> int:
    digits = field[:-1]
    if field[-1:] != b"\0" or not digits or not _OCTAL.issuperset(digits):
        raise IntegrityError(f"a tar header whose {what} is {field!r}", where=where)
    return int(digits, 8)


def _decimal(value: bytes, what: str, where: str) -> int:
    if not value.isdigit() or len(value) > 20:  # noqa: PLR2004
        raise IntegrityError(f"a PAX header whose {what} is {value[:40]!r}", where=where)
    return int(value)


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise IntegrityError("a tar header with text that is not UTF-8", where=where) from error
