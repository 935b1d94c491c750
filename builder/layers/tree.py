"""Plain files on their way into an image: entries from bytes or files, without anything that the host knows of them."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from builder.errors import EnvironmentFault
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered


def file_entries(files: Mapping[str, bytes | Path], *, epoch: int, executable: Collection[str] = ()) -> list[Entry]:
    """Entries for files and the folders above them, in canonical order.

    Root owns everything; files are 0644 or 0755, folders 0755; every mtime is `epoch`. The mode, owner and times that a
    `Path` has on this machine are not looked at.

    Args:
        files: content by path in the image. A `Path` is read when the tar is written and must not change until then.
        epoch: seconds since 1970.
        executable: the paths among `files` that get mode 0755.

    Raises:
        EnvironmentFault: a `Path` is no readable file.
        IntegrityError: a path is not allowed in an image.
    """
    return ordered(
        (
            _entry(path, content, mode=0o755 if path in executable else 0o644, epoch=epoch)
            for path, content in files.items()
        ),
        epoch=epoch,
    )


def _entry(path: str, content: bytes | Path, *, mode: int, epoch: int) -> Entry:
    if isinstance(content, bytes):
        return Entry(path, Kind.FILE, mode, epoch, size=len(content), source=partial(io.BytesIO, content))
    try:
        size = content.stat().st_size
        if not content.is_file():
            raise EnvironmentFault("not a regular file", where=str(content))
    except OSError as error:
        raise EnvironmentFault(f"cannot read it: {error.strerror}", where=str(content)) from error
    return Entry(path, Kind.FILE, mode, epoch, size=size, source=partial(_open, content))


def _open(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", path.open("rb", buffering=0))
    except OSError as error:
        raise EnvironmentFault(f"cannot read it: {error.strerror}", where=str(path)) from error
