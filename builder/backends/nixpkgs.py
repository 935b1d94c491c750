"""A pinned nixpkgs in the one form that every Nix unpacks by itself: a tar with one folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.tar import open_part, write_tar
from builder.lock.nar import Span, read_nar, walk
from builder.store.blobs import Store

RECORDS = "nixpkgs"
"""What the store remembers tars under: key = hex SHA-256 of a tree's Nix archive, value = `{"tar": <hex SHA-256>}`."""

TOP = "source"
"""The folder in the tar, and the tree's name in the Nix store."""


def nixpkgs_tar(store: Store, archive: str) -> str:
    """The tar of a tree; the hex SHA-256 of it in the store.

    Args:
        store: has the tree's Nix archive.
        archive: that archive's hex SHA-256.

    Raises:
        IntegrityError: it is none, or has a name that is not UTF-8.
    """
    record = store.recall(RECORDS, archive)
    if record and store.has(str(record["tar"])):
        return str(record["tar"])
    path = store.verified(archive)
    with store.writer() as writer:
        write_tar(ordered(_entries(path), epoch=0), writer.write)
        tar = writer.commit()
    store.remember(RECORDS, archive, {"tar": tar})
    return tar


def _entries(archive: Path) -> Iterator[Entry]:
    with archive.open("rb") as stream:
        tree = read_nar(stream)
    yield Entry(TOP, Kind.DIRECTORY, 0o755, 0)
    for raw, node in walk(tree):
        try:
            path = f"{TOP}/{raw.decode()}"
            match node:
                case Span(start, size, executable):
                    source = partial(open_part, archive, start, size)
                    yield Entry(path, Kind.FILE, 0o755 if executable else 0o644, 0, size=size, source=source)
                case bytes(target):
                    yield Entry(path, Kind.SYMLINK, 0o777, 0, target=target.decode())
                case _:
                    yield Entry(path, Kind.DIRECTORY, 0o755, 0)
        except UnicodeDecodeError as error:
            raise IntegrityError(f"nixpkgs has a name that is not UTF-8: {raw!r}") from error
