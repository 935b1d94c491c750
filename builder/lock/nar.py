"""Nix archives: a tree as one sequence of bytes, whose SHA-256 is what Nix and flakes call its `narHash`.

Written and read as the Nix manual has it ("Nix Archive (NAR) format"): no times, no owners, of modes only the right to
execute, entries sorted by the bytes of their names. Equal trees have equal archives.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from builder.errors import IntegrityError

MAGIC = b"nix-archive-1"
DEEPEST = 128
"""Folders inside of each other that an archive may have."""
_LONGEST = 4096
"""Bytes of the longest name or target of a link; Linux allows no longer ones."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A file's bytes: where they begin in a file that holds many, and how many they are."""

    start: int
    size: int
    executable: bool


Node: TypeAlias = "dict[bytes, Node] | Span | bytes"
"""A folder's entries by name, a file, or the target of a symbolic link."""


def sri(sha256: str) -> str:
    """A hex SHA-256 in the form `sha256-<base64>`, as flakes write it."""
    return "sha256-" + base64.b64encode(bytes.fromhex(sha256)).decode("ascii")


def bare(narhash: str) -> str:
    """The hex SHA-256 of the form `sha256-<base64>`."""
    return base64.b64decode(narhash.removeprefix("sha256-"), validate=True).hex()


def write_nar(tree: Node, contents: BinaryIO, out: Callable[[bytes], object]) -> None:
    """Write a tree's archive.

    Args:
        tree: usually a folder.
        contents: where its files' bytes are.
        out: takes the pieces.
    """
    out(_text(MAGIC))
    _write(tree, contents, out)


def _write(node: Node, contents: BinaryIO, out: Callable[[bytes], object]) -> None:
    match node:
        case bytes(target):
            out(_texts(b"(", b"type", b"symlink", b"target", target, b")"))
        case Span(start, size, executable):
            begin = (b"executable", b"") if executable else ()
            out(_texts(b"(", b"type", b"regular", *begin, b"contents") + struct.pack("<Q", size))
            contents.seek(start)
            left = size
            while left:
                data = contents.read(min(left, _CHUNK))
                if not data:
                    raise IntegrityError("a file ended early")
                out(data)
                left -= len(data)
            out(bytes(-size % 8) + _text(b")"))
        case dict(entries):
            out(_texts(b"(", b"type", b"directory"))
            for name, inner in sorted(entries.items()):
                out(_texts(b"entry", b"(", b"name", name, b"node"))
                _write(inner, contents, out)
                out(_text(b")"))
            out(_text(b")"))


def read_nar(archive: BinaryIO) -> Node:
    """Read an archive; the spans of its files lead into the archive itself.

    Raises:
        IntegrityError: it is not one, or not in the one form that a tree has.
    """
    reader = _Reader(archive)
    reader.expect(MAGIC)
    tree = reader.node(0)
    if archive.read(1):
        raise IntegrityError("a Nix archive has bytes behind its end")
    return tree


def walk(tree: Node, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Every node below a folder with its path, folders before what is in them."""
    if isinstance(tree, dict):
        for name, inner in sorted(tree.items()):
            path = prefix + name
            yield path, inner
            yield from walk(inner, path + b"/")


class _Reader:
    """The archive's words, one after the other."""

    def __init__(self, archive: BinaryIO) -> None:
        self._archive = archive

    def expect(self, *words: bytes) -> None:
        for word in words:
            if (found := self.text()) != word:
                raise IntegrityError(f"a Nix archive has {found!r} where {word!r} has to be")

    def text(self) -> bytes:
        size = self._number()
        if size > _LONGEST:
            raise IntegrityError("a Nix archive has a name that is too long")
        data = self._exactly(size)
        self._padding(size)
        return data

    def node(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise IntegrityError("a Nix archive has too many folders inside of each other")
        self.expect(b"(", b"type")
        match self.text():
            case b"directory":
                return self._folder(depth)
            case b"symlink":
                self.expect(b"target")
                target = self.text()
                self.expect(b")")
                return target
            case b"regular":
                return self._file()
            case other:
                raise IntegrityError(f"a Nix archive has something of the type {other!r}")

    def _folder(self, depth: int) -> Node:
        entries: dict[bytes, Node] = {}
        last = b""
        while (word := self.text()) != b")":
            if word != b"entry":
                raise IntegrityError(f"a Nix archive has {word!r} in a folder")
            self.expect(b"(", b"name")
            name = self.text()
            if name <= last or name in (b".", b"..") or b"/" in name or b"\0" in name:
                raise IntegrityError(f"a Nix archive has the name {name!r} where none of that form may stand")
            self.expect(b"node")
            entries[name] = self.node(depth + 1)
            self.expect(b")")
            last = name
        return entries

    def _file(self) -> Span:
        word = self.text()
        executable = word == b"executable"
        if executable:
            self.expect(b"", b"contents")
        elif word != b"contents":
            raise IntegrityError(f"a Nix archive has {word!r} in a file")
        size = self._number()
        start = self._archive.tell()
        self._archive.seek(size, 1)
        self._padding(size)
        self.expect(b")")
        return Span(start, size, executable)

    def _number(self) -> int:
        return int(struct.unpack("<Q", self._exactly(8))[0])

    def _padding(self, size: int) -> None:
        if any(self._exactly(-size % 8)):
            raise IntegrityError("a Nix archive has bytes in its padding")

    def _exactly(self, size: int) -> bytes:
        data = self._archive.read(size)
        if len(data) != size:
            raise IntegrityError("a Nix archive ends early")
        return data


def _text(word: bytes) -> bytes:
    return struct.pack("<Q", len(word)) + word + bytes(-len(word) % 8)


def _texts(*words: bytes) -> bytes:
    return b"".join(map(_text, words))
