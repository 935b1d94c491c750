"""Which functions of an image's libraries a run went through, by QEMU's log of the code that it ran.

QEMU translates code block by block, each when it is first run. With `-d in_asm` it writes down every block, one line
per instruction that begins with its address; with `-d strace` the system calls that map libraries, and so what an
address is of. With `-d exec` it writes a line each time that it looks for the block to run next: a function's calls are
counted by the block that it begins with. Once it has found one that code jumps to or calls directly, within 4 KiB, it
looks no more; `-d exec,nochain` would count those too, and takes three times as long. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from builder.audit.traits import Trait

Block = tuple[int, ...]
"""Addresses of the instructions of a block, in their order."""

LOOKED_FOR: Final = frozenset(Trait) - {Trait.FMA, Trait.FLOAT}
"""Traits of the functions that are followed; any source may mean a multiply-add, and jaxlib has 30,000."""

_NEAR: Final = 64
"""Bytes between two addresses that are filtered for together. With 400 ranges a program took fifteen times as long as
with one; with far ranges, the log would be of what is between them."""

_OPENED: Final = re.compile(rb'openat\(-?\w+,"([^"]+)",[^)]*\) = (\d+)\b')
_MAPPED: Final = re.compile(rb"mmap\(\w+,(\d+),[A-Z_|]*PROT_EXEC[A-Z_|]*,[^,]+,(\d+),(\w+)\) = (0x[0-9a-f]+)")
_RUN: Final = re.compile(rb"^Trace \d+: \S+ \[[^/]*/([0-9a-f]+)/")


@dataclass(frozen=True, slots=True)
class Mapped:
    """Executable memory that is a part of a file of the image, whose `path` is without its leading slash."""

    begin: int
    size: int
    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class Executed:
    """What a log tells: mappings in their order, and the addresses of each block's instructions by its first."""

    mapped: tuple[Mapped, ...]
    blocks: Mapping[int, Block]


@dataclass(frozen=True, slots=True)
class Reached:
    """A function that a run went into.

    Attributes:
        path: of its file.
        function: its name; where symbols were taken away, of the nearest before, whose calls are then counted.
        trait: of what it holds.
        resolver: whether it is what the loader asks which code to use.
        calls: how often it was called at least; None if that was not counted: of a resolver, of the loader's own
            functions, and where none of its instructions with the trait were run.
        executed: how many of those were run at all.
        instructions: how many it has.
    """

    path: str
    function: str
    trait: Trait
    resolver: bool
    calls: int | None
    executed: int
    instructions: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What one run reached, sorted by trait, path and function; `cpu` is the QEMU model that it ran on."""

    cpu: str
    libraries: tuple[str, ...]
    reached: tuple[Reached, ...]

    def ran(self) -> list[Reached]:
        """Functions that ran such instructions."""
        return [item for item in self.reached if item.executed and not item.resolver]

    def spared(self) -> list[Reached]:
        """Functions that were gone into and ran none."""
        return [item for item in self.reached if not item.executed and not item.resolver]

    def asked(self) -> list[Reached]:
        """Functions that the loader asked which code to use."""
        return [item for item in self.reached if item.resolver]

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def load(data: Mapping[str, Any]) -> Recording:
    """What `Recording.dump` gave."""
    rows = tuple(Reached(**{**row, "trait": Trait(row["trait"])}) for row in data["reached"])
    return Recording(data["cpu"], tuple(data["libraries"]), rows)


def executed(log: Iterable[bytes]) -> Executed:
    """Read the log of `-d in_asm,strace`."""
    mapped: list[Mapped] = []
    files: dict[int, str] = {}
    blocks: dict[int, Block] = {}
    block: list[int] = []
    for line in log:
        if line.startswith(b"0x"):
            address = line[: line.find(b":")]
            if address[2:].isalnum():  # else another thread wrote into this line
                block.append(int(address, 16))
            continue
        if block:
            blocks[block[0]] = tuple(block)
            block = []
        mapped += _mapping(line, files)
    if block:
        blocks[block[0]] = tuple(block)
    return Executed(tuple(mapped), blocks)


def _mapping(line: bytes, files: dict[int, str]) -> Iterator[Mapped]:
    if b"openat(" in line and (opened := _OPENED.search(line)):
        files[int(opened[2])] = opened[1].decode(errors="replace")
    elif b"PROT_EXEC" in line and (found := _MAPPED.search(line)) and int(found[2]) in files:
        path = str(PurePosixPath("/", files[int(found[2])])).lstrip("/")
        yield Mapped(int(found[4], 16), int(found[1]), path, int(found[3], 0))


def within(blocks: Mapping[int, Block], ranges: Mapping[int, int]) -> dict[int, list[Block]]:
    """By the beginning of each range, the blocks that begin in it.

    Args:
        blocks: as `Executed` has them.
        ranges: ends by beginnings, none of which overlap.
    """
    begins = sorted(ranges)
    found: dict[int, list[Block]] = {}
    for first, block in blocks.items():
        index = bisect_right(begins, first) - 1
        if index >= 0 and first < ranges[begins[index]]:
            found.setdefault(begins[index], []).append(block)
    return found


def filtered(addresses: Iterable[int]) -> str:
    """QEMU's `-dfilter` for these addresses. It compares every block that is run with each range: few are faster."""
    found: list[list[int]] = []
    for address in sorted(addresses):
        if found and address - found[-1][1] <= _NEAR:
            found[-1][1] = address
        else:
            found.append([address, address])
    return ",".join(f"{low:#x}..{high:#x}" for low, high in found)


def counted(log: Iterable[bytes], expected: Mapping[str, int]) -> Counter[int] | None:
    """Read the log of `-d exec,strace`: how often each block was run, by its address.

    Args:
        log: its lines.
        expected: where files have to be mapped; as soon as one is elsewhere, nothing more is read and None given.
    """
    files: dict[int, str] = {}
    found = Counter[int]()
    for line in log:
        if run := _RUN.match(line):
            found[int(run[1], 16)] += 1
        elif any(item.begin != expected.get(item.path, item.begin) for item in _mapping(line, files)):
            return None
    return found
