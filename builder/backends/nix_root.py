"""What the files of a root's packages do not give by themselves when a plain tool unpacks them in order.

Nix unpacks the packages with BusyBox, so that of kbuild's own code nothing has a hand in their contents. The rest of a
root is synthesised: the linker's cache, alternatives, accounts, and whatever several packages ship. That comes as one
tar of additions, which is laid over the packages.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from builder.layers.deb import Deb
from builder.layers.entry import Entry, Kind
from builder.layers.usrmerge import Links

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
}

_EMPTY = frozenset(f"usr/{name}" for name in ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"))
"""Folders that `nix/root.sh` makes beforehand, and removes again where nothing came to be in them."""


def additions(entries: Sequence[Entry], debs: Iterable[Deb]) -> list[Entry]:
    """The part of a root that unpacking its packages one after the other would not give.

    Args:
        entries: the whole root, in canonical order, as `builder.layers.root.root_entries` gives it for `debs`.
        debs: in the order in which they will be unpacked.
    """
    links = Links({entry.path: entry.target for entry in entries if entry.kind is Kind.SYMLINK})
    shipped: dict[str, Entry] = {}
    disputed: set[str] = set()
    for deb in debs:
        for entry in deb.entries:
            place = links.place(entry.path)
            known = shipped.get(place)
            if known is not None and not known.kind is entry.kind is Kind.DIRECTORY:
                disputed.add(place)
            shipped[place] = entry
    kept = [
        entry for entry in entries if entry.path in disputed or not _given(entry, shipped.get(entry.path), links)
    ]  # fmt: skip
    origins = {entry.target for entry in kept if entry.kind is Kind.HARDLINK} - {entry.path for entry in kept}
    return [entry for entry in entries if entry.path in origins or entry in kept] if origins else kept


def _given(entry: Entry, raw: Entry | None, links: Links) -> bool:
    """Whether a package's own entry leaves at its place what is wanted there, but for mode, owner and time.

    Of the modes only the right to execute counts: a path of the Nix store has no others.
    """
    if raw is None or raw.kind is not entry.kind:
        return False
    match entry.kind:
        case Kind.DIRECTORY:
            return entry.path not in _EMPTY
        case Kind.SYMLINK:
            return raw.target == entry.target
        case Kind.HARDLINK:
            return links.place(raw.target) == entry.target
        case Kind.FILE:
            return raw.source is entry.source and (raw.mode ^ entry.mode) & 0o111 == 0


def names(entries: Iterable[Entry]) -> bytes:
    """Every path of a root, sorted, one on a line: what `nix/root.sh` has to end with."""
    return b"".join(sorted(entry.path.encode() + b"\n" for entry in entries))


def write_plain_tar(entries: Iterable[Entry], write: Callable[[bytes], object]) -> None:
    """A tar in GNU's dialect, which BusyBox reads in full; of PAX headers it reads none.

    Args:
        entries: in canonical order.
        write: takes the bytes.
    """
    sink = cast("io.BytesIO", _Sink(write))
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type = _TYPES[entry.kind]
            info.mode = (0o755 if entry.mode & 0o111 else 0o644) if entry.kind is not Kind.DIRECTORY else 0o755
            info.mtime = entry.mtime
            info.linkname = entry.target
            if entry.kind is Kind.FILE and entry.source:
                info.size = entry.size
                with entry.source() as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


class _Sink:
    """A file object for tarfile that can only be written to."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(data)
        return len(data)
