"""Auditing an image: every ELF file of every layer, once per layer and remembered by its diff ID."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from builder.audit.ahead import Program, is_program, programs
from builder.audit.binary import MAGIC, Unreadable
from builder.audit.scan import FORMAT, Audit, Map, audit, load
from builder.audit.schema import LIBRARY
from builder.layers.entry import Kind, Layer
from builder.layers.unpack import read_layer
from builder.oci.image import Manifest
from builder.progress import Progress, Step
from builder.store.atomic import faults
from builder.store.blobs import Store

RECORDS: Final = "audits"

_ARCHIVES: Final = (b"!<arch>\n", b"!<thin>\n")
_HEAD: Final = 8
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Library:
    """An audited file: its path in the image and the layer that it came with."""

    path: str
    layer: str
    audit: Audit


@dataclass(frozen=True, slots=True)
class Unread:
    """A file of machine code that was not decoded, and why."""

    path: str
    layer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a platform's image holds, each sorted by path."""

    libraries: tuple[Library, ...]
    unread: tuple[Unread, ...]
    programs: tuple[Program, ...]


def contents(store: Store, manifest: Manifest, *, jobs: int, progress: Progress) -> Contents:
    """Every program and library of one platform's image.

    Args:
        store: holds the image.
        manifest: of the platform.
        jobs: how many processes may decode.
        progress: sees one step, in bytes of layers.

    Raises:
        IntegrityError: a layer is corrupt.
        EnvironmentFault: a layer is not in the store, or there is no room for its files.
    """
    found: dict[str, Library | Unread] = {}
    compiled: list[Layer] = []
    xla: Layer | None = None
    total = sum(layer.tar_size for layer in manifest.image.layers)
    with progress.step(f"audit {manifest.platform}", total) as step, _pool(jobs) as run:
        for layer in manifest.image.layers:
            held = _layer(store, layer, run, step)
            found |= {path: Library(path, layer.name, made) for path, made in held.audits.items()}
            found |= {path: Unread(path, layer.name, reason) for path, reason in held.unread.items()}
            compiled += [layer] if held.programs else []
            xla = layer if any(path.endswith(LIBRARY) for path in held.audits) else xla
            step.advance(layer.tar_size)
    items = [found[path] for path in sorted(found)]
    return Contents(
        tuple(item for item in items if isinstance(item, Library)),
        tuple(item for item in items if isinstance(item, Unread)),
        tuple(program for layer in compiled for program in programs(store, layer, xla)),
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """What one layer holds, by path; the programs among it are decoded with another layer's help."""

    audits: Mapping[str, Audit]
    unread: Mapping[str, str]
    programs: bool


def _layer(store: Store, layer: Layer, run: Map, step: Step) -> _Held:
    key = f"{FORMAT}-{layer.diff_id.removeprefix('sha256:')}"
    if record := store.recall(RECORDS, key):
        audits = {path: load(data) for path, data in record["files"].items()}
        return _Held(audits, record["unread"], record["programs"])
    step.note(layer.name)
    found: dict[str, Audit] = {}
    unread: dict[str, str] = {}
    compiled = False
    for entry, content in read_layer(store, layer):
        if entry.kind is not Kind.FILE:
            continue
        compiled |= is_program(entry.path)
        head = content.read(_HEAD)
        if head in _ARCHIVES:
            unread[entry.path] = "is a static archive: only a linker could use it"
        elif head.startswith(MAGIC):
            with _copied(store, head, content) as file:
                try:
                    if made := audit(file, run):
                        found[entry.path] = made
                except Unreadable as error:
                    unread[entry.path] = str(error)
    files = {path: made.dump() for path, made in found.items()}
    store.remember(RECORDS, key, {"files": files, "unread": unread, "programs": compiled})
    return _Held(found, unread, compiled)


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
