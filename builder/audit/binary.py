"""The code of an ELF file and the functions in it.

What may run is what a loader maps as executable: the segments of a program or library. Sections only say what in there
is code and what data, and a file may have lost them, or never have had them; then the whole segment counts as code.
"""

from __future__ import annotations

import io
import mmap
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Machine = Literal["x86-64", "aarch64"]
Data = bytes | mmap.mmap

MAGIC: Final = b"\x7fELF"
_MACHINES: Final[dict[str, Machine]] = {"EM_X86_64": "x86-64", "EM_AARCH64": "aarch64"}
_ALLOCATED, _EXECUTABLE = 0x2, 0x4
_SEGMENT_EXECUTABLE: Final = 0x1
_FUNCTION, _INDIRECT = 2, 10
"""STT_FUNC, and STT_GNU_IFUNC: called once by the loader, it says which function a name stands for on this CPU."""


class Unreadable(Exception):
    """An ELF file whose code cannot be told; the text says why."""


@dataclass(frozen=True, slots=True)
class Code:
    """A stretch of machine code: where it is in the file and in memory.

    `bare` if no section says what of it is data, so that decoding has to begin anew at every function.
    """

    offset: int
    size: int
    address: int
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Binary:
    """What of an ELF file an audit looks at.

    Attributes:
        machine: what it is for.
        relocatable: it is an object that has yet to be linked: addresses are offsets in the file.
        fixed: it is a program that runs at its own addresses and no others.
        entry: where it begins to run; 0 if nowhere.
        code: its stretches of machine code, sorted by address.
        starts: addresses of its functions, sorted.
        names: of its functions, in the same order, as the linker has them.
        sizes: of its functions, in the same order, as the linker has them; 0 if it does not say.
        resolvers: addresses of those that choose a function by the CPU, for the loader.
    """

    machine: Machine
    relocatable: bool
    fixed: bool
    entry: int
    code: tuple[Code, ...]
    starts: tuple[int, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    sizes: tuple[int, ...] = field(repr=False)
    resolvers: tuple[int, ...] = field(repr=False)

    def start(self, address: int) -> int:
        """Where the function begins that an address lies in: the nearest before it; 0 if there is none."""
        found = bisect_right(self.starts, address) - 1
        return self.starts[found] if found >= 0 else 0

    def function(self, address: int) -> str:
        """Its name; the address itself if no function is before it."""
        found = bisect_right(self.starts, address) - 1
        return self.names[found] if found >= 0 else f"{address:#x}"

    def end(self, start: int) -> int:
        """Where a function ends: at the next, or with its stretch of code."""
        index = bisect_right(self.starts, start)
        following = self.starts[index] if index < len(self.starts) else None
        for code in self.code:
            if code.address <= start < code.address + code.size:
                end = code.address + code.size
                return end if following is None else min(end, following)
        return start


def read(path: Path) -> Binary | None:
    """Read a file; None if it is no ELF file.

    Raises:
        Unreadable: it is one, but its code cannot be told.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(file, data)


def parse(content: bytes) -> Binary | None:
    """As `read`, of a file's content."""
    return _parse(io.BytesIO(content), content) if content.startswith(MAGIC) else None


def _parse(file: Any, data: Data) -> Binary:
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - only where code is looked at

    try:
        elf = ELFFile(file)
        machine = _MACHINES.get(elf["e_machine"])
        if machine and elf.elfclass == 64 and elf.little_endian:  # noqa: PLR2004
            return _binary(elf, machine, data)
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the parser makes of a malformed file
        raise Unreadable(f"is a malformed ELF file ({type(error).__name__})") from None
    raise Unreadable(f"is for another machine: {elf['e_machine']}, {elf.elfclass} bits")


def _binary(elf: Any, machine: Machine, data: Data) -> Binary:
    sections = list(elf.iter_sections())
    relocatable = elf["e_type"] == "ET_REL"
    symbols = _Symbols(relocatable=relocatable)
    for table in sections:
        if table["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
            symbols.read(data, sections, table, sections[table["sh_link"]])
    if not symbols.named:
        symbols.read_dynamic(elf)
    entries = {*symbols.named, *([elf["e_entry"]] if elf["e_entry"] else [])}
    code = (
        [Code(item["sh_offset"], item["sh_size"], item["sh_offset"]) for item in sections if _marked(item)]
        if relocatable
        else [*_sections(sections, entries), *_uncovered(elf, sections, data)]
    )
    for item in code:
        if item.offset + item.size > len(data):
            raise Unreadable("has code behind its end")
    starts = tuple(sorted(symbols.named))
    return Binary(
        machine,
        relocatable,
        elf["e_type"] == "ET_EXEC",
        elf["e_entry"],
        tuple(sorted(code, key=lambda item: item.address)),
        starts,
        tuple(symbols.named[start] for start in starts),
        tuple(symbols.sizes[start] for start in starts),
        tuple(sorted(symbols.resolvers)),
    )


def _marked(section: Any) -> bool:
    return bool(section["sh_flags"] & _EXECUTABLE) and section["sh_type"] != "SHT_NOBITS" and section["sh_size"] > 0


def _sections(sections: Sequence[Any], entries: set[int]) -> Iterator[Code]:
    """Sections that are said to be code, and those that functions are in though nothing says so."""
    places = sorted(entries)
    for item in sections:
        begin, size = item["sh_addr"], item["sh_size"]
        held = item["sh_flags"] & _ALLOCATED and item["sh_type"] != "SHT_NOBITS"
        if _marked(item) or (held and bisect_left(places, begin) < bisect_left(places, begin + size)):
            yield Code(item["sh_offset"], size, begin)


def _uncovered(elf: Any, sections: Sequence[Any], data: Data) -> Iterator[Code]:
    """What of executable segments no section covers, but for the file's own headers and padding of zeros."""
    header = (0, elf["e_ehsize"])
    programs = (elf["e_phoff"], elf["e_phoff"] + elf["e_phnum"] * elf["e_phentsize"])
    covered = [
        (item["sh_offset"], item["sh_offset"] + item["sh_size"])
        for item in sections
        if item["sh_flags"] & _ALLOCATED and item["sh_type"] != "SHT_NOBITS"
    ]
    ranges = sorted([header, programs, *covered])
    for segment in elf.iter_segments():
        if segment["p_type"] != "PT_LOAD" or not segment["p_flags"] & _SEGMENT_EXECUTABLE:
            continue
        begin, end = segment["p_offset"], segment["p_offset"] + segment["p_filesz"]
        if end > len(data):
            raise Unreadable("has code behind its end")
        place = begin
        for low, high in [*ranges, (end, end)]:
            stop = min(low, end)
            if stop > place and data[place:stop].strip(b"\0"):
                yield Code(place, stop - place, segment["p_vaddr"] + place - begin, bare=True)
            place = max(place, high)


class _Symbols:
    """Functions by address, as symbol tables name them; the first table to name one wins."""

    def __init__(self, *, relocatable: bool) -> None:
        self.named: dict[int, str] = {}
        self.sizes: dict[int, int] = {}
        self.resolvers: set[int] = set()
        self._relocatable = relocatable

    def read(self, data: Data, sections: Sequence[Any], table: Mapping[str, Any], strings: Mapping[str, Any]) -> None:
        """Read as one array: jaxlib has 700,000, one object each would take a minute."""
        import numpy as np  # noqa: PLC0415

        if max(item["sh_offset"] + item["sh_size"] for item in (table, strings)) > len(data):
            raise Unreadable("has symbols behind its end")
        # Elf64_Sym of the gABI, figure 4-14.
        layout = [
            ("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8"),
        ]  # fmt: skip
        symbols = np.frombuffer(data[table["sh_offset"] : table["sh_offset"] + table["sh_size"]], np.dtype(layout))
        texts = data[strings["sh_offset"] : strings["sh_offset"] + strings["sh_size"]]
        kind = symbols["info"] & 15
        chosen = symbols[((kind == _FUNCTION) | (kind == _INDIRECT)) & (symbols["section"] != 0)]
        values = chosen["value"]
        if self._relocatable:
            offsets = np.array([item["sh_offset"] for item in sections], np.uint64)
            values = values + offsets[np.minimum(chosen["section"], len(sections) - 1)]
        indirect = (chosen["info"] & 15) == _INDIRECT
        self.resolvers.update(values[indirect].tolist())
        for name, value, size in zip(chosen["name"].tolist(), values.tolist(), chosen["size"].tolist(), strict=True):
            end = texts.find(b"\0", name)
            if value not in self.named and end > name:
                self.named[value] = texts[name:end].decode(errors="replace")
                self.sizes[value] = size

    def read_dynamic(self, elf: Any) -> None:
        """By the loader's own table (DT_SYMTAB, counted by DT_HASH or DT_GNU_HASH), where there are no sections."""
        for segment in elf.iter_segments("PT_DYNAMIC"):
            for symbol in segment.iter_symbols():
                value, kind = symbol["st_value"], symbol["st_info"]["type"]
                if kind in ("STT_FUNC", "STT_LOOS") and value and symbol.name:  # STT_LOOS is 10, GNU's IFUNC
                    self.named.setdefault(value, symbol.name)
                    self.sizes.setdefault(value, symbol["st_size"])
                    if kind == "STT_LOOS":
                        self.resolvers.add(value)
