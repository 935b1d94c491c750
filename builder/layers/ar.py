"""The `ar` container of a Debian package, read strictly.

deb(5): a global magic, then members of a 60-byte header and their data padded to an even offset. dpkg accepts
members whose name begins with `_` anywhere after `debian-binary`; nothing in Debian has one, so they are refused like
everything else that is not one of the three expected members in the expected order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from builder.errors import IntegrityError

_MAGIC = b"!<arch>\n"
_HEADER = 60
_TRAILER = b"`\n"
_MOST_MEMBERS = 3


@dataclass(frozen=True, slots=True)
class Member:
    """Where one member's data lies in the file; `offset` and `size` in bytes."""

    name: str
    offset: int
    size: int


def read_members(file: BinaryIO, size: int, where: str) -> list[Member]:
    """List the members of a package's container and check that they fill it to the last byte.

    Args:
        file: the package, seekable.
        size: its length in bytes.
        where: what to call the package in errors.

    Raises:
        IntegrityError: the container is malformed, truncated, or has bytes that no member accounts for.
    """
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise IntegrityError("the file is not a Debian package: it does not start with the ar magic", where=where)
    members: list[Member] = []
    offset = len(_MAGIC)
    while offset < size:
        if len(members) == _MOST_MEMBERS:
            raise IntegrityError("the package has more than three members, or trailing bytes", where=where)
        file.seek(offset)
        member = _parse(file.read(_HEADER), offset + _HEADER, where)
        if any(member.name == earlier.name for earlier in members):
            raise IntegrityError(f"the package has two members named {member.name}", where=where)
        members.append(member)
        offset = member.offset + member.size
        if offset > size:
            raise IntegrityError(f"the package ends inside its member {member.name}", where=where)
        if offset % 2 and offset < size:
            file.seek(offset)
            if file.read(1) != b"\n":
                raise IntegrityError(f"the padding after the member {member.name} is not a newline", where=where)
            offset += 1
    return members


def _parse(header: bytes, offset: int, where: str) -> Member:
    if len(header) != _HEADER or header[58:] != _TRAILER:
        raise IntegrityError("the package holds a malformed ar header, or trailing bytes", where=where)
    # GNU ar ends names with a slash, dpkg-deb pads them with spaces: both occur.
    name = header[:16].rstrip(b" ").removesuffix(b"/")
    digits = header[48:58].rstrip(b" ")
    if not name.isascii() or not name or not digits.isdigit():
        raise IntegrityError("the package holds a malformed ar header", where=where)
    return Member(name.decode("ascii"), offset, int(digits))
