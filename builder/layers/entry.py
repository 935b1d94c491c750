"""One file-system object on its way into a layer, and the layer that came out.

Entries carry no bytes: `source` opens them when the tar is written, so a tree of any size is a list of headers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO


class Kind(Enum):
    """The only kinds of object an image may hold; devices, FIFOs and sockets are refused at the door."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file-system object of an image.

    `path` is relative to the image's root, `/`-separated, without `./`, leading or trailing slash, or `..`.
    `target` is a symlink's text, or the `path` of the file that a hard link shares.
    `mode` holds the twelve permission bits; `mtime` is in whole seconds; `size` in bytes, 0 unless a file.
    `sha256` is the content's, in hex, where `source` itself checks it while it is read; else it is empty.
    """

    path: str
    kind: Kind
    mode: int
    mtime: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    source: Callable[[], BinaryIO] | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()
    sha256: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer in the store.

    Identities from the inside out: `tree_digest` over canonical metadata and content hashes, `diff_id` over the
    uncompressed tar, `digest` over the compressed blob. All are `sha256:<hex>`; sizes are in bytes.
    """

    name: str
    tree_digest: str
    diff_id: str
    digest: str
    size: int
    tar_size: int
    files: int
    media_type: str
