"""Running an image on many hosts and saying which of them agree (docs/verify.md).

Runs on one machine share its cores, runs on different machines go on side by side. Every finished run is remembered, so
a verification that was cut short goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass

from builder.errors import KernelError
from builder.harness.compare.groups import groups
from builder.harness.job import Case, Job, jobs
from builder.harness.judge import judge
from builder.harness.peers import peers
from builder.harness.perform import perform
from builder.harness.verdict import HostRun, Verdict, Verification
from builder.hosts.host import HERE, Host, Runnable, Variant
from builder.progress import Progress, Step
from builder.store.blobs import Store

TIMEOUT = 1800.0
"""Seconds that one run may take by default: an emulated CPU is twenty times as slow as this one, or worse."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to go about it.

    Attributes:
        repeat: how often to run each case on each host.
        timeout: seconds that one run may take.
        fresh: whether to run again what is remembered.
        jobs: runs at a time on this machine.
    """

    repeat: int = 1
    timeout: float = TIMEOUT
    fresh: bool = False
    jobs: int = 1


def verify(
    digest: str,
    images: Sequence[Runnable],
    cases: Sequence[Case],
    variants: Sequence[Variant],
    *,
    settings: Settings,
    store: Store,
    progress: Progress,
) -> Verification:
    """Run an image's cases on hosts, and compare.

    Args:
        digest: of the image, as it was asked for.
        images: its platforms' images.
        cases: inputs; at least one.
        variants: hosts under conditions, the reference of each platform first. Whoever opened them closes them; an
            exception ends their runs.
        settings: how to go about it.
        store: has the images, and keeps the runs.
        progress: sees the runs.

    Raises:
        KernelError: the inputs do not fit the kernel, by the words of the first host.
        UsageError: an input is no file any more.
    """
    planned = jobs(cases, variants, images, repeat=settings.repeat)
    used = {job.image.platform: job.image for job in planned}
    held = peers(used.values())
    runs = judge(_performed(planned, settings, store, progress), held)
    return Verification(
        name=images[0].name,
        digest=digest,
        manifests={platform: image.digest for platform, image in sorted(used.items())},
        cases=tuple(case.name for case in cases),
        runs=runs,
        groups=groups(runs, held),
        peers=held,
    )


def _performed(planned: Sequence[Job], settings: Settings, store: Store, progress: Progress) -> list[HostRun]:
    """Perform jobs side by side; an exception, an interrupt among them, ends those that run."""
    hosts = list({id(job.variant.host): job.variant.host for job in planned}.values())
    with ExitStack() as stack, progress.step("verify", len(planned), "items") as step:
        pools = _pools(hosts, settings.jobs, stack)
        work = _Work(settings, store, progress, step)
        futures = {
            index: pools[planned[index].variant.host.machine].submit(work.one, planned[index])
            for index in _order(planned)
        }
        try:
            done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [futures[index].result() for index in range(len(planned))]
        except BaseException:
            for future in futures.values():
                future.cancel()
            for host in hosts:
                host.close()
            raise


class _Work:
    """What all runs of one verification have in common."""

    def __init__(self, settings: Settings, store: Store, progress: Progress, step: Step) -> None:
        self._settings = settings
        self._store = store
        self._progress = progress
        self._step = step
        self._guard = threading.Lock()

    def one(self, job: Job) -> HostRun:
        settings = self._settings
        run = perform(self._store, job, timeout=settings.timeout, fresh=settings.fresh, progress=self._progress)
        with self._guard:
            self._step.advance()
        if _inputs_are_wrong(run):
            raise KernelError(run.error or "the inputs are refused", where=f"{run.case} on {run.host}", hint=run.hint)
        return run


def _pools(hosts: Iterable[Host], width: int, stack: ExitStack) -> Mapping[str, ThreadPoolExecutor]:
    """One pool per machine; of this one as wide as asked for, of another one run at a time."""
    machines = dict.fromkeys(host.machine for host in hosts)
    return {
        machine: stack.enter_context(ThreadPoolExecutor(width if machine == HERE else 1, f"run on {machine}"))
        for machine in machines
    }


def _order(planned: Sequence[Job]) -> list[int]:
    """Places of the jobs in the order to start them: first those on real CPUs, which show soonest what is wrong."""
    return sorted(range(len(planned)), key=lambda index: (planned[index].variant.host.kind == "qemu", index))


def _inputs_are_wrong(run: HostRun) -> bool:
    """Whether the kernel refused its inputs, as every other host would."""
    fault = run.receipt["result"].get("error") if run.receipt and run.verdict is Verdict.FAILED else None
    return isinstance(fault, dict) and fault.get("step") == "input"
