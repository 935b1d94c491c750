"""The quickest build: nothing changed since the last one, so its digest is the answer.

Compared are bytes: spec, lock, the kernel's files, the runtime that kbuild ships, and kbuild's own modules (by size
and time). This imports no parser and no validator: whatever differs, even a comment, goes the long way and gives the
right digest there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import builder
from builder.resources import shipped
from builder.store.blobs import Store, hash_file

KIND = "builds"


def key(spec: Path, lock: Path, builders: Sequence[str] = ("embedded",)) -> str | None:
    """What a build of these two files by these backends is remembered under; None if either cannot be read."""
    state = hashlib.sha256(" ".join(sorted(builders)).encode())
    for line in _own_modules():
        state.update(line.encode())
    try:
        for path in (spec, lock):
            state.update(hash_file(path)[0].encode())
        kernels = shipped("kernels")
        for path in (kernels / "__init__.py", *sorted(_runtime(kernels))):
            state.update(f"{path.relative_to(kernels)} {hash_file(path)[0]}\n".encode())
    except OSError:
        return None
    return state.hexdigest()


def _runtime(kernels: Path) -> Iterable[Path]:
    """The runtime's modules, and what its native operations are compiled from."""
    found = (kernels / "runtime").rglob("*")
    return (path for path in found if path.suffix in {".py", ".cc", ".h", ".toml"})


def content(path: Path) -> str | None:
    """Hex SHA-256 of a file as it is now; None if it cannot be read."""
    try:
        return hash_file(path)[0]
    except OSError:
        return None


def recall(store: Store, spec: Path, lock: Path, builders: Sequence[str] = ("embedded",)) -> dict[str, Any] | None:
    """The record of an earlier build of exactly these files by these backends, if all of it is still in the store."""
    name = key(spec, lock, builders)
    record = store.recall(KIND, name) if name else None
    if record is None:
        return None
    files: Mapping[str, str] = record["files"]
    if _matching(spec.parent, record["patterns"]) != set(record["matched"]):
        return None
    try:
        if any(hash_file(spec.parent / path)[0] != sha256 for path, sha256 in files.items()):
            return None
    except OSError:
        return None
    return record if all(store.has(blob) for blob in record["blobs"]) else None


def remember(
    store: Store,
    spec: Path,
    lock: Path,
    *,
    patterns: Sequence[str],
    files: Mapping[str, str],
    blobs: Iterable[str],
    report: Mapping[str, Any],
    builders: Sequence[str] = ("embedded",),
) -> None:
    """Record a build: `files` are hex SHA-256 by path beside the spec, `report` is what to say next time."""
    matched = _matching(spec.parent, patterns)
    if not matched - {spec.name, lock.name} <= files.keys():
        return  # a file came while the image was being built, and is not in it
    if name := key(spec, lock, builders):
        record = {
            "patterns": list(patterns),
            "matched": sorted(matched),
            "files": dict(files),
            "blobs": sorted(blobs),
            "report": dict(report),
        }
        store.remember(KIND, name, record)


def _matching(folder: Path, patterns: Sequence[str]) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern) if path.is_file()
    }


def _own_modules() -> list[str]:
    root = Path(builder.__file__).parent
    stats = ((path.relative_to(root).as_posix(), path.stat()) for path in root.rglob("*.py"))
    return sorted(f"{path} {status.st_size} {status.st_mtime_ns}\n" for path, status in stats)
