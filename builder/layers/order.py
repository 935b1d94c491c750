"""Canonical order: which entries a tree may have, and the one sequence that they stand in.

`docs/layer-format.md` is the normative text; everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind

MAX_PATH = 4095
"""Bytes of a path or link target: PATH_MAX of Linux without its NUL."""
MAX_NAME = 255
"""Bytes of one path component: NAME_MAX of Linux."""
MAX_XATTR = 65536
"""Bytes of an entry's extended attributes, names and values together: XATTR_SIZE_MAX of Linux for one alone."""
MAX_ID = 2**32 - 2
"""Largest user or group ID; 2**32 - 1 means "leave as it is" to chown."""
MAX_TIME = 2**40
"""Largest mtime: far beyond any clock, and exact in every reader."""
MAX_FILE = 2**50
"""Largest file, in bytes."""


def sort_key(path: str) -> bytes:
    """What paths are sorted by: their components' bytes, one after the other.

    No component holds a NUL, so comparing with NUL for the slash is the same as comparing tuples of components, and
    every folder is directly followed by all that is below it (`a`, `a/b`, `a-b`; plain bytes would give `a`, `a-b`,
    `a/b`).
    """
    return path.encode().replace(b"/", b"\0")


def check_path(path: str, where: str) -> None:
    """Refuse a path that is not plainly relative, or that Linux could not hold.

    Raises:
        IntegrityError: naming `where` the path was read.
    """
    raw = _utf8(path, "path", where)
    if "\0" in path:
        raise IntegrityError(f"the path {path!r} holds a NUL byte", where=where)
    if len(raw) > MAX_PATH:
        raise IntegrityError(f"the path {path[:60]!r}... is {len(raw)} bytes long; Linux takes {MAX_PATH}", where=where)
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise IntegrityError(
                f"the path {path!r} is not plain: it is absolute, or has an empty, '.' or '..' part", where=where
            )
        if len(part) * 4 > MAX_NAME and len(part.encode()) > MAX_NAME:
            raise IntegrityError(f"the path {path[:60]!r}... has a part longer than {MAX_NAME} bytes", where=where)


def check_entry(entry: Entry) -> None:
    """Refuse an entry that a canonical tar cannot say.

    Raises:
        IntegrityError: naming the entry.
    """
    where = repr(entry.path)
    check_path(entry.path, where)
    for name, value, limit in (
        ("mode", entry.mode, 0o7777),
        ("mtime", entry.mtime, MAX_TIME),
        ("uid", entry.uid, MAX_ID),
        ("gid", entry.gid, MAX_ID),
        ("size", entry.size, MAX_FILE),
    ):
        if type(value) is not int or not 0 <= value <= limit:
            raise IntegrityError(f"{name} is {value!r}, not a whole number from 0 to {limit}", where=where)
    if entry.kind is not Kind.FILE and entry.size:
        raise IntegrityError(f"a {entry.kind.value} of {entry.size} bytes; only files have a size", where=where)
    if entry.kind is Kind.SYMLINK:
        _check_symlink(entry.target, where)
    elif entry.kind is Kind.HARDLINK:
        check_path(entry.target, where)
    elif entry.target:
        raise IntegrityError(f"a {entry.kind.value} with a link target", where=where)
    if entry.xattrs:
        _check_xattrs(entry, where)


def ordered(entries: Iterable[Entry], *, epoch: int | None = None) -> list[Entry]:
    """Bring a tree into canonical form: the same list for every order of the same entries.

    Entries that share content are re-rooted: the first path in order is the file, the others are hard links to it
    with its metadata. Symlinks get mode 0777, extended attributes are sorted.

    Args:
        entries: in any order.
        epoch: mtime of parents that no entry states (directories, 0755, root's); without it they are refused.

    Raises:
        IntegrityError: a path is stated twice, lies below something that is no directory, or is not allowed; a hard
            link leads to no file.
    """
    tree: dict[str, Entry] = {}
    for entry in entries:
        check_entry(entry)
        if entry.path in tree:
            raise IntegrityError(
                f"stated twice: as a {tree[entry.path].kind.value} and as a {entry.kind.value}", where=repr(entry.path)
            )
        tree[entry.path] = _normal(entry)
    _root_links(tree)
    _state_parents(tree, epoch)
    return sorted(tree.values(), key=lambda entry: sort_key(entry.path))


def _normal(entry: Entry) -> Entry:
    if entry.kind is Kind.SYMLINK and entry.mode != 0o777:  # noqa: PLR2004
        entry = replace(entry, mode=0o777)
    if len(entry.xattrs) > 1:
        entry = replace(entry, xattrs=tuple(sorted(entry.xattrs, key=lambda pair: pair[0].encode())))
    return entry


def _root_links(tree: dict[str, Entry]) -> None:
    """Make the first path of each set of hard links its file."""
    files: dict[str, str] = {}  # link -> the file that it leads to
    for entry in tree.values():
        if entry.kind is Kind.HARDLINK:
            _follow(entry, tree, files)
    groups: dict[str, list[str]] = {}
    for link, file in files.items():
        groups.setdefault(file, [file]).append(link)
    for file, paths in groups.items():
        origin = tree[file]
        first, *others = sorted(paths, key=sort_key)
        tree[first] = replace(origin, path=first)
        for path in others:
            tree[path] = replace(origin, path=path, kind=Kind.HARDLINK, size=0, target=first, source=None, xattrs=())


def _follow(entry: Entry, tree: dict[str, Entry], files: dict[str, str]) -> None:
    """Find the file at the end of a chain of hard links, and note it for every link of the chain."""
    chain: dict[str, None] = {}
    here = entry
    while here.kind is Kind.HARDLINK:
        if here.path in files:
            here = tree[files[here.path]]
            break
        if here.path in chain:
            raise IntegrityError("a hard link that leads back to itself", where=repr(entry.path))
        chain[here.path] = None
        target = tree.get(here.target)
        if target is None:
            raise IntegrityError(f"a hard link to {here.target!r}, which is not in this tree", where=repr(here.path))
        here = target
    if here.kind is not Kind.FILE:
        raise IntegrityError(f"a hard link to {here.path!r}, which is a {here.kind.value}", where=repr(entry.path))
    files.update(dict.fromkeys(chain, here.path))


def _state_parents(tree: dict[str, Entry], epoch: int | None) -> None:
    for path in list(tree):
        parent = path.rpartition("/")[0]
        while parent:
            known = tree.get(parent)
            if known is not None:
                if known.kind is not Kind.DIRECTORY:
                    raise IntegrityError(f"lies below {parent!r}, which is a {known.kind.value}", where=repr(path))
                break
            if epoch is None:
                raise IntegrityError(f"the folder {parent!r} is not stated", where=repr(path))
            tree[parent] = Entry(path=parent, kind=Kind.DIRECTORY, mode=0o755, mtime=epoch)
            parent = parent.rpartition("/")[0]


def _check_symlink(target: str, where: str) -> None:
    raw = _utf8(target, "link target", where)
    if not 0 < len(raw) <= MAX_PATH or b"\0" in raw:
        raise IntegrityError("a symlink whose target is empty, too long or holds a NUL byte", where=where)


def _check_xattrs(entry: Entry, where: str) -> None:
    if entry.kind is Kind.HARDLINK:
        raise IntegrityError("a hard link with extended attributes; they belong to its file", where=where)
    names = [name for name, _ in entry.xattrs]
    if len(set(names)) != len(names):
        raise IntegrityError("an extended attribute is stated twice", where=where)
    for name, value in entry.xattrs:
        raw = _utf8(name, "attribute name", where)
        if not 0 < len(raw) <= MAX_NAME or b"=" in raw or b"\0" in raw:
            raise IntegrityError(f"an extended attribute with the name {name[:60]!r}", where=where)
        if not value:  # PAX reads that as no attribute
            raise IntegrityError(f"the extended attribute {name!r} is empty", where=where)
    if sum(len(name.encode()) + len(value) for name, value in entry.xattrs) > MAX_XATTR:
        raise IntegrityError(f"extended attributes of more than {MAX_XATTR} bytes", where=where)


def _utf8(text: str, what: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise IntegrityError(f"a {what} that is not valid UTF-8: {text[:60]!r}", where=where) from error
