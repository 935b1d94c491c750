"""An image's root while it is being completed: looked up and changed by path, with symlinks followed inside it.

The steps that stand in for maintainer scripts need what a script has: does this exist, what does it say, put this
there. Nothing touches the disk.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from builder.errors import IntegrityError, SpecError
from builder.layers.entry import Entry, Kind
from builder.layers.usrmerge import follow

_READ_MOST: Final = 64 << 20


class Root:
    """The objects of an image by their place; what is added gets the epoch as its time and belongs to root.

    Args:
        entries: at their places: no path has a symlink above its last part.
        epoch: seconds since 1970.
    """

    def __init__(self, entries: Iterable[Entry], epoch: int) -> None:
        self.epoch = epoch
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, set[str]] = {}
        for entry in entries:
            self._put(entry if entry.mtime <= epoch else replace(entry, mtime=epoch))

    def entries(self) -> list[Entry]:
        """Everything, in no particular order."""
        return list(self._entries.values())

    def resolve(self, path: str) -> str:
        """The place that a path leads to, all links followed, whether something is there or not."""
        return follow(path, self._target)

    def place(self, path: str) -> str:
        """The place of an object of this path, links followed above it only."""
        above, _, name = path.rpartition("/")
        return f"{self.resolve(above)}/{name}".removeprefix("/")

    def at(self, path: str) -> Entry | None:
        """What stands at a path; a symlink is itself."""
        return self._entries.get(self.place(path))

    def find(self, path: str) -> Entry | None:
        """What a path leads to; a hard link is its file."""
        entry = self._entries.get(self.resolve(path))
        if entry is not None and entry.kind is Kind.HARDLINK:
            return self._entries.get(entry.target)
        return entry

    def is_folder(self, path: str) -> bool:
        """Whether a path leads to a directory, stated or implied by what is below it."""
        place = self.resolve(path)
        found = self._entries.get(place)
        return found.kind is Kind.DIRECTORY if found is not None else place in self._names

    def names(self, folder: str) -> list[str]:
        """The names in a directory, sorted; none if there is no such directory."""
        return sorted(self._names.get(self.resolve(folder), ()))

    def read(self, path: str) -> bytes | None:
        """The content of the file that a path leads to, or None if there is no file.

        Raises:
            IntegrityError: it is too large to be a configuration file.
        """
        entry = self.find(path)
        if entry is None or entry.source is None:
            return None
        if entry.size > _READ_MOST:
            raise IntegrityError(f"{entry.size} bytes are too many for a configuration file", where=f"/{path}")
        with entry.source() as content:
            return content.read()

    def write(self, path: str, data: bytes, *, mode: int = 0o644, gid: int = 0) -> None:
        """Put a file at a path, in place of another file or link that is there.

        Raises:
            SpecError: there is a directory.
        """
        source = partial(io.BytesIO, data)
        self._replace(Entry(self.place(path), Kind.FILE, mode, self.epoch, gid=gid, size=len(data), source=source))

    def link(self, path: str, target: str) -> None:
        """Put a symlink at a path, in place of a file, link or empty directory that is there.

        Raises:
            SpecError: there is a directory that is not empty.
        """
        self._replace(Entry(self.place(path), Kind.SYMLINK, 0o777, self.epoch, target=target))

    def folder(self, path: str, *, mode: int = 0o755, gid: int = 0) -> None:
        """Make a directory unless something is there."""
        place = self.resolve(path)
        if place not in self._entries:
            self._put(Entry(place, Kind.DIRECTORY, mode, self.epoch, gid=gid))

    def _target(self, path: str) -> str | None:
        entry = self._entries.get(path)
        return entry.target if entry is not None and entry.kind is Kind.SYMLINK else None

    def _replace(self, entry: Entry) -> None:
        old = self._entries.get(entry.path)
        if self._names.get(entry.path) or (
            old is not None and old.kind is Kind.DIRECTORY and entry.kind is not Kind.SYMLINK
        ):
            raise SpecError(f"/{entry.path} has to become a {entry.kind.value}, and packages have a folder there")
        self._put(entry)

    def _put(self, entry: Entry) -> None:
        self._entries[entry.path] = entry
        path = entry.path
        while path:
            above, _, name = path.rpartition("/")
            names = self._names.setdefault(above, set())
            if name in names:
                break
            names.add(name)
            path = above
