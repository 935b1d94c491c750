"""What a build takes from disk before it plans: spec, lock, the kernel's files, and the runtime that kbuild ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import rfc8785

from builder.determinism.pins import environment
from builder.errors import SpecError
from builder.lock.model import Lock
from builder.plan.aot import what_counts
from builder.plan.make import KERNEL
from builder.plan.model import PlacedFile
from builder.plan.numerics import RECIPE, Numerics, libraries, names
from builder.plan.runtime import Runtime
from builder.plan.sources import Sources
from builder.platforms import Platform
from builder.resources import shipped
from builder.spec.identity import canonical
from builder.spec.model import Spec
from builder.store.blobs import Store

RUNTIME = "opt/kbuild/kernels"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decides a plan, with file contents already in the store."""

    spec: Spec
    lock: Lock
    lock_path: Path
    sources: Sources
    runtime: Runtime


def runtime(spec: Spec, store: Store) -> Runtime:
    """What kbuild puts into the image of a spec.

    Raises:
        SpecError: a native table of the kernel has the name of one of the runtime's libraries.
    """
    return Runtime(
        modules=_modules(spec, store),
        documents=_documents(spec, store),
        compiled_for=_documents(what_counts(spec), store) if spec.aot else {},
        libraries=_libraries(spec, store),
    )


def _modules(spec: Spec, store: Store) -> tuple[PlacedFile, ...]:
    """The runtime's modules, without those that nothing imports here: they move no digest that has no use for them."""
    root = shipped("kernels")
    numerics = root / "runtime" / "portable"
    paths = [root / "__init__.py", *sorted((root / "runtime").rglob("*.py"))]
    if spec.determinism.profile != "portable":
        paths = [path for path in paths if not path.is_relative_to(numerics)]
    if spec.aot is None:
        paths = [path for path in paths if not path.is_relative_to(root / "runtime" / "aot")]
    return tuple(_placed(f"{RUNTIME}/{path.relative_to(root).as_posix()}", path.read_bytes(), store) for path in paths)


def _libraries(spec: Spec, store: Store) -> Numerics:
    if spec.determinism.profile != "portable":
        return {}
    root = shipped("kernels") / "runtime"
    paths = sorted(path for path in (root / "portable").rglob("*") if path.suffix in {".cc", ".h"})
    files = [_placed(path.relative_to(root).as_posix(), path.read_bytes(), store) for path in paths]
    made = libraries((root / RECIPE).read_text(encoding="utf-8"), files)
    if taken := sorted(names(made) & spec.native.keys()):
        raise SpecError(
            f"{taken[0]!r} is the name of a library that the profile `portable` brings",
            where=f"[native.{taken[0]}]",
            hint="give the table another name",
        )
    return {platform: made[platform] for platform in spec.kernel.platforms}


def _documents(spec: Spec, store: Store) -> dict[Platform, tuple[PlacedFile, ...]]:
    """The spec as canonical JSON, and the environment that the runtime must find."""
    identity = _placed(f"{KERNEL}/spec.json", canonical(spec), store)
    return {
        platform: (
            identity,
            _placed(f"{KERNEL}/environment.json", rfc8785.dumps(environment(spec, platform)), store),
        )
        for platform in spec.kernel.platforms
    }


def _placed(path: str, data: bytes, store: Store) -> PlacedFile:
    return PlacedFile(path, store.add(data), len(data))
