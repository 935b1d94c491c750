"""Why an instruction is worth knowing of. Pure.

Most instructions give the same bits on every CPU that has them. The rest are here, by what sets them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Trait(StrEnum):
    """What an instruction's result depends on, beyond its operands and IEEE 754."""

    ESTIMATE = "estimate"
    X87 = "x87"
    FLUSH = "flush"
    MODE = "mode"
    RANDOM = "random"
    CLOCK = "clock"
    DISPATCH = "dispatch"
    FMA = "fma"
    FLOAT = "float"


MEANINGS: Final[Mapping[Trait, str]] = {
    Trait.ESTIMATE: "an approximation whose bits are each maker's own (Intel SDM volume 2, RSQRTPS: relative error "
    "at most 1.5 * 2^-12; AMD's and emulators' bits are others)",
    Trait.X87: "computes in the x87 unit's 80 bits, and rounds again when the value is stored",
    Trait.FLUSH: "flushes subnormal operands and results to zero, whatever the mode (bfloat16 products, AMX)",
    Trait.MODE: "sets how the thread rounds, or whether it keeps subnormal numbers",
    Trait.RANDOM: "draws a random number, or fails by chance",
    Trait.CLOCK: "reads a clock or a counter",
    Trait.DISPATCH: "asks which CPU this is, for code that chooses its way by it",
    Trait.FMA: "multiplies and adds with one rounding: the source's own, or a compiler's contraction",
    Trait.FLOAT: "computes in floating point, in code that XLA emitted",
}

REFUSED: Final = frozenset({Trait.ESTIMATE, Trait.X87, Trait.FLUSH, Trait.MODE, Trait.RANDOM, Trait.CLOCK})
"""What a kernel's own code may not hold."""

EVERYWHERE: Final = tuple(trait for trait in Trait if trait is not Trait.FLOAT)
"""What is looked for in any code; the rest in XLA's only."""
