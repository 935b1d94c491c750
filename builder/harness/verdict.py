"""What came of running an image on many hosts: one verdict per run, and which runs agree on which output.

Plain data. `builder.harness.verify` makes it; comparisons, the search for the first divergent operation and reports
read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from builder.harness.peers import Peers, among
from builder.hosts.host import Conditions
from builder.platforms import Platform


class Verdict(StrEnum):
    """How one run ended; no two of these are ever merged."""

    EQUAL = "equal"
    """It gave the bits that its reference gave: the first host on the list that delivered, of those it is held to."""
    DIFFERS = "differs"
    """It gave other bits."""
    FAILED = "failed"
    """It gave nothing that can be relied on: it crashed, its host died, or its receipt does not fit what it left."""
    REFUSED = "refused"
    """The runtime found the host unfit and did not run: a missing CPU feature, too little memory, a lost pin."""
    TIMED_OUT = "timed out"
    """It was not done in the time that it had."""
    ALONE = "alone"
    """It delivered, and no other host that it is held to did: there is nothing to compare it with."""

    @property
    def delivered(self) -> bool:
        """Whether there are outputs."""
        return self in {Verdict.EQUAL, Verdict.DIFFERS, Verdict.ALONE}


@dataclass(frozen=True, slots=True)
class HostRun:
    """One run of one case on one host.

    Attributes:
        host: the variant's name, unique in a verification.
        kind: of the host: `local`, `docker`, `qemu`, ...
        platform: of the image that ran.
        conditions: what the run was put under.
        case: the name of the inputs.
        repeat: 1 for the first run of this case on this host, 2 for the second, and so on.
        verdict: how it ended.
        receipt: the run's receipt, also of a failed run that left one.
        folder: has `outputs.safetensors`, `outputs.json` and `receipt.json` as far as the run delivered them; kept
            in the store.
        seconds: that the run took, starting it included; of the recorded run if it is `cached`.
        error: why there are no outputs, in one or a few sentences.
        hint: what to do about it.
        cached: whether an earlier verification's finished run was taken.
    """

    host: str
    kind: str
    platform: Platform
    conditions: Conditions
    case: str
    repeat: int
    verdict: Verdict
    receipt: Mapping[str, Any] | None
    folder: Path | None
    seconds: float
    error: str | None = None
    hint: str | None = None
    cached: bool = False

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """Each output's `dtype`, `shape` and `sha256` by name, checked against the files; empty if none."""
        if not self.verdict.delivered or self.receipt is None:
            return {}
        tensors: Mapping[str, Mapping[str, Any]] = self.receipt["result"]["outputs"]["tensors"]
        return tensors


@dataclass(frozen=True, slots=True)
class Member:
    """One run in a group: the host's name and which repeat."""

    host: str
    repeat: int


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one case that gave the same bits for one output, of one platform or of several that are compared.

    Attributes:
        platforms: whose runs were compared, sorted; not each of them need have one here.
        case: the name of the inputs.
        output: the output's name.
        sha256: the canonical hash that they share (docs/protocol.md, section 4).
        members: in the order of the hosts, then of the repeats; the first is the one to compare others with.
        reference: whether the platforms' reference run is among them.
    """

    platforms: tuple[Platform, ...]
    case: str
    output: str
    sha256: str
    members: tuple[Member, ...]
    reference: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """One image on many hosts.

    Attributes:
        name: the kernel's.
        digest: the image's, as it was asked for: an index or one platform's manifest.
        manifests: each compared platform's manifest digest.
        cases: names of the inputs, in order.
        runs: in the order of cases, then hosts, then repeats.
        groups: in the order of platforms, cases, output names; the reference's group first.
        peers: which platforms were held to each other.
    """

    name: str
    digest: str
    manifests: Mapping[Platform, str]
    cases: tuple[str, ...]
    runs: tuple[HostRun, ...]
    groups: tuple[Group, ...]
    peers: Peers = field(default_factory=dict)

    def run(self, case: str, member: Member) -> HostRun:
        """The run that a group's member stands for."""
        return next(run for run in self.runs if (run.case, run.host, run.repeat) == (case, member.host, member.repeat))

    def compared_with(self, platform: Platform) -> tuple[Platform, ...]:
        """The platforms whose runs those of one were compared with, itself among them."""
        return among(self.peers, platform)

    @property
    def compared(self) -> bool:
        """Whether anything was compared with anything, on any platform."""
        return any(run.verdict in {Verdict.EQUAL, Verdict.DIFFERS} for run in self.runs)

    @property
    def agreed(self) -> bool:
        """Whether every run of every case delivered, was compared, and gave its reference's bits."""
        return bool(self.runs) and all(run.verdict is Verdict.EQUAL for run in self.runs)
