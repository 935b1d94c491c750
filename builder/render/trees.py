"""Trees written down: every file hashed, traced to where its bytes come from, or brought along."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from builder.errors import IntegrityError
from builder.layers.digest import TreeDigest
from builder.layers.entry import Entry, Kind
from builder.layers.header import encode, padding
from builder.layers.tar import CHUNK, END
from builder.render.image import FILES, Tree
from builder.render.mtree import Item, mtree
from builder.render.origins import best

LARGEST_SHIPPED = 64 << 20
"""A file that no input holds is a list, a cache or a source that kbuild placed; one above this is a mistake."""


class Scribe:
    """Writes trees down, and collects the files that a rendered directory has to bring along for them.

    `files` are what has to be brought along, by path; `used` are the origins that trees refer to.

    Args:
        origins: where bytes are, by their hex SHA-256; grows with each file that is brought along.
        outputs: the same for what steps make, which only comes to be after their inputs.
    """

    def __init__(self, origins: dict[str, list[str]], outputs: Mapping[str, Sequence[str]]) -> None:
        self._origins = origins
        self._outputs = outputs
        self.files: dict[str, str | bytes] = {}
        self.used: set[str] = set()

    def write(
        self, name: str, file: str, members: Iterable[tuple[Entry, BinaryIO | None]], about: str
    ) -> tuple[Tree, list[Item]]:
        """Write one tree down.

        Args:
            name: of the tree.
            file: where its mtree file goes.
            members: entries in canonical order with their contents, which are read once and closed.
            about: what the tree is, for the file's first line.

        Raises:
            IntegrityError: a large file comes from nowhere.
        """
        items: list[Item] = []
        tree, tar = TreeDigest(), hashlib.sha256()
        for entry, stream in members:
            tar.update(encode(entry))
            item = Item(entry)
            if entry.kind is Kind.FILE:
                item = self._file(name, entry, stream, tar)
                tar.update(bytes(padding(entry.size)))
            tree.add(entry, item.sha256)
            items.append(item)
        tar.update(END)
        found = Tree(name, file, f"sha256:{tar.hexdigest()}", tree.digest())
        comments = (about, f"diff ID {found.diff_id}", f"tree digest {found.tree_digest}")
        self.files[file] = mtree(items, comments=comments)
        return found, items

    def add_origin(self, sha256: str, origin: str) -> None:
        """Note another place where these bytes are."""
        self._origins.setdefault(sha256, []).append(origin)

    def _file(self, tree: str, entry: Entry, stream: BinaryIO | None, tar: hashlib._Hash) -> Item:
        content, held = hashlib.sha256(), bytearray()
        if stream is not None:
            with stream:
                while data := stream.read(CHUNK):
                    content.update(data)
                    tar.update(data)
                    if entry.size <= LARGEST_SHIPPED:
                        held += data
        sha256 = content.hexdigest()
        if not entry.size:
            return Item(entry, sha256)
        known = self._origins.get(sha256) or self._outputs.get(sha256)
        if known:
            origin = best(known, entry.path)
        elif len(held) == entry.size:
            origin = self._bring(f"{tree}/{entry.path}", bytes(held), sha256)
        else:
            raise IntegrityError(f"{entry.size} bytes that are in none of the locked artifacts", where=entry.path)
        self.used.add(origin)
        return Item(entry, sha256, origin)

    def _bring(self, path: str, data: bytes, sha256: str) -> str:
        origin = f"{FILES}/{path}"
        self.files[origin] = data
        self.add_origin(sha256, origin)
        return origin
