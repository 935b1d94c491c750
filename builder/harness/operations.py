"""Where two runs of a portable kernel part, from the lists of operations that they left and nothing else.

Under the profile `portable` an operation gives the same bits alone as among others, so the first entry in which two
lists differ is where the runs parted (docs/trace.md, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import IntegrityError, UsageError
from builder.harness.localise_model import Found, Operation
from builder.harness.trace import ARGUMENTS, FILE, Hashes, Judged, Judgement, Leaf, answers, read
from builder.harness.trace_merkle import parting, raised
from builder.hosts.exchange import RECEIPT
from builder.hosts.receipt import read as read_receipt
from builder.store.blobs import hash_file


@dataclass(frozen=True, slots=True)
class Parted:
    """The first entry of two lists that differs.

    Attributes:
        found: what kind of thing it is.
        index: its place in the lists, from 0; of entries that are not listed, the place of the first of them.
        among: how many entries it is one of: 1 where it is listed.
        a: of one list; None where that has ended, or does not list it.
        b: of the other.
        operation: what the program's text says about it; None where it is not listed.
        start: the path of the entry at `index`, if a list says so.
    """

    found: Found
    index: int
    among: int
    a: Leaf | None
    b: Leaf | None
    operation: Operation | None
    start: str | None

    def __str__(self) -> str:
        """What was found, for people."""
        if self.operation is None:
            return f"one of {self.among} operations from {self.start or f'entry {self.index}'} on"
        said = {Found.PROGRAM: "the programs differ", Found.ARGUMENT: "the program began with other values"}
        return f"{said.get(self.found, 'equal operands, other results')}: {self.operation}"


@dataclass(frozen=True, slots=True)
class Dispute:
    """Two runs' lists held against each other.

    Attributes:
        entries: how many entries each list has.
        parted: where they first part; None if they are equal.
        right: whether each of the two gave the referee's bits there; None if it was not asked.
    """

    entries: tuple[int, int]
    parted: Parted | None
    right: tuple[bool, bool] | None

    def lines(self) -> list[str]:
        """What was found, for people."""
        if self.parted is None:
            return [f"all {self.entries[0]:,} operations are equal"]
        said = [f"first of {max(self.entries):,} operations to differ, number {self.parted.index:,}: {self.parted}"]
        for name, leaf in (("a", self.parted.a), ("b", self.parted.b)):
            said += [f"  {name} {one}" for one in (leaf.outputs if leaf else ())]
        if self.right is not None:
            words = ("gave what the referee gives", "did not give what the referee gives")
            said += [f"  {name} {words[not right]}" for name, right in zip("ab", self.right, strict=True)]
        return said

    def document(self) -> dict[str, Any]:
        """As JSON data (docs/compare.md)."""
        parted, operation = self.parted, self.parted.operation if self.parted else None
        source = operation.source if operation else None
        return {
            "entries": list(self.entries),
            "parted": parted and {
                "found": parted.found.value,
                "index": parted.index,
                "among": parted.among,
                "path": parted.start,
                "primitive": operation and operation.primitive,
                "source": source and {"file": source.file, "line": source.line, "function": source.function},
                "a": list(parted.a.outputs) if parted.a else None,
                "b": list(parted.b.outputs) if parted.b else None,
            },
            "referee": self.right and dict(zip("ab", self.right, strict=True)),
        }  # fmt: skip


def dispute(a: Path, b: Path, referee: Path | None) -> Dispute | None:
    """Hold two runs' lists of operations against each other; None if not both left one.

    Args:
        a: one run's folder; or a file of outputs, which has no list.
        b: the other's.
        referee: the folder of a run that was asked for the referee's answer at the place where they part.

    Raises:
        IntegrityError: a list is not what its run's receipt says, or the answer is not.
        UsageError: the referee's answer is about something else, or there are no lists.
    """
    one, two = listed(a), listed(b)
    if one is None or two is None:
        if referee is not None:
            raise UsageError("not both runs listed their operations", hint="run them with kbuild run --operations")
        return None
    parted = first_parting(one, two)
    if referee is None:
        return Dispute((one.leaves, two.leaves), parted, None)
    if parted is None:
        raise UsageError("all operations are equal: there is nothing to judge")
    return Dispute((one.leaves, two.leaves), parted, rulings(parted, judged(referee)))


def listed(folder: Path) -> Hashes | None:
    """The list of operations that a run left in a folder, held to the run's receipt; None if it left none.

    Raises:
        IntegrityError: it is not the one that the receipt names, or there is no receipt.
    """
    if not (folder / FILE).is_file() or not (folder / RECEIPT).is_file():
        return None
    receipt = read_receipt(folder / RECEIPT)
    claimed = receipt.result.operations
    if claimed is None:
        return None
    found = read(folder, Hashes)
    wrong = (found.mode, found.leaves, found.root) != ("operations", claimed.leaves, claimed.root)
    if wrong or not answers(found, {}) or receipt.trace is None or receipt.trace.sha256 != hash_file(folder / FILE)[0]:
        raise IntegrityError("this list of operations is not the one that the receipt names", where=str(folder / FILE))
    return found


def first_parting(a: Hashes, b: Hashes) -> Parted | None:
    """The first entry in which two lists differ; None if they are equal.

    Args:
        a: one run's list, true to itself (`trace.read` refuses others).
        b: the other's.
    """
    level = max(a.level, b.level)
    chunks = [raised([bytes.fromhex(one) for one in each.chunks], level - each.level) for each in (a, b)]
    found = parting(*chunks)
    if found is None:
        return None
    first, stop = found.index << level, min((found.index + 1) << level, max(a.leaves, b.leaves))
    for index in range(first, stop):
        ours, theirs = _at(a, index), _at(b, index)
        if (ours is None and index < a.leaves) or (theirs is None and index < b.leaves):
            return Parted(Found.OPERATION, index, stop - index, None, None, None, _start(a, index) or _start(b, index))
        if ours != theirs:
            leaf, holder = (ours, a) if ours else (theirs, b)
            assert leaf is not None  # noqa: S101 - one of them goes on
            return Parted(
                _kind(ours, theirs), index, 1, ours, theirs, Operation.of_leaf(leaf, holder.place(leaf)), leaf.path
            )
    raise AssertionError("a chunk whose entries were checked against its hash has one that differs")


def _at(trace: Hashes, index: int) -> Leaf | None:
    place = index - trace.window.start
    return trace.window.leaves[place] if 0 <= place < len(trace.window.leaves) else None


def _start(trace: Hashes, index: int) -> str | None:
    place, rest = divmod(index, 1 << trace.level)
    return trace.starts[place] if not rest and place < len(trace.starts) else None


def _kind(a: Leaf | None, b: Leaf | None) -> Found:
    if a is None or b is None or a.program != b.program:
        return Found.PROGRAM
    return Found.ARGUMENT if a.primitive in ARGUMENTS else Found.OPERATION


def judged(folder: Path) -> Judgement:
    """The referee's answer that a run left in a folder.

    Raises:
        IntegrityError: it left none, or not the one that its receipt names.
    """
    receipt = read_receipt(folder / RECEIPT)
    found = read(folder, Judgement)
    if receipt.trace is None or receipt.trace.sha256 != hash_file(folder / FILE)[0]:
        raise IntegrityError("this is not the trace that the receipt names", where=str(folder / FILE))
    return found


def rulings(parted: Parted, answer: Judgement) -> tuple[bool, bool]:
    """Whether each of two runs gave what the referee gives at the entry where they part.

    Raises:
        UsageError: the referee was asked about another operation, or about other operands.
    """
    disputed = parted.a
    if disputed is None or parted.b is None or parted.found is not Found.OPERATION:
        raise UsageError("the lists part at no operation that a referee could judge")
    for one in answer.operations:
        if (one.program, one.inputs) == (disputed.program, disputed.inputs):
            return _right(parted.a, one), _right(parted.b, one)
    raise UsageError(f"the referee was not asked about {disputed.path} on these operands")


def _right(leaf: Leaf | None, answer: Judged) -> bool:
    return leaf is not None and leaf.outputs == answer.referee
