"""The code of an ELF file and the functions in it."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Machine = Literal["x86-64", "aarch64"]

_MACHINES: Final[dict[str, Machine]] = {"EM_X86_64": "x86-64", "EM_AARCH64": "aarch64"}
_EXECUTABLE: Final = 0x4
_FUNCTION, _INDIRECT = 2, 10
"""STT_FUNC, and STT_GNU_IFUNC."""


@dataclass(frozen=True, slots=True)
class Code:
    """A section of machine code: where it is in the file and in memory."""

    offset: int
    size: int
    address: int


@dataclass(frozen=True, slots=True)
class Binary:
    """What of an ELF file an audit looks at.

    Attributes:
        path: of the file.
        machine: what it is for.
        code: its sections of machine code.
        starts: addresses of its functions, sorted.
        names: of its functions, in the same order, as the linker has them.
    """

    path: Path
    machine: Machine
    code: tuple[Code, ...]
    starts: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    def function(self, address: int) -> str:
        """The function that an address lies in; where symbols were taken away, the nearest before it."""
        index = bisect_right(self.starts, address) - 1
        return self.names[index] if index >= 0 else f"{address:#x}"


def read(path: Path) -> Binary | None:
    """Read an ELF file; None if it is none, is malformed, or for another machine."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - only where code is looked at

    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
        file.seek(0)
        size = path.stat().st_size
        try:
            elf = ELFFile(file)
            machine = _MACHINES.get(elf["e_machine"])
            if machine is None or elf.elfclass != 64 or not elf.little_endian:  # noqa: PLR2004
                return None
            sections = list(elf.iter_sections())
            code = tuple(
                Code(item["sh_offset"], item["sh_size"], item["sh_addr"])
                for item in sections
                if item["sh_flags"] & _EXECUTABLE
                and item["sh_type"] == "SHT_PROGBITS"
                and item["sh_offset"] + item["sh_size"] <= size
            )
            tables = [item for item in sections if item["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM")]
            named: dict[int, str] = {}
            for table in tables:
                named |= _functions(file, table, sections[table["sh_link"]], size)
        except Exception:  # noqa: BLE001 - whatever the parser makes of a malformed file, it is none
            return None
    starts = tuple(sorted(named))
    return Binary(path, machine, code, starts, tuple(named[start] for start in starts))


def _functions(file: Any, table: Any, strings: Any, size: int) -> dict[int, str]:
    """Functions by address, read as one array: jaxlib has 700,000, one object each would take a minute."""
    import numpy as np  # noqa: PLC0415

    if table["sh_offset"] + table["sh_size"] > size or strings["sh_offset"] + strings["sh_size"] > size:
        return {}
    # Elf64_Sym of the gABI, figure 4-14.
    layout = [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        symbols = np.frombuffer(data[table["sh_offset"] : table["sh_offset"] + table["sh_size"]], np.dtype(layout))
        texts = data[strings["sh_offset"] : strings["sh_offset"] + strings["sh_size"]]
    kind = symbols["info"] & 15
    chosen = symbols[((kind == _FUNCTION) | (kind == _INDIRECT)) & (symbols["section"] != 0)]
    found: dict[int, str] = {}
    for name, value in zip(chosen["name"].tolist(), chosen["value"].tolist(), strict=True):
        end = texts.find(b"\0", name)
        if value not in found and end > name:
            found[value] = texts[name:end].decode(errors="replace")
    return found
