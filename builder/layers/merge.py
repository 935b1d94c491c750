"""Many packages, one tree: which of them owns each path, decided as dpkg decides it but without an order.

Two packages may both ship a directory. They may both ship a file only if it is the same file, or if one of them
declares that it replaces the other (`Replaces`, policy 7.6). Everything else is an error that names both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from builder.errors import IntegrityError, SpecError
from builder.layers.deb import Deb
from builder.layers.entry import Entry, Kind
from builder.layers.usrmerge import Links, find_links, moved, root_links
from builder.lock.debian.relations import parse_list


@dataclass(frozen=True, slots=True)
class Owned:
    """An entry at its place in the image, and the package that it came from."""

    entry: Entry
    deb: Deb


def merge(debs: Sequence[Deb]) -> dict[str, Owned]:
    """Lay the packages over each other.

    The mode and owner of a directory that several ship are those of `base-files`, or else of the first package by
    name: dpkg keeps what the first one unpacked gave it, and `base-files` is unpacked before all others.

    Returns:
        Every path with its entry and owner; root links included, hard links pointing at files of the result.

    Raises:
        SpecError: two packages ship different things at one path and neither replaces the other.
        IntegrityError: symlinks lead in circles.
    """
    ordered = sorted(debs, key=lambda deb: (deb.name != "base-files", deb.name, deb.architecture))
    for one, other in pairwise(ordered):
        if (one.name, one.architecture) == (other.name, other.architecture):
            raise SpecError(f"the package {one.name} is there twice, as {one.version} and {other.version}")
    tops = root_links(entry.path for deb in ordered for entry in deb.entries)
    links = find_links((entry for deb in ordered for entry in deb.entries), tops)
    tree: dict[str, Owned] = {}
    kept: list[Owned] = []  # what packages ship as directories and others as links to one
    for deb in ordered:
        for entry in deb.entries:
            if entry.path in tops:
                _check_root(entry, tops[entry.path], deb)
                continue
            place = links.place(entry.path)
            if place in links and entry.kind is Kind.DIRECTORY:
                kept.append(Owned(replace(entry, path=links.resolve(place)), deb))
                continue
            _settle(Owned(moved(entry, place, links), deb), tree)
    for owned in kept:
        _settle(owned, tree)
    _check_folders(tree, links)
    return _with_root(tree, tops, ordered)


def _check_root(entry: Entry, target: str, deb: Deb) -> None:
    if entry.kind is Kind.DIRECTORY or (entry.kind is Kind.SYMLINK and entry.target == target):
        return
    raise SpecError(
        f"the package {deb.name} ships /{entry.path} as a {entry.kind.value}; the image has a link to {target} there",
        where=deb.where,
    )


def _with_root(tree: dict[str, Owned], tops: dict[str, str], debs: Sequence[Deb]) -> dict[str, Owned]:
    if debs:
        times = [entry.mtime for entry in debs[0].entries]
        for path, target in tops.items():
            link = Entry(path, Kind.SYMLINK, 0o777, max(times, default=0), target=target)
            tree[path] = Owned(link, debs[0])
    return tree


def _settle(new: Owned, tree: dict[str, Owned]) -> None:
    path = new.entry.path
    old = tree.get(path)
    if old is None:
        tree[path] = new
        return
    if old.entry.kind is Kind.DIRECTORY and new.entry.kind is Kind.DIRECTORY:
        return
    if old.deb is new.deb:
        raise SpecError(f"the package ships /{path} under two names", where=new.deb.where)
    if _same(old.entry, new.entry):
        return
    forward, backward = _replaces(new.deb, old.deb), _replaces(old.deb, new.deb)
    if forward == backward:
        raise SpecError(
            f"the packages {old.deb.name} and {new.deb.name} both ship /{path}, and not the same",
            where=new.deb.where,
            hint="leave one of them out",
        )
    if forward:
        tree[path] = new


def _same(one: Entry, other: Entry) -> bool:
    if (one.kind, one.size, one.target, one.mode) != (other.kind, other.size, other.target, other.mode):
        return False
    return one.kind is not Kind.FILE or _digest(one) == _digest(other)


def _digest(entry: Entry) -> bytes:
    if entry.source is None:
        return b""
    digest = hashlib.sha256()
    with entry.source() as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def _replaces(deb: Deb, other: Deb) -> bool:
    """Whether `deb` says that it may take over files of `other`."""
    try:
        relations = parse_list(deb.control.get("Replaces", ""), deb.architecture)
    except ValueError as error:
        raise IntegrityError(f"the field Replaces is malformed: {error}", where=deb.where) from error
    return any(relation.name == other.name and relation.admits(other.version) for relation in relations)


def _check_folders(tree: dict[str, Owned], links: Links) -> None:
    """Replacing a file must not leave a hard link without it; nothing may stand below what is no directory."""
    for path, owned in tree.items():
        entry = owned.entry
        if entry.kind is Kind.HARDLINK:
            origin = tree.get(entry.target)
            if origin is None or origin.entry.kind is Kind.SYMLINK or origin.entry.kind is Kind.DIRECTORY:
                raise SpecError(f"/{path} shares the file /{entry.target}, which another package replaces")
        above = path.rpartition("/")[0]
        while above:
            found = tree.get(above)
            if found is not None:
                if found.entry.kind is not Kind.DIRECTORY or above in links:
                    raise SpecError(
                        f"the packages {found.deb.name} and {owned.deb.name} disagree whether /{above} is a folder",
                        where=owned.deb.where,
                        hint="leave one of them out",
                    )
                break
            above = above.rpartition("/")[0]
