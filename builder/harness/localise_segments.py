"""The search among compiled segments, for what does not show while each operation is compiled alone.

A program is cut after k of its operations and the part before the cut compiled as one: its values are equal on both
hosts for k = 0 and differ for k = n, so somewhere they first part. There the segment is made shorter from its front,
as long as the rest, started from equal values, still parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from builder.harness.localise_ask import Pair
from builder.harness.localise_model import Operation
from builder.harness.trace import Equation, Frame, Loop, Segment

AT_ONCE = 7
"""Cuts that one run is asked for: each costs compiling, and a run costs its start."""

LONGEST_WHILE = 1 << 30
"""Passes of a while loop beyond which none is looked for."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Operations [start, stop) of a frame that part when they are compiled as one, from values that are equal.

    Attributes:
        frame: the path of the frame.
        start: index of the first.
        stop: index after the last.
        operations: those of them that the difference depends on.
        loop: whether it is a loop, or what is in it, that could not be looked into further.
    """

    frame: str
    start: int
    stop: int
    operations: tuple[Operation, ...]
    loop: bool = False


def first_cut(frame: str, pair: Pair, most: int | None = None) -> tuple[int, Sequence[Equation]] | None:
    """The first cut of a frame at which the hosts part, and the frame's equations; None if they don't.

    Args:
        frame: the frame's path.
        pair: both hosts.
        most: the last cut to look at; the frame's end if None.
    """
    start, other = pair.ask(Frame, mode="segments", frame=frame)
    if start.inputs != other.inputs or [one.path for one in start.equations] != [one.path for one in other.equations]:
        return None
    last = len(start.equations) if most is None else min(most, len(start.equations))

    def parts(cuts: Sequence[int]) -> list[bool]:
        a, b = pair.ask(Frame, mode="segments", frame=frame, cuts=list(cuts))
        return [one.values != two.values for one, two in zip(a.cuts, b.cuts, strict=True)]

    cut = _first(1, last, parts)
    return None if cut is None else (cut, start.equations)


def _first(low: int, high: int, parts: Callable[[Sequence[int]], list[bool]]) -> int | None:
    """The least number in [low, high] at which something holds that holds at `high`; None if it does not hold there.

    Where it comes and goes, a number at which it holds and before which it does not. Several are asked for at once.
    """
    if low > high:
        return None
    known = False
    while low < high or not known:
        width = high - low
        step = max(1, width // AT_ONCE)
        asked = sorted({*range(low, high, step), *([] if known else [high])})
        held = parts(asked)
        if not known and not held[-1]:
            return None
        known = True
        for number, holds in zip(asked, held, strict=True):
            if holds:
                high = number
                break
            low = number + 1
    return high


def search(frame: str, pair: Pair, most: int | None = None) -> Stretch | None:
    """Find the shortest stretch that parts, inside of loops where the hosts part there; None if nothing parts.

    Args:
        frame: the path of the frame to look into; empty for the whole program.
        pair: both hosts.
        most: the last cut to look at; the frame's end if None.
    """
    found = first_cut(frame, pair, most)
    if found is None:
        return None
    cut, equations = found
    last = equations[cut - 1]
    path = f"{frame}/{last.path}" if frame else last.path
    inner = {"scan": _in_loop, "while": _in_loop, "cond": _in_branch}.get(last.primitive)
    if inner is not None:
        alone = Stretch(frame, cut - 1, cut, (Operation.of_equation(last, frame),), loop=True)
        return inner(path, pair) or alone
    return _shortest(frame, cut, equations, pair)


def _in_loop(path: str, pair: Pair) -> Stretch | None:
    def parts(passes: Sequence[int]) -> list[bool]:
        a, b = pair.ask(Loop, mode="segments", frame=path, iterations=list(passes))
        return [
            (one.made, one.values) != (two.made, two.values)
            for one, two in zip(a.loop.iterations, b.loop.iterations, strict=True)
        ]

    probe, _ = pair.ask(Loop, mode="segments", frame=path)
    length = probe.loop.length
    if length is None:
        ends = pair.ask(Loop, mode="segments", frame=path, iterations=[LONGEST_WHILE])
        length = max(end.loop.iterations[0].made for end in ends)
    count = _first(1, length, parts)
    if count is None:
        return None
    inside = search(f"{path}/i{count - 1}", pair)
    if inside is None and probe.loop.primitive == "while":
        inside = search(f"{path}/c{count - 1}", pair)
    return inside


def _in_branch(path: str, pair: Pair) -> Stretch | None:
    return search(f"{path}/b", pair)


def _shortest(frame: str, stop: int, equations: Sequence[Equation], pair: Pair) -> Stretch:
    """Make a prefix that parts shorter from its front."""
    low, high = 0, stop - 1  # the start that is sought is in [low, high]; the prefix itself starts at 0
    parting: Segment | None = None
    while low <= high:
        # Nearest to the end first: what fuses stands close together.
        asked = sorted({low, *(max(low, high - (1 << step) + 1) for step in range(AT_ONCE))})
        a, b = pair.ask(Frame, mode="segments", frame=frame, segments=[[start, stop] for start in asked])
        held = [
            one for one, two in zip(a.segments, b.segments, strict=True)
            if one.inputs == two.inputs and one.outputs != two.outputs
        ]  # fmt: skip
        if not held:
            break
        parting = held[-1]
        beyond = [start for start in asked if start > parting.segment[0]]
        low, high = parting.segment[0] + 1, (min(beyond) - 1 if beyond else high)
    start = parting.segment[0] if parting else 0
    a, b = pair.ask(Frame, mode="segments", frame=frame, segments=[[start, stop]])
    others = dict(b.segments[0].outputs)
    wrong = [name for name, digest in a.segments[0].outputs if others.get(name) != digest]
    return Stretch(frame, start, stop, _involved(frame, equations[start:stop], wrong))


def _involved(frame: str, equations: Sequence[Equation], wrong: Sequence[str]) -> tuple[Operation, ...]:
    """Those equations that values named in `wrong` depend on, within the stretch."""
    wanted, kept = set(wrong), []
    for equation in reversed(equations):
        if any(name.startswith(f"{equation.path}:") for name in wanted) or not wrong:
            wanted.update(equation.takes)
            kept.append(Operation.of_equation(equation, frame))
    return tuple(reversed(kept))
