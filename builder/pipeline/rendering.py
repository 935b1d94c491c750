"""From a spec to a description of its image that can be built without kbuild."""

from __future__ import annotations

import threading
from pathlib import Path

from builder.backends.action import Action, Backend
from builder.determinism.check import checked
from builder.errors import NotReproducible, UsageError
from builder.layers.packages import PackageReader
from builder.lock import file, nixpkgs
from builder.lock.model import Lock
from builder.machine import Machine
from builder.oci.image import Manifest
from builder.oci.image import load as load_image
from builder.pipeline import layers as layering
from builder.pipeline.backend import BackendOf
from builder.pipeline.build import build
from builder.pipeline.fetching import bring, dates
from builder.pipeline.layers import Workshop
from builder.pipeline.snapshot import runtime
from builder.plan.make import make
from builder.plan.model import PlatformPlan
from builder.plan.sources import snapshot
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.render.gather import Materials, gather
from builder.render.image import Rendering
from builder.render.steps import Compiled
from builder.spec.model import Spec
from builder.store.blobs import Store


def rendering(
    spec_path: Path,
    lock_path: Path,
    *,
    platform: Platform | None,
    machine: Machine,
    store: Store,
    backend: BackendOf,
    progress: Progress,
    locked: bool,
) -> Rendering:
    """Build the image of a spec, unless the store has it, and describe one platform's.

    Args:
        spec_path: the spec.
        lock_path: the lock beside it.
        platform: which image to describe; default this machine's, or the first that the spec names.
        machine: where bytes come from.
        store: takes everything.
        backend: makes what runs compilers.
        progress: sees every step.
        locked: as for `builder.pipeline.build.build`.

    Raises:
        UsageError: the spec is not for that platform.
        NotReproducible: a layer that was compiled again is another one.
        KbuildError: as for a build.
    """
    report = build(
        spec_path, lock_path, machine=machine, store=store, backend=backend, progress=progress, locked=locked
    )
    spec, lock = checked(spec_path), file.read(lock_path)
    plan = make(spec, lock, snapshot(spec, spec_path, store), runtime(spec, store))
    chosen = platform or _natural(spec)
    image = next((item for item in plan.platforms if item.platform == chosen), None)
    if image is None:
        held = ", ".join(item.platform for item in plan.platforms)
        raise UsageError(f"the kernel is for {held}, not for {chosen}", where=str(spec_path))
    packages = PackageReader(store, machine.jobs)
    recorder = _Recorder(backend(lock.artifact, packages, spec.os.allow_scripts))
    manifest = load_image(store, report.digest).manifest(chosen)
    materials = _materials(spec, lock, image)
    parts = (materials.image, materials.interpreter, materials.toolchain, materials.tools)
    wanted = {item.sha256: item for part in parts for item in part if item.registry != "local"}
    bring(list(wanted.values()), lock, machine, store, progress)
    if lock.nixpkgs is not None:
        nixpkgs.bring(lock.nixpkgs, machine=machine, store=store, progress=progress)
    _compile_again(image, manifest, Workshop(store, packages, recorder, progress, machine.jobs))
    with progress.step("render"):
        return gather(
            (plan.name, plan.version), manifest, materials, recorder.compiled,
            builder=host_platform(), store=store, packages=packages,
        )  # fmt: skip


class _Recorder:
    """A backend that notes what is asked of another, and what came out; once, whoever else wants it too."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._outputs: dict[Action, str] = {}
        self._backend = backend
        self._guard = threading.Lock()

    @property
    def compiled(self) -> list[Compiled]:
        """Everything so far, in the order in which it was done."""
        return [Compiled(action, output) for action, output in self._outputs.items()]

    def check(self) -> None:
        """As the backend's own."""
        self._backend.check()

    def run(self, action: Action, progress: Progress) -> str:
        """As the backend's own."""
        output = self._backend.run(action, progress)
        with self._guard:
            self._outputs[action] = output
        return output


def _natural(spec: Spec) -> Platform:
    host = host_platform()
    return host if host in spec.kernel.platforms else spec.kernel.platforms[0]


def _materials(spec: Spec, lock: Lock, image: PlatformPlan) -> Materials:
    """What the plan's layers are made from, each artifact once, and the tools: an emulator only where one may serve."""
    host = host_platform()
    emulating = image.platform != host or any(layer.compilation for layer in image.layers)
    return Materials(
        image=tuple({item.sha256: item for layer in image.layers for item in layer.artifacts}.values()),
        toolchain=tuple({item.sha256: item for layer in image.layers for item in layer.compiler}.values()),
        interpreter=tuple({item.sha256: item for layer in image.layers for item in layer.interpreter}.values()),
        tools=tuple(
            item
            for item in lock.artifact
            if "tools" in item.roles and host in item.platforms and (emulating or not item.name.startswith("qemu-user"))
        ),
        allow_scripts=tuple(spec.os.allow_scripts),
        snapshots=dates(lock),
    )


def _compile_again(image: PlatformPlan, manifest: Manifest, workshop: Workshop) -> None:
    """Make the compiled layers once more, so that the backend is asked for every action; it remembers their outputs.

    Raises:
        NotReproducible: the image has another layer.
    """
    workshop.backend.check()
    for plan, layer in zip(image.layers, manifest.image.layers, strict=True):
        if plan.runs:
            made = layering.make(plan, workshop)
            if made.diff_id != layer.diff_id:
                raise NotReproducible(
                    f"the layer {plan.name} is {made.diff_id}, but in the image it is {layer.diff_id}",
                    hint="if the kernel's files were changed meanwhile, run it again",
                )
