"""The first operation at which two runs of one image part (docs/trace.md).

Both hosts run again, traced: each operation compiled alone, every value hashed. The two Merkle trees lead to the first
leaf that differs. Compiling alone changes fusion, though, and may hide what happened or come to it too late: what was
found is held against compiled segments, and what does not show otherwise is searched for there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from builder.errors import IntegrityError, KbuildError, TimedOut
from builder.harness.compare.model import TensorDiff
from builder.harness.localise_ask import Pair, Tracer
from builder.harness.localise_causes import PROGRAM, Suspect, argued, suspects
from builder.harness.localise_model import Found, Localisation, Operation
from builder.harness.localise_outline import outline, split
from builder.harness.localise_segments import Stretch, search
from builder.harness.trace import ARGUMENTS, WINDOW, Frame, Hashes, Leaf
from builder.harness.trace_merkle import parting, raised
from builder.progress import Silent, Step

Outputs = Mapping[str, str]
"""Each output's canonical hash by name."""

_LATE = "time ran out before the search was done: what is named parted, but something shorter in it may be the cause"

_HASHES = 0.5
"""Of all time, what one operation after the other may take: where that is too slow, segments need the rest."""


def localise(
    plain_a: Outputs,
    plain_b: Outputs,
    ask_a: Tracer,
    ask_b: Tracer,
    *,
    seconds: float = math.inf,
    step: Step | None = None,
) -> Localisation:
    """Find the first operation at which two runs part.

    Args:
        plain_a: what one host gave in the run that is to be explained: each output's hash.
        plain_b: what the other gave.
        ask_a: runs the same image on the same inputs on the first host, traced.
        ask_b: likewise on the second.
        seconds: that the search may take; what is known by then is the finding.
        step: advances with each question that is put to both hosts.

    Raises:
        KbuildError: a host gave no result, and there is nothing to go on with.
        IntegrityError: what it gave is not what it was asked for.
    """
    pair = Pair(ask_a, ask_b, time.monotonic() + seconds, step or Silent().step(""))
    nothing = Localisation(ask_a.name, ask_b.name, Found.NOTHING)
    notes: list[str] = []
    try:
        traces = pair.ask(Hashes, mode="hashes", share=_HASHES)
    except IntegrityError:
        raise
    except KbuildError as error:
        # A loop of very many passes takes too long one operation at a time, but not compiled.
        notes.append(f"tracing each operation alone failed: {error.message}")
        found = _by_segments(pair, nothing, "", None)
    else:
        notes += _steadiness(pair, (plain_a, plain_b))
        pair.outline = outline(traces[0])
        found = _by_operations(pair, nothing, traces)
        notes += _agreement(traces, pair)
    if found.first and found.first.callers:
        notes.append(f"{found.first.source} is called from {', from '.join(map(str, found.first.callers))}")
    return replace(found, runs=pair.runs, notes=(*notes, *found.notes))


def _steadiness(pair: Pair, plain: tuple[Outputs, Outputs]) -> list[str]:
    """Whether each host gave again what it gave before."""
    notes = []
    for tracer, receipt, before in zip((pair.a, pair.b), pair.receipts, plain, strict=True):
        if _outputs(receipt) != dict(before):
            notes.append(f"{tracer.name} gave other outputs this time than in the run that is to be explained")
    if _outputs(pair.receipts[0]) == _outputs(pair.receipts[1]):
        notes.append("this time both gave the same outputs")
    return notes


def _agreement(traces: tuple[Hashes, Hashes], pair: Pair) -> list[str]:
    """Whether operation by operation each host comes to what it came to in one program."""
    notes = []
    for tracer, trace, receipt in zip((pair.a, pair.b), traces, pair.receipts, strict=True):
        if {name: one.sha256 for name, one in trace.outputs.items()} != _outputs(receipt):
            notes.append(f"on {tracer.name} operations compiled alone come to other bits than compiled together")
    return notes


def _outputs(receipt: Mapping[str, object]) -> dict[str, str]:
    result = receipt["result"]
    assert isinstance(result, Mapping)  # noqa: S101 - hosts check a receipt's form
    return {name: one["sha256"] for name, one in result["outputs"]["tensors"].items()}


@dataclass(frozen=True, slots=True)
class _Parted:
    """The first leaf of each trace that is not as the other's; None where a trace has ended."""

    index: int
    compared: int
    leaves: tuple[Leaf | None, Leaf | None]
    traces: tuple[Hashes, Hashes]


def _parted(pair: Pair, traces: tuple[Hashes, Hashes]) -> _Parted | None:
    """Descend the trees to a chunk, then list the leaves of that chunk, window by window, until they part."""
    a, b = traces
    level = max(a.level, b.level)
    nodes = [raised([bytes.fromhex(one) for one in trace.chunks], level - trace.level) for trace in traces]
    found = parting(*nodes)
    if found is None:
        return None
    index, stop = found.index << level, min((found.index + 1) << level, max(a.leaves, b.leaves))
    compared = found.compared
    while index < stop:
        if not all(_lists(trace, index) for trace in traces):
            a, b = traces = pair.ask(Hashes, mode="hashes", window=[index, index + WINDOW])
        ours, theirs = (trace.window.leaves[index - trace.window.start :][: stop - index] for trace in traces)
        for offset in range(max(len(ours), len(theirs))):
            one = ours[offset] if offset < len(ours) else None
            two = theirs[offset] if offset < len(theirs) else None
            compared += 1
            if one != two:
                return _Parted(index + offset, compared, (one, two), traces)
        index += max(len(ours), len(theirs))
    raise AssertionError("a chunk whose leaves were checked against its hash has one that differs")


def _lists(trace: Hashes, index: int) -> bool:
    first = trace.window.start
    return first <= index < first + len(trace.window.leaves) or index >= trace.leaves


def _by_operations(pair: Pair, base: Localisation, traces: tuple[Hashes, Hashes]) -> Localisation:
    base = replace(base, leaves=max(trace.leaves for trace in traces))
    parted = _parted(pair, traces)
    if parted is None:
        base = replace(base, notes=("each operation compiled alone gives the same bits on both",))
        return _by_segments(pair, base, "", None)
    base = replace(base, compared=parted.compared)
    one, two = parted.leaves
    if one is None or two is None or one.program != two.program:
        operations = tuple(
            Operation.of_leaf(leaf, trace.place(leaf))
            for leaf, trace in zip(parted.leaves, parted.traces, strict=True)
            if leaf
        )
        return replace(base, found=Found.PROGRAM, operations=operations, suspects=(Suspect(*PROGRAM),))
    if one.primitive in ARGUMENTS:
        return _arguments(pair, base, parted)
    return _operation(pair, base, parted, one, two)


def _arguments(pair: Pair, base: Localisation, parted: _Parted) -> Localisation:
    """Values that the program began with, all that differ: they explain whatever comes after."""
    a, b = parted.traces
    differing = [
        one
        for one, two in zip(a.window.leaves, b.window.leaves, strict=False)
        if one.program == two.program and one.primitive in ARGUMENTS and one.outputs != two.outputs
    ]
    diffs = pair.values(mode="values", equations=[leaf.path for leaf in differing[:64]])
    return replace(
        base,
        found=Found.ARGUMENT,
        operations=tuple(Operation.of_leaf(leaf, a.place(leaf)) for leaf in differing),
        outputs=diffs,
        suspects=argued((leaf.primitive for leaf in differing), pair.receipts),
    )


def _operation(pair: Pair, base: Localisation, parted: _Parted, one: Leaf, two: Leaf) -> Localisation:
    receipts, alone = pair.receipts, Operation.of_leaf(one, parted.traces[0].place(one))
    notes: tuple[str, ...] = ()
    inputs: tuple[TensorDiff, ...] = ()
    outputs: tuple[TensorDiff, ...] = ()
    try:
        confirmed, instead = (True, None) if _traced_is_plain(pair, parted.traces) else _confirmed(pair, parted, one)
        if isinstance(instead, Stretch):
            found = _of_stretch(pair, base, instead)
            return replace(found, notes=(*found.notes, f"compiled alone, the first operation that differs is {alone}"))
        if instead is not None:
            inputs, outputs = _split(pair.values(**instead), "in:")
        if all(diff.equal for diff in outputs):
            inputs, outputs = _split(pair.values(mode="values", equations=[one.path]), f"{one.path}:in")
    except TimedOut:
        confirmed, notes = None, (_LATE,)
    return replace(
        base,
        found=Found.OPERATION,
        operations=(alone,),
        inputs_equal=one.inputs == two.inputs,
        inputs=inputs,
        outputs=outputs,
        suspects=suspects([one.primitive], outputs, receipts),
        confirmed=confirmed,
        notes=(*base.notes, *notes),
    )


def _traced_is_plain(pair: Pair, traces: tuple[Hashes, Hashes]) -> bool:
    """Whether what parts alone parts in the plain run: a portable kernel's operations give the same bits in both.

    A host that comes to other outputs in its trace does not compute by the specification, and is asked for segments.
    """
    return not _agreement(traces, pair) and all(
        receipt["result"].get("profile", {}).get("name") == "portable" for receipt in pair.receipts
    )


def _split(diffs: tuple[TensorDiff, ...], start: str) -> tuple[tuple[TensorDiff, ...], tuple[TensorDiff, ...]]:
    return (
        tuple(one for one in diffs if one.name.startswith(start)),
        tuple(one for one in diffs if not one.name.startswith(start)),
    )


def _confirmed(pair: Pair, parted: _Parted, leaf: Leaf) -> tuple[bool | None, Stretch | dict[str, Any] | None]:
    """Whether an operation is the first to part compiled together, too; if not, the stretch that is.

    With yes comes the question that said so, which asked for what the operation takes and gives as well: a run costs
    far more than one more operation.
    """
    frame, inside = split(leaf.path)
    paths = [split(other.path) for other in parted.traces[0].window.leaves if other.primitive not in ARGUMENTS]
    before = [path for within, path in paths if within == frame]
    if parted.traces[0].window.start > 0 or inside not in before:
        return None, None
    cut = before.index(inside)
    question: dict[str, Any] = {
        "mode": "segments", "frame": frame, "cuts": [cut, cut + 1], "segments": [[cut, cut + 1]], "values": True,
    }  # fmt: skip
    try:
        a, b = pair.ask(Frame, **question)
    except (IntegrityError, TimedOut):
        raise
    except KbuildError:
        return None, None
    equal = [one == two for one, two in zip(a.cuts, b.cuts, strict=True)]
    if a.inputs != b.inputs or equal == [True, True]:
        # It came into this loop's body from outside, or this operation parts only where it stands alone.
        return False, search("", pair)
    if equal[0]:
        return True, question
    return False, search(frame, pair, cut)


def _by_segments(pair: Pair, base: Localisation, frame: str, most: int | None) -> Localisation:
    try:
        found = search(frame, pair, most)
    except TimedOut:
        return replace(base, notes=(*base.notes, "time ran out before compiled segments showed where the hosts part"))
    if found is None:
        return replace(base, notes=(*base.notes, "compiled in segments, everything is equal on both hosts"))
    return _of_stretch(pair, base, found)


def _of_stretch(pair: Pair, base: Localisation, found: Stretch) -> Localisation:
    receipts, notes = pair.receipts, [_LATE] if found.late else []
    inputs: tuple[TensorDiff, ...] = ()
    outputs: tuple[TensorDiff, ...] = ()
    equal: bool | None = None
    try:
        diffs = pair.values(**found.request())
        inputs, outputs = _split(diffs, "in:")
        equal = all(one.equal for one in inputs)
        notes += _whole(pair)
    except TimedOut:
        notes = [_LATE]
    fusion = found.loop or len(found.operations) > 1
    if found.loop and not found.late:
        notes.append("what is inside the loop or the branch agrees where that is compiled by itself")
    return replace(
        base,
        found=Found.SEGMENT if fusion else Found.OPERATION,
        operations=found.operations,
        inputs_equal=equal,
        inputs=inputs,
        outputs=outputs,
        suspects=suspects((one.primitive for one in found.operations), outputs, receipts, fused=fusion),
        fusion=fusion,
        confirmed=True,
        notes=(*base.notes, *notes),
    )


def _whole(pair: Pair) -> list[str]:
    """Whether the program as segments see it comes to what the plain run came to: cutting may itself change fusion."""
    if pair.ends is None:
        sizes = pair.outline.frames.get("")
        count = len(sizes) if sizes else len(pair.ask(Frame, mode="segments", frame="")[0].equations)
        pair.ends = pair.ask(Frame, mode="segments", frame="", cuts=[count])
    return [
        f"on {tracer.name} the program, compiled for segments, gives other bits than the plain run"
        for tracer, answer, receipt in zip((pair.a, pair.b), pair.ends, pair.receipts, strict=True)
        if {name: one.sha256 for name, one in answer.outputs.items()} != _outputs(receipt)
    ]
