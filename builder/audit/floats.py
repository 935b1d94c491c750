"""Instructions that compute in floating point, in code that may only move such numbers.

Under the profile `portable` every floating-point result comes from the runtime's own operations, and what XLA emits
copies, gathers and computes integers: the zoo's 130 programs hold none of these. An instruction of them there is an
operation that has slipped through, whose order and rounding XLA chose.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from builder.audit.binary import Binary, Machine
from builder.audit.x86 import Hits

_X86: Final = re.compile(r"^(?!P|VP).*(?:PS|PD|SS|SD|PH|SH|BF16)$|^V?CVT")
"""Names end with the type: packed or scalar, single, double or half. Those with P before are of integers."""
_X86_MOVES: Final = re.compile(
    r"^V?(?:MOV|SHUF|UNPCK|PERM|BLEND|INSERT|EXTRACT|BROADCAST|AND|ANDN|OR|XOR|TEST|EXPAND|COMPRESS|GATHER|SCATTER|"
    r"MASKMOV|ALIGN)"
)
_X86_OTHERS: Final = frozenset(
    {"STOSD", "LODSD", "SCASD", "INSD", "OUTSD", "LSS", "CLFLUSH", "RDSSPD", "INCSSPD", "WRSSD", "WRUSSD", "TDPBSSD",
     "TDPBSUD", "TDPBUSD"}
)  # fmt: skip
"""Of integers, strings of bytes and shadow stacks."""
_A64: Final = re.compile(r"^(?:f(?!mov|csel)\w+|scvtf|ucvtf|bf\w*(?:dot|mmla|mla[lb]|cvt)\w*)$")


def computes(mnemonic: str, machine: Machine) -> bool:
    """Whether an instruction rounds, compares or converts floating-point numbers; its name in small letters.

    Moving, choosing, and the bits of the sign do not count.
    """
    if machine == "aarch64":
        return _A64.match(mnemonic) is not None
    name = mnemonic.upper()
    return bool(_X86.match(name)) and not _X86_MOVES.match(name) and name not in _X86_OTHERS


def floats(binary: Binary, content: bytes) -> Hits:
    """Addresses of such instructions by mnemonic, in a file's code."""
    decode = _x86 if binary.machine == "x86-64" else _a64
    found: Hits = {}
    for code in binary.code:
        for address, name in decode(content[code.offset : code.offset + code.size], code.address):
            if computes(name, binary.machine):
                found.setdefault(name, []).append(address)
    return found


def _x86(code: bytes, address: int) -> list[tuple[int, str]]:
    from iced_x86 import Decoder  # noqa: PLC0415 - only where code is looked at

    names = _names()
    return [(item.ip, names[item.mnemonic]) for item in Decoder(64, code, ip=address)]


def _a64(code: bytes, address: int) -> list[tuple[int, str]]:
    from capstone import CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, Cs  # noqa: PLC0415

    decoder = Cs(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN)
    decoder.skipdata = True
    return [(place, name) for place, _, name, _ in decoder.disasm_lite(code, address)]


@cache
def _names() -> dict[int, str]:
    from iced_x86 import Mnemonic  # noqa: PLC0415

    return {getattr(Mnemonic, name): name.lower() for name in dir(Mnemonic) if name.isupper()}
