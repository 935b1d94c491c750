"""What every backend that kbuild ships is made with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from builder.layers.packages import PackageReader
from builder.store.artifact import Artifact
from builder.store.blobs import Store


class Provided:
    """The part of a backend that does not depend on which one it is.

    Args:
        store: has the blobs that actions name, and takes their outputs.
        artifacts: every deb that actions name and every tool, such as all artifacts of the locks in use.
        packages: reads the debs.
        allow_scripts: as `builder.layers.root.root_entries`.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Sequence[Artifact],
        packages: PackageReader,
        *,
        allow_scripts: Collection[str] = (),
    ) -> None:
        self._store = store
        self._packages = packages
        self._artifacts: Mapping[str, Artifact] = {item.sha256: item for item in artifacts}
        self._allow_scripts = allow_scripts

    def _tools(self) -> list[Artifact]:
        """The lock's tools, whichever machines they are for."""
        return [item for item in self._artifacts.values() if "tools" in item.roles]
