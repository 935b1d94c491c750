"""Entries written out, so that real programs can be asked about them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from builder.layers.entry import Entry, Kind


def write_out(entries: Iterable[Entry], folder: Path) -> Path:
    """Write a tree below a folder; owners and times are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    later = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind is Kind.DIRECTORY:
            path.mkdir(exist_ok=True)
        elif entry.kind is Kind.SYMLINK:
            path.symlink_to(entry.target)
        elif entry.kind is Kind.HARDLINK:
            later.append(entry)
        else:
            assert entry.source is not None
            with entry.source() as source:
                path.write_bytes(source.read())
            path.chmod(entry.mode & 0o755)
    for entry in later:
        os.link(folder / entry.target, folder / entry.path)
    return folder


def symlinks(folder: Path) -> dict[str, str]:
    """Every symlink below a folder, with its text."""
    return {str(path.relative_to(folder)): str(path.readlink()) for path in folder.rglob("*") if path.is_symlink()}
