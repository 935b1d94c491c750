"""From a planned layer to a packed one: unpack, compile, pack; or find it already made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from builder.backends.action import Backend
from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.order import ordered
from builder.layers.pack import pack
from builder.layers.packages import read_debs
from builder.layers.root import root_entries
from builder.layers.tree import file_entries
from builder.layers.wheel import merge, wheel_entries
from builder.layers.zip import Archive
from builder.pipeline.compile import bytecode, native
from builder.plan.model import LayerKind, LayerPlan
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store

RECORDS = "layers"
"""What the store remembers packed layers under: key = `LayerPlan.key()`."""

WEIGHTS = "opt/kernel/weights"


def recall(plan: LayerPlan, store: Store) -> Layer | None:
    """The layer, if it was made before and its blob is still here."""
    record = store.recall(RECORDS, plan.key())
    layer = Layer(**record) if record else None
    return layer if layer and store.has(layer.digest.removeprefix("sha256:")) else None


def needed(plan: LayerPlan) -> tuple[Artifact, ...]:
    """The artifacts that must be in the store to make the layer; local files are there already."""
    artifacts = (*plan.artifacts, *plan.compiler, *plan.interpreter)
    return tuple(item for item in artifacts if item.registry != "local")


def make(plan: LayerPlan, store: Store, backend: Backend, progress: Progress) -> Layer:
    """Make a layer and remember it.

    Args:
        plan: what goes into it.
        store: holds every artifact that `needed` names, and takes the blob.
        backend: runs compilers.
        progress: told how far packing is.

    Raises:
        IntegrityError: an artifact is not what the lock says, or is malformed.
        KernelError: native code does not compile.
        EnvironmentFault: this machine cannot do it.
    """
    entries = _entries(plan, store, backend, progress)
    size = sum(entry.size for entry in entries)
    with progress.step(f"pack {plan.name}", size) as step:
        layer = pack(plan.name, [_counted(entry, step.advance) for entry in entries], store, plan.codec)
    store.remember(RECORDS, plan.key(), asdict(layer))
    return layer


def _entries(plan: LayerPlan, store: Store, backend: Backend, progress: Progress) -> list[Entry]:
    match plan.kind:
        case LayerKind.BASE:
            debs = read_debs(store, plan.artifacts)
            entries = root_entries(debs, epoch=plan.epoch, allow_scripts=plan.allow_scripts)
            return _joined(entries, bytecode(entries, plan, store, backend, progress), plan.epoch)
        case LayerKind.WHEEL | LayerKind.WHEELS:
            trees = [
                wheel_entries(store.verified(item.sha256, item.size), item, python=plan.python, epoch=plan.epoch)
                for item in plan.artifacts
            ]
            entries = merge(*trees)
            return _joined(entries, bytecode(entries, plan, store, backend, progress), plan.epoch)
        case LayerKind.RUNTIME:
            entries = _files(plan, store)
            return _joined(entries, bytecode(entries, plan, store, backend, progress), plan.epoch)
        case LayerKind.KERNEL:
            return _files(plan, store)
        case LayerKind.WEIGHTS:
            return [entry for item in plan.artifacts for entry in _weights(item, plan.epoch, store)]
        case LayerKind.NATIVE:
            return native(plan, store, backend, progress)


def _joined(entries: list[Entry], bytecode: list[Entry], epoch: int) -> list[Entry]:
    """Both as one tree. Folders that both state are the first one's; packages that ship bytecode keep their own."""
    known = {entry.path for entry in entries}
    return ordered([*entries, *(entry for entry in bytecode if entry.path not in known)], epoch=epoch)


def _files(plan: LayerPlan, store: Store) -> list[Entry]:
    return file_entries({item.path: store.verified(item.sha256, item.size) for item in plan.files}, epoch=plan.epoch)


def _weights(item: Artifact, epoch: int, store: Store) -> list[Entry]:
    """The weights' file: the artifact itself, or one member of it, checked against the lock while it is packed."""
    path = store.verified(item.sha256, item.size)
    name = PurePosixPath(item.member.path if item.member else item.path).name
    target = f"{WEIGHTS}/{item.name}/{name}"
    if item.member is None:
        return file_entries({target: path}, epoch=epoch)
    checksum = ("sha256", bytes.fromhex(item.member.sha256))
    archive = Archive(path, item.name)
    found = archive.members.get(item.member.path)
    if found is None or found.size != item.member.size:
        raise IntegrityError(f"does not hold {item.member.path} as the lock says", where=item.name)
    source = partial(archive.open, item.member.path, checksum)
    return ordered([Entry(target, Kind.FILE, 0o644, epoch, size=item.member.size, source=source)], epoch=epoch)


def _counted(entry: Entry, advance: Callable[[int], None]) -> Entry:
    """The entry, reporting its size when it is opened: close enough for a bar, and free."""
    source = entry.source
    if source is None:
        return entry

    def opened() -> BinaryIO:
        advance(entry.size)
        return source()

    return replace(entry, source=opened)
