"""What a build has to say for itself, as data that survives in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from builder.layers.entry import Layer


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """A layer of the image and whether this build had to make it."""

    layer: Layer
    cached: bool


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The answer of a build: the index digest, each platform's manifest digest, and each platform's layers.

    `builders` are the backends that made every compiled layer and agree on it.
    """

    name: str
    digest: str
    manifests: Mapping[str, str]
    layers: Mapping[str, Sequence[MadeLayer]]
    builders: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "name": self.name,
            "digest": self.digest,
            "manifests": dict(self.manifests),
            "builders": list(self.builders),
            "layers": {
                platform: [asdict(made.layer) | {"cached": made.cached} for made in layers]
                for platform, layers in self.layers.items()
            },
        }


def load(data: Mapping[str, Any]) -> BuildReport:
    """A report from what `dump` gave; every layer counts as cached now."""
    return BuildReport(
        data["name"],
        data["digest"],
        data["manifests"],
        {
            platform: [MadeLayer(Layer(**{k: v for k, v in item.items() if k != "cached"}), True) for item in items]
            for platform, items in data["layers"].items()
        },
        tuple(data.get("builders", ())),
    )
