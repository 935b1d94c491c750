"""What kbuild itself puts into an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.plan.model import PlacedFile
from builder.plan.numerics import Numerics
from builder.platforms import Platform


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything in an image that neither the lock nor the kernel's folder brings.

    Attributes:
        modules: the files of `kernels.runtime`, placed in the image.
        documents: what tells the runtime of each platform's image what to be: spec and environment.
        libraries: the native operations of the portable profile; none under another.
        compiled_for: the documents without what reaches no program, for compiling ahead of time.
    """

    modules: tuple[PlacedFile, ...]
    documents: Mapping[Platform, tuple[PlacedFile, ...]]
    libraries: Numerics = field(default_factory=dict)
    compiled_for: Mapping[Platform, tuple[PlacedFile, ...]] = field(default_factory=dict)
