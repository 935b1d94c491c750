"""A `Packages` index: 70 000 stanzas in 56 MB, of which a build wants fifty.

Reading is in two steps. `read_packages` checks and decompresses, and finds where each name and each provided name
stands, touching nothing else (0.2 s for trixie's main, beside 0.6 s of xz). `Packages.package` parses one stanza, when
someone looks at it.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from builder.errors import IntegrityError
from builder.lock.debian.relations import Group, Relation, parse_groups, parse_list
from builder.lock.debian.release import Listed
from builder.lock.debian.versions import version_key
from builder.platforms import Platform
from builder.store.artifact import Artifact, Role

DebianRegistry = Literal["debian", "debian-security"]

MAX_COMPRESSED = 256 << 20
MAX_INDEX = 1 << 30
"""Bytes; fifteen times what sid's main holds."""

_XZ_MEMORY = 256 << 20
"""Bytes that a decoder may take: the largest preset needs 65 MiB."""

_MAX_DEB = 1 << 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9+_~%=@,:.-]+(?:/[A-Za-z0-9+_~%=@,:.-]+)*\.deb", re.ASCII)
_PROVIDED = re.compile(rb"(?:^|,)\s*([^\s,:(]+)")
_MIRROR = "the index is signed, so this is the archive's own fault; try another release or report it to Debian"


@dataclass(frozen=True, slots=True)
class Package:
    """One version of one package, as an index offers it.

    `depends` is `Pre-Depends` and `Depends`, in this order; `conflicts` is `Conflicts` and `Breaks`, which differ only
    in when dpkg looks. `path` is the index's `Filename`; `sha256` is hex, `size` in bytes.
    """

    name: str
    version: str
    architecture: str
    registry: DebianRegistry
    suite: str
    path: str
    sha256: str
    size: int
    depends: tuple[Group, ...] = ()
    provides: tuple[Relation, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    essential: bool = False
    priority: str = "optional"
    multi_arch: str = "no"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def artifact(package: Package, roles: Sequence[Role], platforms: Sequence[Platform]) -> Artifact:
    """What a lock says of a package."""
    return Artifact(
        kind="deb",
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        registry=package.registry,
        path=package.path,
        sha256=package.sha256,
        size=package.size,
        roles=tuple(roles),
        platforms=tuple(platforms),
    )


class Packages:
    """The packages of one suite for one architecture, in one index.

    Args:
        data: the index, decompressed.
        registry: where the packages' `Filename` counts from.
        suite: the codename, for messages.
        architecture: Debian's name of it; stanzas for others than this and `all` don't count.

    Raises:
        IntegrityError: a stanza does not begin with its name.
    """

    def __init__(self, data: bytes, *, registry: DebianRegistry, suite: str, architecture: str) -> None:
        self.registry = registry
        self.suite = suite
        self.architecture = architecture
        self._stanzas = data.split(b"\n\n")
        self._stanzas[-1] = self._stanzas[-1].rstrip(b"\n")
        if not self._stanzas[-1]:
            self._stanzas.pop()
        self._names: dict[bytes, list[int]] = {}
        self._provided: dict[bytes, list[int]] = {}
        self._parsed: dict[int, Package | None] = {}
        for number, stanza in enumerate(self._stanzas):
            if not stanza.startswith(b"Package: "):
                raise self._fault(f"stanza {number + 1} does not begin with its package's name")
            end = stanza.find(b"\n")
            self._names.setdefault(stanza[9 : end if end >= 0 else None], []).append(number)
            if (start := stanza.find(b"\nProvides:")) >= 0:
                for name in _PROVIDED.findall(_value(stanza, start + 10)):
                    self._provided.setdefault(name, []).append(number)

    @property
    def where(self) -> str:
        """What messages call this index."""
        return f"Packages of {self.suite} for {self.architecture}"

    def names(self) -> set[str]:
        """Every name that a package has or provides."""
        return {name.decode("ascii", "replace") for name in (*self._names, *self._provided)}

    def named(self, name: str) -> list[Package]:
        """The packages of this name, in the index's order.

        Raises:
            IntegrityError: such a stanza is malformed.
        """
        return self._packages(self._names, name)

    def providing(self, name: str) -> list[Package]:
        """The packages whose `Provides` has this name, in the index's order.

        Raises:
            IntegrityError: such a stanza is malformed.
        """
        return self._packages(self._provided, name)

    def _packages(self, table: dict[bytes, list[int]], name: str) -> list[Package]:
        numbers = table.get(name.encode(), ())
        return [package for number in dict.fromkeys(numbers) if (package := self._package(number)) is not None]

    def _package(self, number: int) -> Package | None:
        if number not in self._parsed:
            stanza = self._stanzas[number]
            try:
                self._parsed[number] = self._parse(_fields(stanza))
            except ValueError as error:
                name = stanza[9:80].partition(b"\n")[0].decode("ascii", "replace")
                raise self._fault(f"package {name}: {error}") from error
        return self._parsed[number]

    def _parse(self, fields: dict[str, str]) -> Package | None:
        architecture = _need(fields, "architecture")
        if architecture not in ("all", self.architecture):
            return None
        name, version, path, sha256, size = (
            _need(fields, field) for field in ("package", "version", "filename", "sha256", "size")
        )
        version_key(version)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a package name")
        if not _PATH.fullmatch(path) or any(part.strip(".") == "" for part in path.split("/")):
            raise ValueError(f"Filename {path[:120]!r} is not a plain relative path of a .deb")
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"SHA256 {sha256[:80]!r} is not a hash")
        if not (size.isascii() and size.isdecimal() and len(size) <= len(str(_MAX_DEB))):
            raise ValueError(f"Size {size[:80]!r} is not a number of bytes")
        own = self.architecture
        return Package(
            name=name,
            version=version,
            architecture=architecture,
            registry=self.registry,
            suite=self.suite,
            path=path,
            sha256=sha256,
            size=int(size),
            depends=parse_groups(fields.get("pre-depends", ""), own) + parse_groups(fields.get("depends", ""), own),
            provides=parse_list(fields.get("provides", ""), own),
            conflicts=parse_list(fields.get("conflicts", ""), own) + parse_list(fields.get("breaks", ""), own),
            essential=fields.get("essential", "no") == "yes",
            priority=fields.get("priority", "optional"),
            multi_arch=fields.get("multi-arch", "no"),
        )

    def _fault(self, what: str) -> IntegrityError:
        return IntegrityError(f"malformed index: {what}", where=self.where, hint=_MIRROR)


def _need(fields: dict[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise ValueError(f"it has no {name.capitalize()}")
    return value


def _value(stanza: bytes, start: int) -> bytes:
    """A field's value from just behind its colon, with its continuation lines."""
    end = stanza.find(b"\n", start)
    while end >= 0 and stanza[end + 1 : end + 2] in (b" ", b"\t"):
        end = stanza.find(b"\n", end + 1)
    return stanza[start : end if end >= 0 else None]


def _fields(stanza: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.decode("utf-8").split("\n"):
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line  # a stanza begins with its name, so there is one
            continue
        head, colon, value = line.partition(":")
        name = head.lower()
        if not colon or not head.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"line {line[:60]!r} is not a field")
        if name in fields:
            raise ValueError(f"field {head} stands twice")
        fields[name] = value.strip()
    return fields


def decompress(data: bytes, path: str, listed: Listed, whole: Listed | None, *, where: str) -> bytes:
    """Check a compressed index against what the release promised, then decompress it, never past its bound.

    Args:
        data: the file as fetched.
        path: its path, which tells how it is compressed (`.xz` or `.gz`).
        listed: the promised hash and size of `data`.
        whole: the same of what is inside, where the release tells.
        where: what messages call it.

    Raises:
        IntegrityError: another size or hash, more inside than promised, or not of its format.
    """
    if len(data) != listed.size or hashlib.sha256(data).hexdigest() != listed.sha256:
        raise IntegrityError(
            f"{path} has {len(data)} bytes with SHA-256 {hashlib.sha256(data).hexdigest()}, but the signed index "
            f"promises {listed.size} with {listed.sha256}",
            where=where,
            hint="the mirror is out of step or broken: try again later or set KBUILD_DEBIAN_MIRROR to another one",
        )
    limit = MAX_INDEX if whole is None else min(whole.size, MAX_INDEX)
    try:
        content, complete = _unpack(data, path, limit)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise IntegrityError(f"{path} can't be decompressed: {error}", where=where, hint=_MIRROR) from error
    if len(content) > limit or not complete:
        raise IntegrityError(f"{path} holds more or less than the {limit} bytes it may", where=where, hint=_MIRROR)
    if whole is not None and len(content) != whole.size:
        raise IntegrityError(
            f"{path} holds {len(content)} bytes, but {whole.size} are promised", where=where, hint=_MIRROR
        )
    return content


def _unpack(data: bytes, path: str, limit: int) -> tuple[bytes, bool]:
    """At most one byte more than `limit`, and whether the file ended exactly there."""
    if path.endswith(".xz"):
        xz = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        content = xz.decompress(data, max_length=limit + 1)
        return content, xz.eof and not xz.unused_data
    gzip = zlib.decompressobj(wbits=31)
    content = gzip.decompress(data, limit + 1)
    return content, gzip.eof and not gzip.unused_data
