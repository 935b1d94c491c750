"""Finding AArch64 instructions by their trait: each is one word, so a mask and a value tell it.

Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), chapters C4 to C8.
"""

from __future__ import annotations

from typing import Final

from builder.audit.traits import Trait
from builder.audit.x86 import Hits

ENCODINGS: Final[tuple[tuple[str, Trait, int, int], ...]] = (
    ("frecpe", Trait.ESTIMATE, 0xBFBFFC00, 0x0EA1D800),
    ("frecpe", Trait.ESTIMATE, 0xFFBFFC00, 0x5EA1D800),
    ("frecpe", Trait.ESTIMATE, 0xBFFFFC00, 0x0EF9D800),
    ("frecpe", Trait.ESTIMATE, 0xFFFFFC00, 0x5EF9D800),
    ("frsqrte", Trait.ESTIMATE, 0xBFBFFC00, 0x2EA1D800),
    ("frsqrte", Trait.ESTIMATE, 0xFFBFFC00, 0x7EA1D800),
    ("frsqrte", Trait.ESTIMATE, 0xBFFFFC00, 0x2EF9D800),
    ("frsqrte", Trait.ESTIMATE, 0xFFFFFC00, 0x7EF9D800),
    ("frecpe", Trait.ESTIMATE, 0xFF3FFC00, 0x650E3000),  # SVE
    ("frsqrte", Trait.ESTIMATE, 0xFF3FFC00, 0x650F3000),
    ("bfdot", Trait.FLUSH, 0xBFE0FC00, 0x2E40FC00),
    ("bfmmla", Trait.FLUSH, 0xFFE0FC00, 0x6E40EC00),
    ("smstart", Trait.FLUSH, 0xFFFFF1FF, 0xD503417F),  # SME: its outer products flush (FPCR is not obeyed)
    ("msr fpcr", Trait.MODE, 0xFFFFFFE0, 0xD51B4400),
    ("mrs rndr", Trait.RANDOM, 0xFFFFFFE0, 0xD53B2400),
    ("mrs rndrrs", Trait.RANDOM, 0xFFFFFFE0, 0xD53B2420),
    ("mrs cntpct_el0", Trait.CLOCK, 0xFFFFFFE0, 0xD53BE020),
    ("mrs cntvct_el0", Trait.CLOCK, 0xFFFFFFE0, 0xD53BE040),
    ("mrs midr_el1", Trait.DISPATCH, 0xFFFFFFE0, 0xD5380000),
    ("mrs id", Trait.DISPATCH, 0xFFFFFC00, 0xD5380400),  # ID_AA64PFR0_EL1 and the like
    ("fmadd", Trait.FMA, 0xFF208000, 0x1F000000),
    ("fmsub", Trait.FMA, 0xFF208000, 0x1F008000),
    ("fnmadd", Trait.FMA, 0xFF208000, 0x1F200000),
    ("fnmsub", Trait.FMA, 0xFF208000, 0x1F208000),
    ("fmla", Trait.FMA, 0xBFA0FC00, 0x0E20CC00),
    ("fmls", Trait.FMA, 0xBFA0FC00, 0x0EA0CC00),
    ("fmla", Trait.FMA, 0xBF80F400, 0x0F801000),
    ("fmls", Trait.FMA, 0xBF80F400, 0x0F805000),
)
"""Mnemonic, trait, mask and value of a word."""

TRAITS: Final = {name: trait for name, trait, _, _ in ENCODINGS}


def sweep(code: bytes | memoryview, address: int) -> tuple[int, Hits]:
    """As `builder.audit.x86.sweep`, over words of four bytes."""
    import numpy as np  # noqa: PLC0415 - only where code is looked at

    words = np.frombuffer(code, "<u4", count=len(code) // 4)
    found: Hits = {}
    for name, _, mask, value in ENCODINGS:
        places = np.flatnonzero((words & np.uint32(mask)) == np.uint32(value))
        if len(places):
            found.setdefault(name, []).extend((address + 4 * places.astype(np.int64)).tolist())
    return len(words), found
