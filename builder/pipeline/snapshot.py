"""What a build takes from disk before it plans: spec, lock, the kernel's files, and the runtime that kbuild ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rfc8785

from builder.determinism.pins import environment
from builder.lock.model import Lock
from builder.plan.make import KERNEL
from builder.plan.model import PlacedFile
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
    runtime: tuple[PlacedFile, ...]
    documents: Mapping[Platform, tuple[PlacedFile, ...]]


def runtime_files(store: Store) -> tuple[PlacedFile, ...]:
    """The runtime's modules, placed in the image."""
    root = shipped("kernels")
    paths = [root / "__init__.py", *sorted((root / "runtime").rglob("*.py"))]
    return tuple(_placed(f"{RUNTIME}/{path.relative_to(root).as_posix()}", path.read_bytes(), store) for path in paths)


def documents(spec: Spec, store: Store) -> dict[Platform, tuple[PlacedFile, ...]]:
    """What the runtime obeys, for each platform: the spec as canonical JSON, and the environment that it must find."""
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
