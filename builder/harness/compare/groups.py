"""Which runs gave which bits: runs that are held to each other, grouped per case and output by its canonical hash."""

from __future__ import annotations

from collections.abc import Sequence

from builder.harness.peers import STRANGERS, Peers, among
from builder.harness.verdict import Group, HostRun, Member
from builder.platforms import Platform


def groups(runs: Sequence[HostRun], peers: Peers = STRANGERS) -> tuple[Group, ...]:
    """Group runs by what they gave.

    Only runs that delivered are in any group. Runs of two platforms share one only where these are held to each other.

    Args:
        runs: in the order of cases, then hosts, then repeats. The reference of a platform and case is the first that
            delivered.
        peers: which platforms are held to each other.

    Returns:
        In the order of platforms, cases, outputs' names; within these the reference's group first, the others by
        their first member's place.
    """
    delivered = [run for run in runs if run.verdict.delivered]
    cases = {run.case: place for place, run in reversed(list(enumerate(runs)))}
    found: dict[tuple[tuple[Platform, ...], str, str], dict[str, list[HostRun]]] = {}
    for run in delivered:
        for output, facts in run.outputs.items():
            key = (among(peers, run.platform), run.case, output)
            found.setdefault(key, {}).setdefault(str(facts["sha256"]), []).append(run)
    references: dict[tuple[tuple[Platform, ...], str], HostRun] = {}
    for run in delivered:
        references.setdefault((among(peers, run.platform), run.case), run)
    ordered = sorted(found, key=lambda key: (key[0], cases[key[1]], key[2]))
    return tuple(
        Group(
            platforms, case, output, sha256,
            tuple(Member(run.host, run.repeat) for run in members),
            references[platforms, case] in members,
        )
        for platforms, case, output in ordered
        for sha256, members in sorted(
            found[platforms, case, output].items(), key=lambda item: references[platforms, case] not in item[1]
        )
    )  # fmt: skip


def parted(found: Sequence[Group]) -> tuple[Group, ...]:
    """The groups that are not the reference's: what is to be diffed against it."""
    return tuple(group for group in found if not group.reference)
