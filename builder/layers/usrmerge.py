"""Where a package's paths land when some of their directories are symlinks.

Debian's root is merged: `bin`, `sbin`, `lib` and `lib64` are links into `usr`, while packages up to bookworm still
ship files below the old names. dpkg resolves such links when it unpacks, whoever ships them; here every path is
rewritten by the same rule, for the root links and for any other link to a directory that a package ships. So a
directory never replaces a link, whatever the order of the packages.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind

_ALWAYS = ("bin", "lib", "sbin")
_WHERE_USED = ("lib32", "lib64", "libo32", "libx32")
_MOST_HOPS = 40
"""What Linux follows before it gives up with ELOOP."""


def root_links(paths: Iterable[str]) -> dict[str, str]:
    """The links of a merged root: the three that all have, and those for the word sizes that some path uses."""
    tops: set[str] = set()
    for path in paths:
        parts = path.split("/", 2)
        tops.add(parts[1] if parts[0] == "usr" and len(parts) > 1 else parts[0])
    return {name: f"usr/{name}" for name in (*_ALWAYS, *(name for name in _WHERE_USED if name in tops))}


class Links:
    """A set of symlinks, path to target text, and what paths mean in their presence."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = dict(links)
        self._folders: dict[str, str] = {"": ""}

    def __contains__(self, path: str) -> bool:
        return path in self._links

    def same(self, links: Mapping[str, str]) -> bool:
        """Whether this is that set of links."""
        return self._links == links

    def place(self, path: str) -> str:
        """Where an object of this path stands: links above it are followed, one at the path itself is not."""
        above, _, name = path.rpartition("/")
        if above not in self._folders:
            self._folders[above] = self.resolve(above)
        folder = self._folders[above]
        return f"{folder}/{name}" if folder else name

    def resolve(self, path: str) -> str:
        """Where a path leads in the end; see `follow`."""
        return follow(path, self._links.get)


def follow(path: str, target_of: Callable[[str], str | None]) -> str:
    """Where a path leads in the end, below the root; `..` at the root stays there, as in a chroot.

    Args:
        path: relative to the root.
        target_of: the text of the symlink at a path that has no other links in it, or None if there is no symlink.

    Raises:
        IntegrityError: it leads in circles.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    hops = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        target = target_of("/".join(done))
        if target is None:
            continue
        hops += 1
        if hops > _MOST_HOPS:
            raise IntegrityError("too many levels of symbolic links", where=repr(path))
        done = [] if target.startswith("/") else done[:-1]
        todo.extend(target.split("/")[::-1])
    return "/".join(done)


def find_links(entries: Iterable[Entry], links: Mapping[str, str]) -> Links:
    """All symlinks of a set of packages at the places where they land, `links` among them.

    Links can move other links (`lib64/ld.so` through `lib64`), so this repeats until nothing moves.
    """
    symlinks = [entry for entry in entries if entry.kind is Kind.SYMLINK and entry.path not in links]
    known = Links(links)
    for _ in range(_MOST_HOPS):
        found = dict(links)
        for entry in symlinks:
            place = known.place(entry.path)
            if place not in links:
                found[place] = moved(entry, place, known).target
        if known.same(found):
            return known
        known = Links(found)
    raise IntegrityError("the packages' symbolic links move each other without end")


def moved(entry: Entry, place: str, links: Links) -> Entry:
    """The entry at its place; hard links follow their file, and a relative link keeps its meaning.

    A link such as `lib/x/a -> ../../usr/lib/b` meant `usr/lib/b` and would mean `usr/usr/lib/b` once it stands in
    `usr/lib/x`. Debian's policy (10.5) makes links that cross top-level directories absolute for this reason, so
    rewriting one is rare.
    """
    if entry.kind is Kind.HARDLINK:
        return replace(entry, path=place, target=links.place(entry.target))
    if place == entry.path:
        return entry
    target = entry.target
    if entry.kind is Kind.SYMLINK and not target.startswith("/"):
        meant = posixpath.normpath(posixpath.join("/", posixpath.dirname(entry.path), target))
        means = posixpath.normpath(posixpath.join("/", posixpath.dirname(place), target))
        if links.place(meant[1:]) != links.place(means[1:]):
            target = meant
    return replace(entry, path=place, target=target)
