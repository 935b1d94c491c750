"""Making one run, or remembering it, and saying how it ended; nothing that a host does ends more than its own run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from builder.backends.workplace import workplace
from builder.errors import IntegrityError, KbuildError, TimedOut, UsageError
from builder.harness.evidence import untrue
from builder.harness.job import Job
from builder.harness.verdict import HostRun, Verdict
from builder.hosts.exchange import RECEIPT, RUNS, keep, kept
from builder.hosts.receipt import Receipt, read
from builder.progress import Progress
from builder.store.blobs import Store


class _Left(NamedTuple):
    """What a run left: its receipt, and the folder of the store that holds what it delivered."""

    receipt: Mapping[str, Any] | None = None
    folder: Path | None = None


def perform(store: Store, job: Job, *, timeout: float, fresh: bool, progress: Progress) -> HostRun:
    """Make a run, or take the remembered one.

    Args:
        store: keeps results.
        job: what to run where.
        timeout: seconds that it may take.
        fresh: whether to run even if it is remembered.
        progress: sees the run.

    Returns:
        The run: `ALONE` if it delivered, since nobody has compared it yet, or how it failed.

    Raises:
        UsageError: an input is no file.
    """
    try:
        key = job.key()
    except KbuildError as error:
        return _ended(job, Verdict.FAILED, 0, _Left(), error)
    with store.lock(f"run-{key}"):
        if not fresh and (remembered := _remembered(store, job, key)):
            return remembered
        run = _made(store, job, timeout, progress)
        if run.verdict.delivered and run.folder is not None:
            made = {
                "image": job.image.digest,
                "results": run.folder.parent.name,
                "milliseconds": int(run.seconds * 1000),
            }
            store.remember(RUNS, key, made)
        return run


def _remembered(store: Store, job: Job, key: str) -> HostRun | None:
    record = store.recall(RUNS, key)
    if record is None:
        return None
    try:
        folder = kept(store, str(record["results"]))
        if folder is None or untrue(job.image, folder):
            return None
        receipt = read(folder / RECEIPT).document
        seconds = record["milliseconds"] / 1000
    except (KeyError, TypeError, IntegrityError):
        return None
    return dataclasses.replace(_ended(job, Verdict.ALONE, seconds, _Left(receipt, folder)), cached=True)


def _made(store: Store, job: Job, timeout: float, progress: Progress) -> HostRun:
    image = dataclasses.replace(job.image, name=f"{job.image.name} on {job.variant.name}")
    with workplace(store) as place:
        out = place / "results"
        began = time.monotonic()
        try:
            result = job.variant.host.run(
                image, job.case.inputs, out, conditions=job.variant.conditions, timeout=timeout, progress=progress
            )
        except UsageError:
            raise
        except KbuildError as error:
            seconds = time.monotonic() - began
            receipt = _receipt(out)
            left = _Left(receipt.document, keep(store, out)) if receipt else _Left()
            return _ended(job, _verdict(error, receipt), seconds, left, error)
        seconds = time.monotonic() - began
        why = untrue(image, out)
        folder = keep(store, out)
    if why:
        return _ended(job, Verdict.FAILED, seconds, _Left(result.receipt, folder), KbuildError(why))
    return _ended(job, Verdict.ALONE, seconds, _Left(result.receipt, folder))


def _verdict(error: KbuildError, receipt: Receipt | None) -> Verdict:
    if isinstance(error, TimedOut):
        return Verdict.TIMED_OUT
    fault = receipt.result.error if receipt else None
    return Verdict.REFUSED if fault and fault.refused else Verdict.FAILED


def _receipt(folder: Path) -> Receipt | None:
    """The receipt of a failed run, if it left one."""
    try:
        return read(folder / RECEIPT)
    except IntegrityError:
        return None


def _ended(job: Job, verdict: Verdict, seconds: float, left: _Left, error: KbuildError | None = None) -> HostRun:
    return HostRun(
        host=job.variant.name,
        kind=job.variant.host.kind,
        platform=job.image.platform,
        conditions=job.variant.conditions,
        case=job.case.name,
        repeat=job.repeat,
        verdict=verdict,
        receipt=left.receipt,
        folder=left.folder,
        seconds=seconds,
        error=error.message if error else None,
        hint=error.hint if error else None,
    )
