"""From how runs ended to what they say about each other. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from builder.harness.evidence import SAME, SAME_IMAGE, at_odds, numerics
from builder.harness.peers import STRANGERS, Peers, among
from builder.harness.verdict import HostRun, Verdict


def judge(runs: Sequence[HostRun], peers: Peers = STRANGERS) -> tuple[HostRun, ...]:
    """Give every run that delivered its verdict.

    The reference of a platform and case is the first run that delivered; platforms that are held to each other have one
    in common. A run that did something else than the reference (other inputs, another program) has failed, whatever its
    outputs. Where only one host delivered, there is nothing to compare, however often it ran; runs of it that part
    still differ.

    Args:
        runs: in the order of cases, then hosts, then repeats; those that delivered are `ALONE`.
        peers: which platforms are held to each other.

    Returns:
        The runs in the same order.
    """
    held = _held(runs, peers)
    return tuple(_judged(run, held, peers) for run in held)


def _held(runs: Sequence[HostRun], peers: Peers) -> list[HostRun]:
    """The runs, those that did something else than they should have as failures."""
    found: list[HostRun] = []
    for run in runs:
        before = [other for other in found if other.case == run.case and other.verdict.delivered]
        alike = [other for other in before if other.platform == run.platform]
        near = [other for other in before if other.platform in among(peers, run.platform)]
        odd = _odd(run, before[:1], SAME) or _odd(run, alike[:1], SAME_IMAGE) or _other_numbers(run, near[:1])
        found.append(dataclasses.replace(run, verdict=Verdict.FAILED, error=odd) if odd else run)
    return found


def _odd(run: HostRun, reference: Sequence[HostRun], names: tuple[str, ...]) -> str | None:
    if not run.verdict.delivered or not reference or run.receipt is None or reference[0].receipt is None:
        return None
    return at_odds(run.receipt, reference[0].receipt, names)


def _other_numbers(run: HostRun, reference: Sequence[HostRun]) -> str | None:
    if not run.verdict.delivered or not reference or run.receipt is None or reference[0].receipt is None:
        return None
    same = numerics(run.receipt) == numerics(reference[0].receipt)
    return None if same else "its receipt is of other numerics than the reference's"


def _judged(run: HostRun, runs: Sequence[HostRun], peers: Peers) -> HostRun:
    if not run.verdict.delivered:
        return run
    near = among(peers, run.platform)
    fellows = [other for other in runs if other.case == run.case and other.verdict.delivered and other.platform in near]
    if outputs(run) != outputs(fellows[0]):
        verdict = Verdict.DIFFERS
    elif len({other.host for other in fellows}) > 1:
        verdict = Verdict.EQUAL
    else:
        verdict = Verdict.ALONE
    return dataclasses.replace(run, verdict=verdict)


def outputs(run: HostRun) -> str | None:
    """The hash over all of a run's outputs, which was checked against the files."""
    return str(run.receipt["result"]["outputs"]["sha256"]) if run.receipt and run.verdict.delivered else None
