"""The tree digest: what a tree is, whatever archive carries it.

It covers every entry's metadata and the SHA-256 of each file's content, so two layers with equal tree digests differ in
framing only. `docs/layer-format.md` is the normative text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

from builder.layers.entry import Entry, Kind

_LETTERS = {Kind.FILE: "f", Kind.HARDLINK: "h", Kind.SYMLINK: "l", Kind.DIRECTORY: "d"}


class TreeDigest:
    """Takes a tree's entries in canonical order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"kbuild tree 1\0")

    def add(self, entry: Entry, content: str) -> None:
        """Add one entry.

        Args:
            entry: as `builder.layers.order.ordered` gives it.
            content: hex SHA-256 of a file's content; empty for everything else.
        """
        fields = [
            _LETTERS[entry.kind],
            entry.path,
            f"{entry.mode:o}",
            str(entry.uid),
            str(entry.gid),
            str(entry.mtime),
            str(entry.size),
            content or entry.target,
            str(len(entry.xattrs)),
        ]
        for name, value in entry.xattrs:
            fields += (name, value.hex())
        fields.append("")
        self._hash.update("\0".join(fields).encode())

    def digest(self) -> str:
        """`sha256:<hex>` of what was added."""
        return f"sha256:{self._hash.hexdigest()}"


def tree_digest(members: Iterable[tuple[Entry, BinaryIO]]) -> str:
    """The digest of a tree as `builder.layers.tar.read_tar` yields it, for audits of tars from elsewhere."""
    tree = TreeDigest()
    for entry, stream in members:
        content = hashlib.sha256()
        while data := stream.read(2**20):
            content.update(data)
        tree.add(entry, content.hexdigest() if entry.kind is Kind.FILE else "")
    return tree.digest()
