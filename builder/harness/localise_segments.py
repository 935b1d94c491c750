"""The search among compiled segments, for what does not show while each operation is compiled alone.

A program is cut after k of its operations and the part before the cut compiled as one: its values are equal on both
hosts for k = 0 and differ for k = n, so somewhere they first part. There the segment is made shorter from its front,
as long as the rest, started from equal values, still parts. Where time runs out, what is known by then is the finding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from builder.errors import TimedOut
from builder.harness.localise_ask import Pair
from builder.harness.localise_model import Operation
from builder.harness.trace import Equation, Frame, Loop, Segment

AT_ONCE = 7
"""Cuts that one run is asked for: each costs compiling, and a run costs its start."""

NEAR = 4
"""Segments that one run is asked for: each costs compiling twice, and what fuses stands close together."""

LONGEST_WHILE = 1 << 30
"""Passes of a while loop beyond which none is looked for."""

Grid = Callable[[int, int], Sequence[int]]
"""Numbers to ask about in [low, high], one below `high` at least where there is one."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Operations [start, stop) of a frame that part when they are compiled as one, from values that are equal.

    Attributes:
        frame: the path of the frame.
        start: index of the first.
        stop: index after the last.
        operations: those of them that the difference depends on.
        loop: whether it is a loop, or what is in it, that could not be looked into further.
        late: whether time ran out before it was as short as it can be.
        end: the end of the whole program, if what that comes to is asked for together with the stretch's values.
    """

    frame: str
    start: int
    stop: int
    operations: tuple[Operation, ...]
    loop: bool = False
    late: bool = False
    end: int | None = None

    def request(self) -> dict[str, Any]:
        """The question for the values that it takes and gives."""
        cuts = {} if self.end is None else {"cuts": [self.end]}
        return {"mode": "segments", "frame": self.frame, "segments": [[self.start, self.stop]], "values": True, **cuts}


@dataclass(frozen=True, slots=True)
class _Cut:
    """The first cut of a frame at which the hosts part, or one after it where time ran out."""

    number: int
    equations: tuple[Equation, ...]
    late: bool


def _first_cut(frame: str, pair: Pair, most: int | None) -> _Cut | None:
    """The first cut at which the hosts part, up to the cut `most` or the frame's end; None if they don't."""
    sizes = pair.outline.frames.get(frame)
    if sizes is None:
        sizes = (1,) * len(pair.ask(Frame, mode="segments", frame=frame)[0].equations)
    equations: tuple[Equation, ...] = ()

    def parts(cuts: Sequence[int]) -> list[bool]:
        nonlocal equations
        a, b = pair.ask(Frame, mode="segments", frame=frame, cuts=list(cuts))
        if a.inputs != b.inputs or [one.path for one in a.equations] != [one.path for one in b.equations]:
            return [False] * len(cuts)
        equations = a.equations
        if not frame and cuts[-1] == len(equations):
            pair.ends = (a, b)
        return [one.values != two.values for one, two in zip(a.cuts, b.cuts, strict=True)]

    last = len(sizes) if most is None else min(most, len(sizes))
    # What comes before the first loop costs little to ask for, and most hosts that part do so early.
    ahead = next((index for index, size in enumerate(sizes[:last]) if size > 1), 0)
    found = _first(1, ahead, parts, weighed(sizes)) or _first(ahead + 1, last, parts, weighed(sizes))
    return None if found is None else _Cut(found[0], equations, found[1])


def weighed(sizes: Sequence[int]) -> Grid:
    """Cuts that divide a frame's work evenly; of what is more than one operation, before and after it."""
    before = list(accumulate(sizes, initial=0))

    def grid(low: int, high: int) -> list[int]:
        whole = before[high] - before[low - 1]
        cuts = {bisect_left(before, before[low - 1] + whole * part / (AT_ONCE + 1)) for part in range(1, AT_ONCE + 1)}
        cuts |= {cut - 1 for cut in cuts if sizes[cut - 1] > 1}
        return [cut for cut in sorted(cuts) if low <= cut < high] or [low]

    return grid


def doubling(low: int, high: int) -> list[int]:
    """Numbers at growing distances: what comes late costs more to ask for."""
    return sorted({min(low - 1 + (1 << step), high) for step in range(AT_ONCE)})


def _first(low: int, high: int, parts: Callable[[Sequence[int]], list[bool]], grid: Grid) -> tuple[int, bool] | None:
    """The least number in [low, high] at which something holds that holds at `high`; None if it does not hold there.

    Where it comes and goes, a number at which it holds and before which it does not. Several are asked for at once.
    With it whether time ran out before the least was found.
    """
    if low > high:
        return None
    known = False
    while low < high or not known:
        asked = sorted({*(grid(low, high) if low < high else ()), *([] if known else [high])})
        try:
            held = parts(asked)
        except TimedOut:
            if not known:
                raise
            return high, True
        if not known and not held[-1]:
            return None
        known = True
        for number, holds in zip(asked, held, strict=True):
            if holds:
                high = number
                break
            low = number + 1
    return high, False


def search(frame: str, pair: Pair, most: int | None = None) -> Stretch | None:
    """Find the shortest stretch that parts, inside of loops where the hosts part there; None if nothing parts.

    Args:
        frame: the path of the frame to look into; empty for the whole program.
        pair: both hosts.
        most: the last cut to look at; the frame's end if None.

    Raises:
        TimedOut: no time was left to find any.
    """
    cut = _first_cut(frame, pair, most)
    if cut is None:
        return None
    if cut.late:
        return Stretch(frame, 0, cut.number, _all(frame, cut), late=True)
    last = cut.equations[cut.number - 1]
    path = f"{frame}/{last.path}" if frame else last.path
    alone = Stretch(frame, cut.number - 1, cut.number, (Operation.of_equation(last, frame),), loop=True)
    try:
        match last.primitive:
            case "scan" | "while":
                return _in_loop(path, last.primitive, pair) or alone
            case "cond":
                return search(f"{path}/b", pair) or alone
    except TimedOut:
        return Stretch(frame, alone.start, alone.stop, alone.operations, loop=True, late=True)
    return _shortest(frame, cut, pair)


def _in_loop(path: str, primitive: str, pair: Pair) -> Stretch | None:
    def parts(passes: Sequence[int]) -> list[bool]:
        a, b = pair.ask(Loop, mode="segments", frame=path, iterations=list(passes))
        return [
            (one.made, one.values) != (two.made, two.values)
            for one, two in zip(a.loop.iterations, b.loop.iterations, strict=True)
        ]

    length = _passes(path, primitive, pair)
    if length == 0:
        return None
    count: int | None = 1
    if not parts([1])[0]:  # what every pass does parts in the first, and later passes cost more
        found = _first(2, length, parts, doubling)
        count = found and found[0]
    if count is None:
        return None
    inside = search(f"{path}/i{count - 1}", pair)
    if inside is None and primitive == "while":
        inside = search(f"{path}/c{count - 1}", pair)
    return inside


def _passes(path: str, primitive: str, pair: Pair) -> int:
    """How many passes a loop makes; of a while loop, compiled as one."""
    if primitive == "scan" and path in pair.outline.passes:
        return pair.outline.passes[path]
    ends = pair.ask(Loop, mode="segments", frame=path, iterations=[LONGEST_WHILE] if primitive == "while" else [])
    return max(end.loop.length if end.loop.length is not None else end.loop.iterations[0].made for end in ends)


def _shortest(frame: str, cut: _Cut, pair: Pair) -> Stretch:
    """Make a prefix that parts shorter from its front."""
    stop, late = cut.number, False
    start, low, high, step = 0, 1, stop - 1, 1  # a better start is sought in [low, high]; the prefix starts at 0
    while low <= high:
        asked = sorted({max(low, high + 1 - (step << count)) for count in range(NEAR)})
        try:
            a, b = pair.ask(Frame, mode="segments", frame=frame, segments=[[one, stop] for one in asked])
        except TimedOut:
            late = True
            break
        held = [one.segment[0] for one, two in zip(a.segments, b.segments, strict=True) if _parts(one, two)]
        if held:
            start = held[-1]
            beyond = [one for one in asked if one > start]
            low, high, step = start + 1, (min(beyond) - 1 if beyond else high), 1
        else:
            high, step = asked[0] - 1, step << NEAR
    end = len(cut.equations) if not frame and pair.ends is None else None
    found = Stretch(frame, start, stop, _all(frame, cut)[start:], late=late, end=end)
    try:
        a, b = pair.ask(Frame, **found.request())
    except TimedOut:
        return replace(found, late=True)
    if end is not None:
        pair.ends = (a, b)
    others = dict(b.segments[0].outputs)
    wrong = [name for name, digest in a.segments[0].outputs if others.get(name) != digest]
    return replace(found, operations=_involved(frame, cut.equations[start:stop], wrong))


def _parts(a: Segment, b: Segment) -> bool:
    return a.inputs == b.inputs and a.outputs != b.outputs


def _all(frame: str, cut: _Cut) -> tuple[Operation, ...]:
    return tuple(Operation.of_equation(one, frame) for one in cut.equations[: cut.number])


def _involved(frame: str, equations: Sequence[Equation], wrong: Sequence[str]) -> tuple[Operation, ...]:
    """Those equations that values named in `wrong` depend on, within the stretch."""
    wanted, kept = set(wrong), []
    for equation in reversed(equations):
        if any(name.startswith(f"{equation.path}:") for name in wanted) or not wrong:
            wanted.update(equation.takes)
            kept.append(Operation.of_equation(equation, frame))
    return tuple(reversed(kept))
