"""From a binary to what it holds: counts by trait, and the functions that hold them."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from builder.audit import arm64, x86
from builder.audit.binary import Binary, Machine, read
from builder.audit.traits import Trait

FORMAT: Final = 1
"""Of what the store remembers; another table of traits is another format."""

PIECE: Final = 4 << 20
"""Bytes of code that one call decodes, so that two cores share a large library. Decoding runs at 15 to 20 MB/s."""

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Instructions of one kind in one function; `address` is that of the first."""

    trait: Trait
    mnemonic: str
    function: str
    count: int
    address: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What a binary holds. `findings` are sorted by trait, function and mnemonic."""

    machine: Machine
    instructions: int
    functions: int
    findings: tuple[Finding, ...]

    def tally(self) -> dict[Trait, int]:
        """How many instructions have each trait."""
        counts = Counter[Trait]()
        for item in self.findings:
            counts[item.trait] += item.count
        return {trait: counts[trait] for trait in Trait if counts[trait]}

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def load(data: Mapping[str, Any]) -> Audit:
    """What `Audit.dump` gave."""
    rows = (Finding(**{**row, "trait": Trait(row["trait"])}) for row in data["findings"])
    return Audit(data["machine"], data["instructions"], data["functions"], tuple(rows))


def audit(path: Path, run: Map = map) -> Audit | None:
    """Decode all code of an ELF file; None if the file is no such thing.

    Args:
        path: of the file.
        run: `map`, or that of a pool of processes.
    """
    binary = read(path)
    if binary is None:
        return None
    found: dict[tuple[str, str], list[int]] = {}
    instructions = 0
    for count, hits in run(_sweep, _pieces(binary)):
        instructions += count
        for mnemonic, addresses in hits.items():
            for address in addresses:
                found.setdefault((mnemonic, binary.function(address)), []).append(address)
    findings = [
        Finding(_trait(binary.machine, mnemonic), mnemonic, function, len(addresses), min(addresses))
        for (mnemonic, function), addresses in found.items()
    ]
    findings.sort(key=lambda item: (list(Trait).index(item.trait), item.function, item.mnemonic))
    return Audit(binary.machine, instructions, len(binary.starts), tuple(findings))


def _trait(machine: Machine, mnemonic: str) -> Trait:
    trait = x86.trait_of(mnemonic.upper()) if machine == "x86-64" else arm64.TRAITS[mnemonic]
    if trait is None:
        raise ValueError(f"{mnemonic} has no trait")
    return trait


def _pieces(binary: Binary) -> Iterator[tuple[Path, Machine, int, int, int]]:
    """Path, machine, offset, size and address of each piece, cut where a function begins: decoding stays in step."""
    for code in binary.code:
        cuts = [0]
        while cuts[-1] + PIECE < code.size:
            index = bisect_left(binary.starts, code.address + cuts[-1] + PIECE)
            if index == len(binary.starts) or binary.starts[index] >= code.address + code.size:
                break
            cuts.append(binary.starts[index] - code.address)
        for begin, end in zip(cuts, [*cuts[1:], code.size], strict=True):
            yield binary.path, binary.machine, code.offset + begin, end - begin, code.address + begin


def _sweep(piece: tuple[Path, Machine, int, int, int]) -> tuple[int, dict[str, list[int]]]:
    path, machine, offset, size, address = piece
    if size == 0:
        return 0, {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        code = data[offset : offset + size]
    sweep = x86.sweep if machine == "x86-64" else arm64.sweep
    return sweep(code, address)
