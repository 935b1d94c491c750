"""Which influences a verification put to the test, and whether bits moved: the influence table of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.determinism.held import Holding, How
from builder.determinism.influences import CORES, HOSTILE, MODELS
from builder.harness.report_model import Effect, Influence
from builder.harness.verdict import HostRun, Verdict, Verification


def varied(found: Verification, holdings: Sequence[Holding]) -> tuple[Influence, ...]:
    """The influence table of an image, with what this verification varied of it.

    That bits moved on a host that varies an influence does not make it the cause: a CPU model varies many at once.

    Args:
        found: the verification.
        holdings: how the image holds each influence, on each of its platforms; the first of a name is shown.
    """
    compared = [run for run in found.runs if run.verdict in {Verdict.EQUAL, Verdict.DIFFERS}]
    rows: dict[str, Influence] = {}
    for item in holdings:
        if item.influence.name in rows:
            continue
        tests = [
            run
            for run in compared
            if run.platform in item.influence.platforms and item.influence.varied in _dimensions(run)
        ]
        effect = Effect.NOT_VARIED
        if tests:
            effect = Effect.MOVED if any(run.verdict is Verdict.DIFFERS for run in tests) else Effect.HELD
        hosts = tuple(dict.fromkeys(run.host for run in tests))
        name = item.influence.name
        rows[name] = Influence(name, item.influence.acts, _pinned(item), hosts, effect)
    return tuple(rows.values())


def _dimensions(run: HostRun) -> Iterator[str]:
    """What a run's host varies, in the table's words."""
    under = run.conditions
    if under.cpu is not None or run.kind == "qemu":
        yield MODELS
    if under.cores is not None:
        yield CORES
    if under.environment or under.starter or under.shift or not under.randomised:
        yield HOSTILE


def _pinned(item: Holding) -> str | None:
    values = ", ".join(f"{name}={value}" for name, value in item.values.items())
    match item.how:
        case How.OPEN | How.UNPINNED:
            return None
        case How.OVERRIDDEN:
            return f"overridden: {values}"
        case _:
            return values or item.influence.held
