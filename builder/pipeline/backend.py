"""Which backend a build uses, made once its lock is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from builder.backends.action import Backend
from builder.backends.embedded import EmbeddedBackend
from builder.layers.packages import PackageReader
from builder.store.artifact import Artifact
from builder.store.blobs import Store

BackendOf = Callable[[Sequence[Artifact], PackageReader, Collection[str]], Backend]
"""Makes a backend from a lock's artifacts, what reads packages, and the scripts that may stay unrun."""


def embedded(store: Store) -> BackendOf:
    """The embedded backend, for `builder.pipeline.build.build`."""

    def make(artifacts: Sequence[Artifact], packages: PackageReader, allow_scripts: Collection[str]) -> Backend:
        return EmbeddedBackend(store, artifacts, packages, allow_scripts=allow_scripts)

    return make
