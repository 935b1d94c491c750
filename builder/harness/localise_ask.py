"""Asking two hosts the same question about one run: a host is a function from a request to a folder of results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from builder.errors import IntegrityError
from builder.harness.compare.differ import diff
from builder.harness.compare.model import TensorDiff
from builder.harness.trace import VALUES, Answer, answers, read
from builder.hosts.host import Runnable, RunResult, Variant
from builder.progress import Progress

REQUEST = ".trace.json"
"""The name of a request among the files of `/io/in`."""

MOST_RUNS = 200
"""Traced runs of one search: loops in loops take some dozens, a host that makes frames up takes all of them."""


class Tracer(Protocol):
    """A host that runs one image on one set of inputs, traced as it is asked."""

    @property
    def name(self) -> str:
        """What people call it."""

    def ask(self, request: bytes) -> RunResult:
        """Run and trace.

        Raises:
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

    def ask(self, request: bytes) -> RunResult:
        """Run the image with the request beside its inputs."""
        self._runs += 1
        return self.variant.host.run(
            self.image, self.inputs, self.folder / str(self._runs), conditions=self.variant.conditions,
            requests={REQUEST: request}, timeout=self.timeout, progress=self.progress,
        )  # fmt: skip


@dataclass(slots=True)
class Pair:
    """Both hosts; every question goes to both at once."""

    a: Tracer
    b: Tracer
    runs: int = 0
    results: tuple[RunResult, RunResult] | None = None
    """What the last question gave."""

    _seen: dict[bytes, tuple[RunResult, RunResult]] = field(default_factory=dict)

    def ask(self, form: type[Answer], **request: Any) -> tuple[Answer, Answer]:
        """Put one question to both and read the answers.

        Raises:
            KbuildError: a host gave no result.
            IntegrityError: what it gave is no trace.
        """
        a, b = self._run(request)
        return _answer(a, form, request), _answer(b, form, request)

    def values(self, **request: Any) -> tuple[TensorDiff, ...]:
        """Put one question to both and compare the values that they give.

        Raises:
            KbuildError: a host gave no result.
            IntegrityError: what it gave are no tensors.
        """
        a, b = self._run(request)
        return tuple(diff(a.folder / VALUES, b.folder / VALUES))

    @property
    def receipts(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Of the last runs."""
        return (self.results[0].receipt, self.results[1].receipt) if self.results else ({}, {})

    def _run(self, request: Mapping[str, Any]) -> tuple[RunResult, RunResult]:
        data = json.dumps({"version": 1, **request}, sort_keys=True).encode()
        if data not in self._seen:
            if self.runs == MOST_RUNS:
                raise IntegrityError("the traces lead on without end", where=f"{self.a.name} and {self.b.name}")
            self.runs += 1
            with ThreadPoolExecutor(2) as pool:
                a, b = pool.submit(self.a.ask, data), pool.submit(self.b.ask, data)
                self._seen[data] = a.result(), b.result()
        self.results = self._seen[data]
        return self.results


def _answer(result: RunResult, form: type[Answer], request: Mapping[str, Any]) -> Answer:
    found = read(result.folder, form)
    if not answers(found, request):
        raise IntegrityError("the trace is not what was asked for", where=str(result.folder))
    return found
