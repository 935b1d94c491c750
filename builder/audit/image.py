"""Auditing an image: every ELF file of every layer, once per layer and remembered by its diff ID."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from builder.audit.scan import FORMAT, Audit, Map, audit, load
from builder.layers.entry import Kind, Layer
from builder.layers.unpack import read_layer
from builder.oci.image import Manifest
from builder.progress import Progress, Step
from builder.store.atomic import faults
from builder.store.blobs import Store

RECORDS: Final = "audits"

_MAGIC: Final = b"\x7fELF"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Library:
    """An audited file: its path in the image and the layer that it came with."""

    path: str
    layer: str
    audit: Audit


def libraries(store: Store, manifest: Manifest, *, jobs: int, progress: Progress) -> tuple[Library, ...]:
    """Every program and library of one platform's image, sorted by path.

    Args:
        store: holds the image.
        manifest: of the platform.
        jobs: how many processes may decode.
        progress: sees one step, in bytes of layers.

    Raises:
        IntegrityError: a layer is corrupt.
        EnvironmentFault: a layer is not in the store, or there is no room for its files.
    """
    found: dict[str, Library] = {}
    total = sum(layer.tar_size for layer in manifest.image.layers)
    with progress.step(f"audit {manifest.platform}", total) as step, _pool(jobs) as run:
        for layer in manifest.image.layers:
            for path, made in _layer(store, layer, run, step).items():
                found[path] = Library(path, layer.name, made)
            step.advance(layer.tar_size)
    return tuple(found[path] for path in sorted(found))


def _layer(store: Store, layer: Layer, run: Map, step: Step) -> dict[str, Audit]:
    key = f"{FORMAT}-{layer.diff_id.removeprefix('sha256:')}"
    if record := store.recall(RECORDS, key):
        return {path: load(data) for path, data in record["files"].items()}
    step.note(layer.name)
    found: dict[str, Audit] = {}
    for entry, content in read_layer(store, layer):
        if entry.kind is Kind.FILE and (head := content.read(len(_MAGIC))) == _MAGIC:
            with _copied(store, head, content) as file:
                if made := audit(file, run):
                    found[entry.path] = made
    store.remember(RECORDS, key, {"files": {path: made.dump() for path, made in found.items()}})
    return found


@contextlib.contextmanager
def _copied(store: Store, head: bytes, content: BinaryIO) -> Iterator[Path]:
    """The rest of an open file, on disk for other processes to map; gone afterwards."""
    path = store.temporary()
    try:
        with faults(path), path.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # wanted, so that nobody clears it away
            file.write(head)
            while chunk := content.read(_CHUNK):
                file.write(chunk)
            file.flush()
            yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[Map]:
    """`map` over processes that start only if there is something to do."""
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield pool.map
