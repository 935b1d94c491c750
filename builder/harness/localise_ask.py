"""Asking two hosts the same question about one run: a host is a function from a request to a folder of results."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from builder.errors import IntegrityError, TimedOut
from builder.harness.compare.differ import diff
from builder.harness.compare.model import TensorDiff
from builder.harness.localise_outline import UNKNOWN, Outline
from builder.harness.trace import VALUES, Answer, Frame, answers, read
from builder.hosts.host import Runnable, RunResult, Variant
from builder.progress import Progress, Silent, Step

REQUEST = ".trace.json"
"""The name of a request among the files of `/io/in`."""

MOST_RUNS = 200
"""Traced runs of one search: loops in loops take some dozens, a host that makes frames up takes all of them."""


class Tracer(Protocol):
    """A host that runs one image on one set of inputs, traced as it is asked."""

    @property
    def name(self) -> str:
        """What people call it."""

    def ask(self, request: bytes, seconds: float) -> RunResult:
        """Run and trace.

        Raises:
            TimedOut: it was not done within that many seconds.
            KbuildError: no result came back.
        """


@dataclass(slots=True)
class HostTracer:
    """A tracer out of a host, an image and inputs.

    Attributes:
        variant: the host, and what it is put under.
        image: what runs.
        inputs: files for `/io/in`.
        folder: where results are put, each run's in one of its own.
        timeout: seconds that one run may take.
        progress: sees what the image prints.
    """

    variant: Variant
    image: Runnable
    inputs: Sequence[Path]
    folder: Path
    timeout: float
    progress: Progress
    _runs: int = 0

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.name

    def ask(self, request: bytes, seconds: float) -> RunResult:
        """Run the image with the request beside its inputs."""
        self._runs += 1
        image = replace(self.image, name=f"{self.image.name} on {self.name}, {question(json.loads(request))}")
        return self.variant.host.run(
            image, self.inputs, self.folder / str(self._runs), conditions=self.variant.conditions,
            requests={REQUEST: request}, timeout=min(self.timeout, seconds), progress=self.progress,
        )  # fmt: skip


@dataclass(slots=True)
class Pair:
    """Both hosts; every question goes to both at once.

    Attributes:
        a: one host.
        b: the other.
        until: the moment (of `time.monotonic`) after which nothing is asked any more.
        step: advances with each question.
        runs: questions so far.
        results: what the last one gave.
        outline: how long the program's parts are, as far as the hashes tell.
        ends: what both gave where the whole program was compiled as one frame; None if that was not asked yet.
    """

    a: Tracer
    b: Tracer
    until: float = math.inf
    step: Step = field(default_factory=lambda: Silent().step(""))
    runs: int = 0
    results: tuple[RunResult, RunResult] | None = None
    outline: Outline = UNKNOWN
    ends: tuple[Frame, Frame] | None = None
    _seen: dict[bytes, tuple[RunResult, RunResult]] = field(default_factory=dict)

    def ask(self, form: type[Answer], *, share: float = 1, **request: Any) -> tuple[Answer, Answer]:
        """Put one question to both and read the answers.

        Args:
            form: of the answer.
            share: how much of the time that is left it may take.
            request: the question.

        Raises:
            TimedOut: a host was not done in time, or no time is left.
            KbuildError: a host gave no result.
            IntegrityError: what it gave is no trace.
        """
        a, b = self._run(request, share)
        return _answer(a, form, request), _answer(b, form, request)

    def values(self, **request: Any) -> tuple[TensorDiff, ...]:
        """Put one question to both and compare the values that they give.

        Raises:
            TimedOut: a host was not done in time, or no time is left.
            KbuildError: a host gave no result.
            IntegrityError: what it gave are no tensors.
        """
        a, b = self._run(request)
        return tuple(diff(a.folder / VALUES, b.folder / VALUES))

    @property
    def receipts(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Of the last runs."""
        return (self.results[0].receipt, self.results[1].receipt) if self.results else ({}, {})

    def _run(self, request: Mapping[str, Any], share: float = 1) -> tuple[RunResult, RunResult]:
        data = json.dumps({"version": 1, **request}, sort_keys=True).encode()
        if data not in self._seen:
            if self.runs == MOST_RUNS:
                raise IntegrityError("the traces lead on without end", where=f"{self.a.name} and {self.b.name}")
            left = self.until - time.monotonic()
            if left <= 0:
                raise TimedOut("the search was not done in time")
            self.runs += 1
            self.step.note(question(request))
            with ThreadPoolExecutor(2) as pool:
                a, b = (pool.submit(host.ask, data, left * share) for host in (self.a, self.b))
                self._seen[data] = a.result(), b.result()
            self.step.advance()
        self.results = self._seen[data]
        return self.results


def question(request: Mapping[str, Any]) -> str:
    """What a request asks for, in a few words for people."""
    match request["mode"]:
        case "hashes":
            return "hash of every operation"
        case "values":
            return f"values at {', '.join(request['equations'][:3])}"
    where = f" of {request['frame']}" if request["frame"] else ""
    parts = [
        f"{len(found)} {name if len(found) > 1 else name.removesuffix('s')}"
        for name in ("cuts", "segments", "iterations")
        if (found := request.get(name))
    ]
    return f"{' and '.join(parts) or 'operations'}{where}"


def _answer(result: RunResult, form: type[Answer], request: Mapping[str, Any]) -> Answer:
    found = read(result.folder, form)
    if not answers(found, request):
        raise IntegrityError("the trace is not what was asked for", where=str(result.folder))
    return found
