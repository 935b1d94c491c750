"""From how runs ended to what they say about each other. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from builder.harness.evidence import SAME, SAME_IMAGE, at_odds
from builder.harness.verdict import HostRun, Verdict


def judge(runs: Sequence[HostRun]) -> tuple[HostRun, ...]:
    """Give every run that delivered its verdict.

    The reference of a platform and case is the first run that delivered; under the profile `portable`, which promises
    the same bits everywhere, all platforms of a case have one. A run that did something else than the
    reference (other inputs, another program) has failed, whatever its outputs. Where only one host of a platform
    delivered, there is nothing to compare, however often it ran; runs of it that part still differ.

    Args:
        runs: in the order of cases, then hosts, then repeats; those that delivered are `ALONE`.

    Returns:
        The runs in the same order.
    """
    held = _held(runs)
    return tuple(_judged(run, held) for run in held)


def _held(runs: Sequence[HostRun]) -> list[HostRun]:
    """The runs, those that did something else than they should have as failures."""
    found: list[HostRun] = []
    for run in runs:
        before = [other for other in found if other.case == run.case and other.verdict.delivered]
        alike = [other for other in before if other.platform == run.platform]
        odd = _odd(run, before[:1], SAME) or _odd(run, alike[:1], SAME_IMAGE)
        found.append(dataclasses.replace(run, verdict=Verdict.FAILED, error=odd) if odd else run)
    return found


def _odd(run: HostRun, reference: Sequence[HostRun], names: tuple[str, ...]) -> str | None:
    if not run.verdict.delivered or not reference or run.receipt is None or reference[0].receipt is None:
        return None
    return at_odds(run.receipt, reference[0].receipt, names)


def _judged(run: HostRun, runs: Sequence[HostRun]) -> HostRun:
    if not run.verdict.delivered:
        return run
    peers = [other for other in runs if other.case == run.case and other.verdict.delivered and _comparable(run, other)]
    if outputs(run) != outputs(peers[0]):
        verdict = Verdict.DIFFERS
    elif len({other.host for other in peers}) > 1:
        verdict = Verdict.EQUAL
    else:
        verdict = Verdict.ALONE
    return dataclasses.replace(run, verdict=verdict)


def _comparable(run: HostRun, other: HostRun) -> bool:
    return run.platform == other.platform or (_portable(run) and _portable(other))


def _portable(run: HostRun) -> bool:
    return run.receipt is not None and bool(run.receipt["result"]["profile"].get("name") == "portable")


def outputs(run: HostRun) -> str | None:
    """The hash over all of a run's outputs, which was checked against the files."""
    return str(run.receipt["result"]["outputs"]["sha256"]) if run.receipt and run.verdict.delivered else None
