"""Where the bytes of an image come from: every member of every locked artifact, found by its hash.

A rendered directory unpacks each artifact into a folder of its own, so a file's origin is a path below them:

- `unpacked/<artifact>/<member>`: a file of a Debian package's data, or a member of a wheel
- `inputs/<artifact>`: the artifact itself
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

from builder.layers.packages import PackageReader
from builder.layers.zip import Archive
from builder.machine import usable_cores
from builder.store.artifact import Artifact
from builder.store.blobs import Store

INPUTS = "inputs"
UNPACKED = "unpacked"

_CHUNK = 1 << 20


def input_names(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """A readable file name for each artifact by its SHA-256: its own, and its hash too where two share a name."""
    files = {item.sha256: item.path.rpartition("/")[2] for item in artifacts}
    counts: dict[str, int] = {}
    for name in files.values():
        counts[name] = counts.get(name, 0) + 1
    return {sha256: name if counts[name] == 1 else f"{sha256[:12]}-{name}" for sha256, name in files.items()}


def is_archive(artifact: Artifact) -> bool:
    """Whether a rendered build unpacks it."""
    return artifact.kind in ("deb", "wheel") or artifact.member is not None


def member_hashes(
    store: Store, packages: PackageReader, artifacts: Sequence[Artifact], names: Mapping[str, str]
) -> dict[str, list[str]]:
    """Index what artifacts hold.

    Args:
        store: has the artifacts.
        packages: reads the debs; whoever holds them saves them from being decompressed again.
        artifacts: to be indexed.
        names: of each, from `input_names`.

    Returns:
        Origins by the hex SHA-256 of their content; the artifacts themselves are among them.

    Raises:
        IntegrityError: an artifact is not what the lock says, or is malformed.
    """
    unique = list({item.sha256: item for item in artifacts}.values())
    found: dict[str, list[str]] = {}
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="origins") as pool:
        for item, members in zip(unique, pool.map(partial(_members, store, packages), unique), strict=True):
            name = names[item.sha256]
            found.setdefault(item.sha256, []).append(f"{INPUTS}/{name}")
            for sha256, path in members:
                found.setdefault(sha256, []).append(f"{UNPACKED}/{name}/{path}")
    return found


def best(origins: Iterable[str], path: str) -> str:
    """The origin that a reader would expect for a path: the one whose end is most like it, then the first by name."""
    return min(origins, key=lambda origin: (-_common_end(origin, path), origin.count("/"), origin))


def _common_end(origin: str, path: str) -> int:
    count = 0
    for one, other in zip(reversed(origin.split("/")), reversed(path.split("/")), strict=False):
        if one != other:
            break
        count += 1
    return count


def _members(store: Store, packages: PackageReader, item: Artifact) -> list[tuple[str, str]]:
    if item.kind == "deb":
        entries = packages.read([item])[0].entries
        return [(content_hash(entry.source()), entry.path) for entry in entries if entry.source]
    path = store.verified(item.sha256, item.size)
    if is_archive(item):
        return list(_zipped(Archive(path, item.name)))
    return []


def _zipped(archive: Archive) -> Iterator[tuple[str, str]]:
    for name in archive.members:
        yield content_hash(archive.open(name)), name


def content_hash(stream: BinaryIO) -> str:
    """Hex SHA-256 of all that a stream gives; the stream is closed."""
    digest = hashlib.sha256()
    with stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()
