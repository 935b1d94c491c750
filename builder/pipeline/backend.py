"""Which backend a build uses, made once its lock is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from builder.backends.action import Backend
from builder.backends.embedded import EmbeddedBackend
from builder.store.artifact import Artifact
from builder.store.blobs import Store


def embedded(store: Store) -> Callable[[Sequence[Artifact], Collection[str]], Backend]:
    """The embedded backend, for `builder.pipeline.build.build`."""

    def make(artifacts: Sequence[Artifact], allow_scripts: Collection[str]) -> Backend:
        return EmbeddedBackend(store, artifacts, allow_scripts=allow_scripts)

    return make
