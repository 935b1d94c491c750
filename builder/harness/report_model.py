"""What a verification has to say for itself, as plain data: every rendering shows this and nothing else.

Nothing here reads a file or knows the time: the same report gives the same bytes in every rendering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from builder.harness.compare.model import TensorDiff
from builder.harness.localise_model import Localisation
from builder.harness.verdict import Group, HostRun, Member, Verdict, Verification
from builder.platforms import Platform


@dataclass(frozen=True, slots=True)
class Difference:
    """How one group's tensor differs from the reference's; `a` is the reference's run, `b` the group's first."""

    platforms: tuple[Platform, ...]
    case: str
    a: Member
    b: Member
    tensor: TensorDiff


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of the model's source; `marked` is where the operation stands."""

    number: int
    text: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Located:
    """Where two runs first parted; `a` is the reference's run, `source` some lines around the operation's."""

    platforms: tuple[Platform, ...]
    case: str
    a: Member
    b: Member
    found: Localisation
    source: tuple[SourceLine, ...] = ()


def excerpt(text: str, line: int, *, around: int = 3) -> tuple[SourceLine, ...]:
    """The lines of a source text around one that is counted from 1; none if there is no such line."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ()
    first, last = max(1, line - around), min(len(lines), line + around)
    return tuple(SourceLine(number, lines[number - 1], number == line) for number in range(first, last + 1))


class Effect(StrEnum):
    """What varying an influence did."""

    HELD = "held"
    """It was varied, and no bit moved."""
    MOVED = "moved"
    """It was varied, and bits moved."""
    NOT_VARIED = "not varied"


@dataclass(frozen=True, slots=True)
class Influence:
    """A factor that can move a bit, for this spec and this verification.

    Attributes:
        name: in the influence table.
        acts: where it acts, in a few words.
        pinned: how the image pins it; None if it does not.
        varied: the hosts that put it to the test, and with what.
        effect: what that did.
    """

    name: str
    acts: str
    pinned: str | None
    varied: tuple[str, ...] = ()
    effect: Effect = Effect.NOT_VARIED


@dataclass(frozen=True, slots=True)
class Report:
    """A verification, and what was found out about its differences.

    Attributes:
        verification: the runs, their verdicts and groups.
        differences: one for every group that is not the reference's, in the order of the groups.
        localisations: in the same order; none if nobody looked.
        influences: in the table's order; none if nobody asked.
        title: a heading of the reader's choice; None: the kernel's name.
        moment: when this was made, in words; None leaves it out, so that equal findings are equal bytes.
    """

    verification: Verification
    differences: tuple[Difference, ...] = ()
    localisations: tuple[Located, ...] = ()
    influences: tuple[Influence, ...] = ()
    title: str | None = None
    moment: str | None = None

    @property
    def conclusion(self) -> Conclusion:
        """The whole in one word."""
        found = {run.verdict for run in self.verification.runs}
        if Verdict.DIFFERS in found:
            return Conclusion.DIFFERS
        if found <= {Verdict.EQUAL} and found:
            return Conclusion.AGREED
        return Conclusion.OPEN

    def counts(self) -> dict[Verdict, int]:
        """How many runs ended how; only those that did, in the order of `Verdict`."""
        every = [run.verdict for run in self.verification.runs]
        return {verdict: every.count(verdict) for verdict in Verdict if verdict in every}


class Conclusion(StrEnum):
    """What a verification comes to."""

    AGREED = "agreed"
    """Every run delivered and gave its reference's bits."""
    DIFFERS = "differs"
    """At least one run gave other bits."""
    OPEN = "open"
    """No bits differ, but some runs gave none, or had none to be compared with."""


@dataclass(frozen=True, slots=True)
class Section:
    """The runs of one case that are held to each other, and what they gave: one matrix.

    `platforms` are theirs, sorted; `outputs` are names, sorted; `groups` by output, the reference's first.
    """

    platforms: tuple[Platform, ...]
    case: str
    runs: tuple[HostRun, ...]
    outputs: tuple[str, ...]
    groups: dict[str, tuple[Group, ...]]

    @property
    def spans(self) -> bool:
        """Whether platforms are compared with each other."""
        return len(self.platforms) > 1

    def label(self, run: HostRun, output: str) -> str | None:
        """The letter of the group that a run's output is in; the reference's is A. None if it gave none."""
        member = Member(run.host, run.repeat)
        for place, group in enumerate(self.groups.get(output, ())):
            if member in group.members:
                return letters(place)
        return None


def sections(verification: Verification) -> tuple[Section, ...]:
    """One per case and platform, or platforms that are held to each other, in the order of platforms, then cases."""
    found = []
    for platforms in sorted({verification.compared_with(run.platform) for run in verification.runs}):
        for case in verification.cases:
            runs = tuple(run for run in verification.runs if run.platform in platforms and run.case == case)
            groups: dict[str, tuple[Group, ...]] = {}
            for group in verification.groups:
                if (group.platforms, group.case) == (platforms, case):
                    groups[group.output] = (*groups.get(group.output, ()), group)
            if runs:
                found.append(Section(platforms, case, runs, tuple(sorted(groups)), groups))
    return tuple(found)


def letters(place: int) -> str:
    """A, B, ..., Z, AA, AB, ... for 0, 1, ..., 25, 26, 27, ..."""
    name = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def from_runs(
    verification: Verification,
    differences: Sequence[Difference] = (),
    *,
    localisations: Sequence[Located] = (),
    influences: Sequence[Influence] = (),
    title: str | None = None,
    moment: str | None = None,
) -> Report:
    """Put a report together; see `Report` for what is what."""
    return Report(verification, tuple(differences), tuple(localisations), tuple(influences), title, moment)
