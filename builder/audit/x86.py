"""Finding x86-64 instructions by their trait, decoded by iced-x86 in a linear sweep."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Final

from builder.audit.traits import Trait

Hits = dict[str, list[int]]
"""Addresses by mnemonic."""

_ESTIMATES: Final = ("RSQRT", "VRSQRT", "RCPPS", "RCPSS", "VRCP", "VEXP2P", "PFRCP", "PFRSQRT")
_FLUSH: Final = ("TDPBF16", "TDPFP16", "TCMMIMFP16", "TCMMRLFP16", "TMMULTF32", "VDPBF16", "VCVTNE2PS2BF16")
_FMA: Final = ("VFMADD", "VFMSUB", "VFNMADD", "VFNMSUB")
_EXACT: Final[Mapping[str, Trait]] = {
    "LDMXCSR": Trait.MODE,
    "VLDMXCSR": Trait.MODE,
    "FLDCW": Trait.MODE,
    "FLDENV": Trait.MODE,
    "VCVTNEPS2BF16": Trait.FLUSH,
    "RDRAND": Trait.RANDOM,
    "RDSEED": Trait.RANDOM,
    "XBEGIN": Trait.RANDOM,
    "RDTSC": Trait.CLOCK,
    "RDTSCP": Trait.CLOCK,
    "RDPMC": Trait.CLOCK,
    "CPUID": Trait.DISPATCH,
    "XGETBV": Trait.DISPATCH,
}
_NOT_X87: Final = ("FXSAVE", "FXRSTOR", "FEMMS", "FNSTCW", "FSTCW", "FNSTENV", "FSTENV", "FNSAVE", "FSAVE", "FRSTOR",
                   "FNOP", "FNCLEX", "FCLEX", "FNSTSW", "FSTSW", "FNINIT", "FINIT", "FFREE")  # fmt: skip
"""Of the names with F, those that compute nothing: they save and restore, as handlers of signals do."""


def trait_of(mnemonic: str) -> Trait | None:
    """The trait of an instruction by its name in capitals, as iced-x86 spells it; None if it has none."""
    if mnemonic in _EXACT:
        return _EXACT[mnemonic]
    if mnemonic.startswith(_ESTIMATES):
        return Trait.ESTIMATE
    if mnemonic.startswith(_FLUSH):
        return Trait.FLUSH
    if mnemonic.startswith(_FMA):
        return Trait.FMA
    if mnemonic.startswith("F") and not mnemonic.startswith(_NOT_X87):
        return Trait.X87
    return None


_MNEMONIC: Final = attrgetter("mnemonic")
_TOGETHER: Final = 4096
"""Instructions that are looked at together, without a line of Python for each of them that is of no interest."""


@cache
def _wanted() -> dict[int, str]:
    """Names of the mnemonics that have a trait."""
    from iced_x86 import Mnemonic  # noqa: PLC0415 - only where code is looked at

    names = {getattr(Mnemonic, name): name for name in dir(Mnemonic) if name.isupper()}
    return {value: name.lower() for value, name in names.items() if trait_of(name)}


@cache
def _mnemonics() -> int:
    from iced_x86 import Mnemonic  # noqa: PLC0415

    numbers: list[int] = [getattr(Mnemonic, name) for name in dir(Mnemonic) if name.isupper()]
    return 1 + max(numbers)


def sweep(code: bytes | memoryview, address: int) -> tuple[int, Hits]:
    """Decode from the first byte on, one instruction after the other.

    Bytes that are no instruction count as one each: compilers leave none in code but padding.

    Args:
        code: machine code that begins at an instruction.
        address: of its first byte.

    Returns:
        How many instructions there are, and where those with a trait are, by their mnemonic in lower case.
    """
    import numpy as np  # noqa: PLC0415 - only where code is looked at
    from iced_x86 import Decoder  # noqa: PLC0415

    wanted = _wanted()
    among = np.array([value in wanted for value in range(_mnemonics())])
    decoder = Decoder(64, bytes(code), ip=address)
    found: Hits = {}
    count = 0
    while together := list(islice(decoder, _TOGETHER)):
        count += len(together)
        mnemonics = np.fromiter(map(_MNEMONIC, together), np.intp, len(together))
        for index in np.flatnonzero(among[mnemonics]).tolist():
            found.setdefault(wanted[mnemonics[index]], []).append(together[index].ip)
    return count, found
