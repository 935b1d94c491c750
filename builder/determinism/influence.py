"""What an influence is: a factor that can move a bit of a result, and all that is known and done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builder.determinism.table import EVERY
from builder.platforms import Platform


class Seen(StrEnum):
    """What was seen when an influence was let go and nothing else changed."""

    MOVED = "moved"
    """Bits of a kernel moved; a test does it again."""
    STILL = "still"
    """It was varied here, and no kernel was found whose bits move."""
    ELSEWHERE = "elsewhere"
    """It acts on hardware, or needs another version, that a CPU at hand cannot show."""


@dataclass(frozen=True, slots=True)
class Influence:
    """One row of the influence table.

    Attributes:
        name: by which specs, reports and localisation call it.
        factor: what it is.
        acts: what it acts on.
        pins: names in `builder.determinism.table` that hold it; none if the image holds it by what it is.
        held: how the image holds it besides its pins; empty if it does not.
        checked: how the runtime checks it at initialise; empty if it does not.
        varied: how `kbuild verify` varies it; empty if it does not.
        seen: what letting it go did.
        evidence: what exactly was seen, or why it cannot be shown on a CPU.
        source: where its effect is documented or was measured.
        platforms: on which it acts.
    """

    name: str
    factor: str
    acts: str
    pins: tuple[str, ...]
    held: str
    checked: str
    varied: str
    seen: Seen
    evidence: str
    source: str
    platforms: tuple[Platform, ...] = EVERY
