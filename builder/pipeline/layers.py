"""From a planned layer to a packed one: unpack, compile, pack; or find it already made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from builder.backends.action import Backend
from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.order import ordered
from builder.layers.pack import pack
from builder.layers.packages import PackageReader
from builder.layers.root import root_entries
from builder.layers.tree import file_entries
from builder.layers.wheel import merge
from builder.layers.zip import Archive
from builder.pipeline.aot import programs
from builder.pipeline.compile import bytecode, native
from builder.plan.model import LayerKind, LayerPlan
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store

RECORDS = "layers"
"""What the store remembers packed layers under: key = `LayerPlan.key()`."""

DEFAULT = "embedded"
"""The backend whose compiled layers are remembered beside those that no backend had a hand in."""

WEIGHTS = "opt/kernel/weights"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What layers are made with: where blobs are, what reads packages, what compiles, who is told.

    `jobs` is how many compilers may run side by side.
    """

    store: Store
    packages: PackageReader
    backend: Backend
    progress: Progress
    jobs: int = 1


def recall(plan: LayerPlan, store: Store, backend: str = DEFAULT) -> Layer | None:
    """The layer, if it was made before, by this backend if it is compiled, and its blob is still here."""
    record = store.recall(_records(plan, backend), plan.key())
    layer = Layer(**record) if record else None
    return layer if layer and store.has(layer.digest.removeprefix("sha256:")) else None


def _records(plan: LayerPlan, backend: str) -> str:
    """The kind of record: a compiled layer's is its backend's own, so that no builder speaks for another."""
    return f"{RECORDS}-{backend}" if plan.runs and backend != DEFAULT else RECORDS


def needed(plan: LayerPlan) -> tuple[Artifact, ...]:
    """The artifacts that must be in the store to make the layer; local files are there already."""
    artifacts = (*plan.artifacts, *plan.compiler, *plan.interpreter, *plan.tools)
    own = tuple(item for item in artifacts if item.registry != "local")
    return (*own, *(item for layer in plan.libraries for item in needed(layer)))


def effort(plan: LayerPlan) -> int:
    """How long making a layer takes, roughly, so that the longest begins first.

    What it unpacks counts, and more so compilers, which must be unpacked before anything can begin.
    """
    compiled = sum(item.size for item in (*plan.interpreter, *plan.compiler, *(plan.artifacts if plan.runs else ())))
    return sum(item.size for item in plan.artifacts) + 4 * compiled


def make(plan: LayerPlan, workshop: Workshop) -> Layer:
    """Make a layer and remember it.

    Raises:
        IntegrityError: an artifact is not what the lock says, or is malformed.
        KernelError: native code does not compile.
        EnvironmentFault: this machine cannot do it.
    """
    entries = _entries(plan, workshop)
    size = sum(entry.size for entry in entries)
    with workshop.progress.step(f"pack {plan.name}", size) as step:
        layer = pack(plan.name, [_counted(entry, step.advance) for entry in entries], workshop.store, plan.codec)
    workshop.store.remember(_records(plan, workshop.backend.name), plan.key(), asdict(layer))
    return layer


def _entries(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    make_entries: dict[LayerKind, Callable[[LayerPlan, Workshop], list[Entry]]] = {
        LayerKind.BASE: lambda plan, workshop: _base(plan, plan.artifacts, workshop),
        LayerKind.WHEEL: lambda plan, workshop: _wheels(plan, plan.artifacts, workshop),
        LayerKind.WHEELS: lambda plan, workshop: _wheels(plan, plan.artifacts, workshop),
        LayerKind.RUNTIME: _files,
        LayerKind.KERNEL: _files,
        LayerKind.BYTECODE: _bytecode,
        LayerKind.WEIGHTS: _weights,
        LayerKind.NATIVE: _native,
        LayerKind.AOT: _programs,
    }
    return make_entries[plan.kind](plan, workshop)


def _programs(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    return programs(
        plan,
        _weights(plan, workshop),
        partial(_native, workshop=workshop),
        store=workshop.store,
        backend=workshop.backend,
        progress=workshop.progress,
    )


def _native(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    return native(plan, store=workshop.store, backend=workshop.backend, progress=workshop.progress, jobs=workshop.jobs)


def _base(plan: LayerPlan, debs: Sequence[Artifact], workshop: Workshop) -> list[Entry]:
    return root_entries(workshop.packages.read(debs), epoch=plan.epoch, allow_scripts=plan.allow_scripts)


def _wheels(plan: LayerPlan, wheels: Iterable[Artifact], workshop: Workshop) -> list[Entry]:
    trees = [workshop.packages.wheel(item, python=plan.python, epoch=plan.epoch) for item in wheels]
    return ordered(merge(*trees), epoch=plan.epoch)


def _bytecode(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    """The bytecode of every module of the image, in three actions that change for different reasons."""
    debs = [item for item in plan.artifacts if item.kind == "deb"]
    wheels = [item for item in plan.artifacts if item.kind == "wheel"]
    parts: dict[str, Callable[[], list[Entry]]] = {
        "base": partial(_base, plan, debs, workshop),
        "wheels": partial(_wheels, plan, wheels, workshop),
        "runtime": partial(_files, plan, workshop),
    }
    compiled = partial(bytecode, plan=plan, store=workshop.store, backend=workshop.backend, progress=workshop.progress)

    def made(name: str) -> list[Entry]:
        entries = parts[name]()
        known = {entry.path for entry in entries if entry.kind is not Kind.DIRECTORY}
        return [entry for entry in compiled(name, entries) if entry.path not in known]  # a package's own stays

    with ThreadPoolExecutor(len(parts), thread_name_prefix="bytecode") as pool:
        found = {entry.path: entry for entries in pool.map(made, parts) for entry in entries}
    return ordered(found.values(), epoch=plan.epoch)


def _files(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    paths = {item.path: workshop.store.verified(item.sha256, item.size) for item in plan.files}
    return file_entries(paths, epoch=plan.epoch)


def _weights(plan: LayerPlan, workshop: Workshop) -> list[Entry]:
    weights = [item for item in plan.artifacts if item.kind == "weights"]
    return [entry for item in weights for entry in _weight(item, plan.epoch, workshop.store)]


def _weight(item: Artifact, epoch: int, store: Store) -> list[Entry]:
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
    entry = Entry(target, Kind.FILE, 0o644, epoch, size=item.member.size, source=source, sha256=item.member.sha256)
    return ordered([entry], epoch=epoch)


def _counted(entry: Entry, advance: Callable[[int], None]) -> Entry:
    """The entry, reporting its size when it is opened: close enough for a bar, and free."""
    source = entry.source
    if source is None:
        return entry

    def opened() -> BinaryIO:
        advance(entry.size)
        return source()

    return replace(entry, source=opened)
