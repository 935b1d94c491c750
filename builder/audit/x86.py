"""Finding x86-64 instructions by their trait, decoded by iced-x86 in a linear sweep."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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


@cache
def _wanted() -> dict[int, str]:
    """Names of the mnemonics that have a trait; and none for that of what is no instruction."""
    from iced_x86 import Mnemonic  # noqa: PLC0415 - only where code is looked at

    names = {getattr(Mnemonic, name): name for name in dir(Mnemonic) if name.isupper()}
    return {value: name.lower() for value, name in names.items() if trait_of(name)} | {Mnemonic.INVALID: ""}


def sweep(code: bytes | memoryview, address: int) -> tuple[int, Hits]:
    """Decode from the first byte on, one instruction after the other.

    Bytes that are no instruction count as one each: compilers leave none in code but padding.

    Args:
        code: machine code that begins at an instruction.
        address: of its first byte.

    Returns:
        How many instructions there are, and where those with a trait are, by their mnemonic in lower case.
    """
    from iced_x86 import Decoder, Instruction  # noqa: PLC0415

    wanted = _wanted()
    decoder = Decoder(64, bytes(code), ip=address)
    instruction = Instruction()
    decode = decoder.decode_out
    found: Hits = {}
    for count in range(len(code)):
        decode(instruction)
        mnemonic = instruction.mnemonic
        if mnemonic in wanted:
            if name := wanted[mnemonic]:
                found.setdefault(name, []).append(instruction.ip)
            elif not instruction.len:
                return count, found  # nothing is left
    return len(code), found
