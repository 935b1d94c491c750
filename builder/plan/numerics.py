"""The runtime's own native operations, which a kernel of the profile `portable` calls. Pure.

Their recipe is `kernels/runtime/portable/native/build.toml`. No flag of a spec reaches them: they are to give the same
bits in every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import tomli

from builder.plan.model import NativeObject, PlacedFile
from builder.platforms import Platform
from builder.spec.model import NativeTable

RECIPE: Final = "portable/native/build.toml"
"""Below the runtime's folder."""

HEADERS: Final = ("jaxlib/include",)

VERSION: Final = "1"
"""Of the numeric specification, docs/numerics/, that these operations implement."""

LABEL: Final = "org.kbuild.numerics"
"""Under which an image says that version."""

Numerics = Mapping[Platform, tuple[NativeObject, ...]]


def libraries(recipe: str, files: Sequence[PlacedFile]) -> Numerics:
    """The objects to compile for each platform, in the recipe's order.

    Args:
        recipe: the text of `RECIPE`, which kbuild ships.
        files: every source and header, by its path below the runtime's folder.
    """
    data: Mapping[str, Any] = tomli.loads(recipe)
    made: dict[Platform, list[NativeObject]] = {}
    for item in data["library"]:
        folders = {f"portable/{folder}" for folder in item["folders"]}
        sources = tuple(file for file in files if file.path.endswith(".h") or _folder(file) in folders)
        flags = (f"-march={item['march']}", *item["flags"], *data["flags"])
        table = NativeTable(sources=tuple(file.path for file in sources), flags=flags, headers=HEADERS)
        library = NativeObject(item["name"], table, flags, sources, tuple(data["allow"]))
        made.setdefault(item["platform"], []).append(library)
    return {platform: tuple(items) for platform, items in made.items()}


def _folder(file: PlacedFile) -> str:
    return file.path.rpartition("/")[0]


def names(numerics: Numerics) -> frozenset[str]:
    """The libraries' names, which no table of a kernel's own may have."""
    return frozenset(item.name for items in numerics.values() for item in items)
