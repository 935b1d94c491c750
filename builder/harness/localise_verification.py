"""Where the runs of a verification first part: one search per set of outputs that is not the reference's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from builder.errors import KbuildError
from builder.harness.job import Case
from builder.harness.localise import localise
from builder.harness.localise_ask import HostTracer, Tracer
from builder.harness.localise_model import Found, Localisation
from builder.harness.report_model import Located, excerpt
from builder.harness.verdict import HostRun, Member, Verification
from builder.hosts.host import Runnable, Variant
from builder.platforms import Platform
from builder.progress import Progress

AROUND = 2
"""Lines of source that are shown on either side."""

LONGEST_SOURCE = 1 << 20
"""Bytes of a source file that are looked at."""

Kernels = Callable[[Platform], Path]
"""The folder of the kernel's own files as a platform's image holds them."""


@dataclass(frozen=True, slots=True)
class Parted:
    """Two runs of one case that are held to each other and did not give the same outputs; `a` is the reference's."""

    platforms: tuple[Platform, ...]
    a: HostRun
    b: HostRun

    def hashes(self) -> tuple[dict[str, str], dict[str, str]]:
        """What each of them gave: each output's hash by name."""
        a, b = ({name: item["sha256"] for name, item in run.outputs.items()} for run in (self.a, self.b))
        return a, b


def parted(verification: Verification) -> list[Parted]:
    """The pairs to look into: of each reference, it and one run of each other set of outputs."""
    found: list[Parted] = []
    references = {
        (group.platforms, group.case): verification.run(group.case, group.members[0])
        for group in verification.groups
        if group.reference
    }
    for (platforms, case), reference in references.items():
        seen = {_identity(reference)}
        for run in verification.runs:
            held = run.platform in platforms and run.case == case and run.verdict.delivered
            if not held or _identity(run) in seen:
                continue
            seen.add(_identity(run))
            found.append(Parted(platforms, reference, run))
    return found


def localisations(
    verification: Verification,
    images: Sequence[Runnable],
    cases: Sequence[Case],
    variants: Sequence[Variant],
    *,
    kernels: Kernels,
    folder: Path,
    timeout: float,
    progress: Progress,
) -> tuple[Located, ...]:
    """Search for the first operation at which runs part.

    A host that fails or lies meanwhile leaves a note where its finding would be.

    Args:
        verification: what was run, and what came of it.
        images: the platforms' images.
        cases: the inputs.
        variants: the hosts, still open.
        kernels: where the kernel's source is shown from.
        folder: an empty one, for what traced runs give.
        timeout: seconds that one of these may take, and each search as a whole.
        progress: sees the search.
    """
    by_platform = {image.platform: image for image in images}
    by_case = {case.name: case for case in cases}
    by_name = {variant.name: variant for variant in variants}
    numbers = count()

    def tracer(run: HostRun) -> Tracer:
        return HostTracer(
            by_name[run.host], by_platform[run.platform], by_case[run.case].inputs, folder / str(next(numbers)),
            timeout, progress,
        )  # fmt: skip

    return tuple(_searched(pair, tracer, kernels, timeout, progress) for pair in parted(verification))


def _identity(run: HostRun) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(item["sha256"])) for name, item in run.outputs.items()))


def _searched(
    pair: Parted, tracer: Callable[[HostRun], Tracer], kernels: Kernels, seconds: float, progress: Progress
) -> Located:
    with progress.step(f"localise {pair.b.host} against {pair.a.host}", unit="items") as step:
        try:
            found = localise(*pair.hashes(), tracer(pair.a), tracer(pair.b), seconds=seconds, step=step)
        except KbuildError as error:
            found = Localisation(
                pair.a.host, pair.b.host, Found.NOTHING, notes=(f"the search failed: {error.message}",)
            )  # fmt: skip
        step.note(found.first.primitive if found.first else "nothing found")
    a, b = (Member(run.host, run.repeat) for run in (pair.a, pair.b))
    at = found.first.source if found.first else None
    text = _text(kernels(pair.a.platform), at.file) if at else ""
    return Located(pair.platforms, pair.a.case, a, b, found, excerpt(text, at.line, around=AROUND) if at else ())


def _text(kernel: Path, name: str) -> str:
    """One of the kernel's own files, as the image holds it; empty if it holds none of that name, which a host gave."""
    try:
        path = (kernel / name).resolve()
        if not path.is_relative_to(kernel.resolve()) or not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(LONGEST_SOURCE).decode("utf-8", "replace")
    except (OSError, ValueError):  # a name that no file can have
        return ""
