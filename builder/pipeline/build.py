"""`kbuild SPEC`, step by step: lock if there is none, snapshot, plan, fetch, make layers, assemble, record.

A build never resolves: with a lock beside the spec it uses the lock or fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from builder.determinism.check import checked
from builder.determinism.held import overrides
from builder.errors import EnvironmentFault, LockError, NotReproducible
from builder.layers import codec
from builder.layers.entry import Layer
from builder.layers.packages import PackageReader
from builder.lock import drift, file, nixpkgs
from builder.lock.model import Built, Lock
from builder.lock.resolve import resolve
from builder.machine import Machine
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble
from builder.pipeline import aot, unchanged
from builder.pipeline import layers as layering
from builder.pipeline.agreement import require_agreement
from builder.pipeline.attachments import attach_lock
from builder.pipeline.backend import TOOLS, BackendOf, require_able
from builder.pipeline.fetching import bring
from builder.pipeline.layers import Workshop
from builder.pipeline.report import BuildReport, MadeLayer
from builder.pipeline.snapshot import Snapshot, runtime
from builder.plan.make import make
from builder.plan.model import LayerPlan, Plan, PlatformPlan
from builder.plan.sources import snapshot as read_sources
from builder.platforms import host_platform
from builder.progress import Progress
from builder.spec.model import Spec
from builder.store.artifact import Artifact
from builder.store.blobs import Store


def build(
    spec_path: Path,
    lock_path: Path,
    *,
    machine: Machine,
    store: Store,
    backend: BackendOf,
    progress: Progress,
    locked: bool,
    others: Sequence[BackendOf] = (),
) -> BuildReport:
    """Build the image of a spec for every platform that it names.

    Args:
        spec_path: the spec.
        lock_path: the lock beside it; written if it does not exist.
        machine: where bytes come from.
        store: takes everything.
        backend: makes what runs compilers.
        progress: sees every step.
        locked: write nothing beside the spec: a missing lock is an error, and no result is recorded in it.
        others: more backends, each of which must compile the same bytes as the first.

    Raises:
        KbuildError: one of its families, as each step says.
    """
    began_with = unchanged.content(spec_path)
    taken = _snapshot(spec_path, lock_path, machine=machine, store=store, progress=progress, locked=locked)
    plan = make(taken.spec, taken.lock, taken.sources, taken.runtime)
    packages = PackageReader(store, machine.jobs)
    workshops = [
        Workshop(
            store,
            packages,
            make_one(taken.lock.artifact, packages, taken.spec.os.allow_scripts),
            progress,
            machine.jobs,
        )
        for make_one in (backend, *others)
    ]
    builders = tuple(workshop.backend.name for workshop in workshops)
    require_able(plan, builders)
    made = _make_layers(plan, taken.lock, workshops[0], machine)
    for workshop in workshops[1:]:
        again = _make_layers(plan, taken.lock, workshop, machine)
        names = (builders[0], workshop.backend.name)
        require_agreement(plan, _layers_of(made), _layers_of(again), names=names, store=store)
    image = _assemble(plan, made, store)
    attach_lock(store, image, taken.lock)
    lock = _record(taken, plan, image, locked=locked, progress=progress)
    report = BuildReport(
        name=plan.name,
        digest=image.digest,
        manifests={platform: item.digest for platform, item in image.manifests.items()},
        layers={item.platform: [made[layer.key()] for layer in item.layers] for item in plan.platforms},
        builders=builders,
    )
    # The short way goes by the files' bytes, so they must still be those that this image was built from.
    if began_with == unchanged.content(spec_path) and lock == file.read(lock_path):
        unchanged.remember(
            store,
            spec_path,
            lock_path,
            patterns=taken.spec.kernel.files,
            files=taken.sources.files(),
            blobs=image.blobs(),
            report=report.dump(),
            builders=builders,
        )
    return report


def _snapshot(
    spec_path: Path, lock_path: Path, *, machine: Machine, store: Store, progress: Progress, locked: bool
) -> Snapshot:
    spec = checked(spec_path)
    _say_what_it_costs(spec, progress)
    sources = read_sources(spec, spec_path, store)
    lock = _lock(spec, spec_path, lock_path, machine=machine, store=store, progress=progress, locked=locked)
    known = {item.sha256 for item in sources.local}
    for item in lock.artifact:
        if item.registry == "local" and item.sha256 not in known:
            raise LockError(
                f"the weights {item.path} are not the file that the lock names",
                where=str(lock_path),
                hint="restore the file, or run `kbuild lock` to take the new one",
            )
    return Snapshot(spec, lock, lock_path, sources, runtime(spec, store))


def _say_what_it_costs(spec: Spec, progress: Progress) -> None:
    """Warn of every pin of the profile that the spec does without."""
    costs = (item.cost() for platform in spec.kernel.platforms for item in overrides(spec, platform))
    for cost in dict.fromkeys(costs):
        progress.warn(cost)


def _lock(
    spec: Spec, spec_path: Path, lock_path: Path, *, machine: Machine, store: Store, progress: Progress, locked: bool
) -> Lock:
    if not lock_path.exists():
        if locked:
            raise LockError("there is no lock", where=str(lock_path), hint="run `kbuild lock` first")
        fresh = resolve(
            spec, spec_path.parent, machine=machine, store=store, progress=progress,
            previous=None, upgrade=None, now=datetime.now(UTC),
        )  # fmt: skip
        file.write(lock_path, fresh)
    lock = file.read(lock_path)
    drift.require_fit(spec, lock, lock_path)
    drift.check_format(lock)
    codec.check(lock.codec)
    return lock


def _make_layers(plan: Plan, lock: Lock, workshop: Workshop, machine: Machine) -> dict[str, MadeLayer]:
    """Every layer of the plan by its key, made where the store does not have it."""
    made: dict[str, MadeLayer] = {}
    missing: list[LayerPlan] = []
    for layer in plan.layers():
        if found := layering.recall(layer, workshop.store, workshop.backend.name):
            made[layer.key()] = MadeLayer(found, cached=True)
        else:
            missing.append(layer)
    if missing:
        compiling = any(layer.runs for layer in missing)
        tools = _tools(plan, missing, workshop.backend.name) if compiling else ()
        bring(_needed(missing, tools), lock, machine, workshop.store, workshop.progress)
        for pinned in {layer.driver.nixpkgs for layer in missing if layer.driver and layer.driver.nixpkgs}:
            nixpkgs.bring(pinned, machine=machine, store=workshop.store, progress=workshop.progress)
        if compiling:
            workshop.backend.check()
        for layer, result in zip(missing, _parallel(missing, workshop, machine.jobs), strict=True):
            made[layer.key()] = MadeLayer(result, cached=False)
    return made


def _layers_of(made: Mapping[str, MadeLayer]) -> dict[str, Layer]:
    return {key: item.layer for key, item in made.items()}


def _tools(plan: Plan, missing: Sequence[LayerPlan], backend: str) -> list[Artifact]:
    """The lock's tools that a backend needs for these layers: its own, and emulators if one is foreign."""
    emulated = any(_emulated(layer) for layer in missing)
    own = TOOLS.get(backend, ())
    return [item for item in plan.tools if item.name in own or (emulated and item.name.startswith("qemu-user"))]


def _emulated(layer: LayerPlan) -> bool:
    """Whether a layer's compiler or interpreter is not of this machine's platform."""
    host = host_platform()
    foreign = layer.driver is not None and layer.driver.platform != host
    return foreign or (bool(layer.interpreter) and not any(host in item.platforms for item in layer.interpreter))


def _needed(missing: Sequence[LayerPlan], tools: Sequence[Artifact]) -> list[Artifact]:
    wanted = {item.sha256: item for layer in missing for item in layering.needed(layer)}
    return list((wanted | {item.sha256: item for item in tools}).values())


def _parallel(missing: Sequence[LayerPlan], workshop: Workshop, jobs: int) -> list[Layer]:
    """Make layers side by side, the longest work first; the first failure stops those that have not begun."""
    order = sorted(missing, key=layering.effort, reverse=True)
    futures: dict[str, Future[Layer]] = {}
    with ThreadPoolExecutor(2 * jobs, thread_name_prefix="layer") as pool:
        for layer in order:
            futures[layer.key()] = pool.submit(layering.make, layer, workshop)
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for future in futures.values():
        if not future.cancelled() and (error := future.exception()):
            raise error
    return [futures[layer.key()].result() for layer in missing]


def _assemble(plan: Plan, made: dict[str, MadeLayer], store: Store) -> Image:
    platforms = {
        item.platform: PlatformImage(
            layers=tuple(made[layer.key()].layer for layer in item.layers),
            config=ImageConfig(
                epoch=plan.epoch,
                environment=item.environment,
                labels=dict(sorted({**item.labels, **_compiled(item, made, store)}.items())),
            ),
        )
        for item in plan.platforms
    }
    return assemble(store, platforms, plan.annotations)


def _compiled(image: PlatformPlan, made: dict[str, MadeLayer], store: Store) -> dict[str, str]:
    """What there is to say of programs that were compiled ahead of time."""
    found: dict[str, str] = {}
    for layer in image.layers:
        if layer.compilation is not None:
            found |= aot.labels(layer, made[layer.key()].layer, store)
    return found


def _record(taken: Snapshot, plan: Plan, image: Image, *, locked: bool, progress: Progress) -> Lock:
    """Hold the digest against what the lock says of the same sources, or write it there.

    Raises:
        NotReproducible: the same sources gave another digest before.
    """
    platforms = {platform: item.digest for platform, item in image.manifests.items()}
    built = Built(sources=plan.sources, index=image.digest, platforms=platforms)
    before = taken.lock.image
    if before == built:
        return taken.lock
    if before is not None and before.sources == built.sources:
        differing = sorted(name for name in platforms if before.platforms.get(name) != platforms[name])
        raise NotReproducible(
            f"this build gave {image.digest}, but the lock records {before.index} for the same sources"
            f" (differing: {', '.join(differing) or 'the index'})",
            where=str(taken.lock_path),
            hint="`kbuild inspect` both digests to see which layer differs; another kbuild may need another format",
        )
    lock = taken.lock.model_copy(update={"image": built})
    if locked:
        progress.detail("the lock does not record this digest yet, and --locked leaves it alone")
        return taken.lock
    try:
        file.write(taken.lock_path, lock)
    except EnvironmentFault as error:
        progress.warn(f"the digest could not be recorded in the lock: {error.message}")
        return taken.lock
    return lock
