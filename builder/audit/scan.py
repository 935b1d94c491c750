"""From a binary to what it holds: counts by trait, and the functions that hold them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from builder.audit import arm64, x86
from builder.audit.binary import Binary, Machine, parse, read
from builder.audit.traits import Trait

FORMAT: Final = 4
"""Of what the store remembers; another table of traits is another format."""

PIECE: Final = 4 << 20
"""Bytes of code that one call decodes, so that two cores share a large library. Decoding runs at 15 to 20 MB/s."""

RESOLVER: Final = "ifunc"
"""In place of a mnemonic: the function itself is an IFUNC resolver, which the loader asks which code to use."""

Map = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Instructions of one kind in one function, which begins at `start`; `address` is that of the first."""

    trait: Trait
    mnemonic: str
    function: str
    count: int
    address: int
    start: int


_FIELDS: Final = tuple(field.name for field in fields(Finding))


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
        """As JSON has it; `dataclasses.asdict` would take ten times as long over 60,000 findings."""
        rows = [{name: getattr(item, name) for name in _FIELDS} for item in self.findings]
        return {
            "machine": self.machine, "instructions": self.instructions, "functions": self.functions, "findings": rows,
        }  # fmt: skip


def order(finding: Finding) -> tuple[int, str, str, int]:
    """How findings are sorted."""
    return list(Trait).index(finding.trait), finding.function, finding.mnemonic, finding.start


def load(data: Mapping[str, Any]) -> Audit:
    """What `Audit.dump` gave."""
    rows = (Finding(**{**row, "trait": Trait(row["trait"])}) for row in data["findings"])
    return Audit(data["machine"], data["instructions"], data["functions"], tuple(rows))


def audit(path: Path, run: Map = map) -> Audit | None:
    """Decode all code of an ELF file; None if the file is no such thing.

    Args:
        path: of the file.
        run: `map`, or that of a pool of processes.

    Raises:
        Unreadable: it is one, but its code cannot be told.
    """
    binary = read(path)
    if binary is None:
        return None
    pieces = ((path, binary.machine, *piece) for piece in _pieces(binary))
    return _audit(binary, run(_sweep_file, pieces))


def audit_content(content: bytes) -> Audit | None:
    """As `audit`, of a file's content."""
    binary = parse(content)
    if binary is None:
        return None
    pieces = _pieces(binary)
    swept = (sweep(binary.machine, content[offset : offset + size], address) for offset, size, address in pieces)
    return _audit(binary, swept)


def _audit(binary: Binary, swept: Iterable[tuple[int, dict[str, list[int]]]]) -> Audit:
    found: dict[tuple[str, int], list[int]] = {}
    instructions = 0
    for count, hits in swept:
        instructions += count
        for mnemonic, addresses in hits.items():
            for address in addresses:
                found.setdefault((mnemonic, binary.start(address)), []).append(address)
    findings = [
        Finding(
            trait_of(binary.machine, mnemonic), mnemonic, binary.function(start), len(addresses), min(addresses), start
        )
        for (mnemonic, start), addresses in found.items()
    ]
    findings += [
        Finding(Trait.DISPATCH, RESOLVER, binary.function(address), 1, address, binary.start(address))
        for address in binary.resolvers
    ]
    findings.sort(key=order)
    return Audit(binary.machine, instructions, len(binary.starts), tuple(findings))


def trait_of(machine: Machine, mnemonic: str) -> Trait:
    """The trait that `sweep` found an instruction for."""
    trait = x86.trait_of(mnemonic.upper()) if machine == "x86-64" else arm64.TRAITS[mnemonic]
    if trait is None:
        raise ValueError(f"{mnemonic} has no trait")
    return trait


def _pieces(binary: Binary) -> Iterator[tuple[int, int, int]]:
    """Offset, size and address of each piece, cut where a function begins: decoding stays in step."""
    for code in binary.code:
        end = code.address + code.size
        cuts = [code.address]
        while code.bare or cuts[-1] + PIECE < end:
            index = bisect_left(binary.starts, cuts[-1] + (1 if code.bare else PIECE))
            if index == len(binary.starts) or binary.starts[index] >= end:
                break
            cuts.append(binary.starts[index])
        for low, high in pairwise([*cuts, end]):
            yield code.offset + low - code.address, high - low, low


def _sweep_file(piece: tuple[Path, Machine, int, int, int]) -> tuple[int, dict[str, list[int]]]:
    path, machine, offset, size, address = piece
    with path.open("rb") as file:
        file.seek(offset)
        return sweep(machine, file.read(size), address)


def sweep(machine: Machine, code: bytes, address: int) -> tuple[int, dict[str, list[int]]]:
    """Decode code that begins at an address: how many instructions, and where those with a trait are."""
    return (x86.sweep if machine == "x86-64" else arm64.sweep)(code, address)
