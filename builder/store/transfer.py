"""Fetching artifacts: many at once, each resumed, bounded, hashed as it streams, and tried from source after source."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from builder.errors import EnvironmentFault, FetchError, IntegrityError
from builder.progress import Progress, Step
from builder.store.artifact import Registry
from builder.store.attempt import (
    NETWORK_HINT,
    Origin,
    Patience,
    Refused,
    Transient,
    Watchdog,
    Wrong,
    offset_of_body,
    request_headers,
    validator,
)
from builder.store.blobs import Store
from builder.store.client import Client, redacted
from builder.store.partial import Partial, hold


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact to fetch, as the lock names it: `sha256` in bare hex, `size` in bytes."""

    name: str
    version: str
    sha256: str
    size: int
    registry: Registry
    path: str


Sources = Callable[[Sequence[Wanted]], Mapping[str, tuple[str, ...]]]
"""For artifacts that are missing here: hex SHA-256 to the URLs that may serve it, best first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an artifact could not be had: one line per source that was tried."""

    wanted: Wanted
    tried: tuple[tuple[str, str], ...]
    wrong: bool


@dataclass(slots=True)
class _Transfer:
    """What the workers of one `fetch` share."""

    store: Store
    client: Client
    patience: Patience
    progress: Progress
    step: Step
    cancelled: threading.Event = field(default_factory=threading.Event)
    unreachable: dict[str, Transient] = field(default_factory=dict)


def missing(wanted: Sequence[Wanted], store: Store) -> tuple[Wanted, ...]:
    """Those that are not in the store, each blob once, in the given order."""
    unique: dict[str, Wanted] = {}
    for item in wanted:
        unique.setdefault(item.sha256, item)
    return tuple(item for item in unique.values() if not store.has(item.sha256))


def fetch(
    wanted: Sequence[Wanted],
    store: Store,
    sources: Sources,
    progress: Progress,
    *,
    jobs: int,
    offline: bool = False,
    patience: Patience | None = None,
) -> tuple[Wanted, ...]:
    """Bring artifacts into the store.

    Args:
        wanted: what to have afterwards; what is there already costs nothing.
        store: where to.
        sources: asked once, for all that is missing.
        progress: sees one step over all bytes.
        jobs: how many downloads run at once.
        offline: nothing may be fetched.
        patience: how long to bear with a source.

    Returns:
        Those that were not in the store before.

    Raises:
        EnvironmentFault: something is missing offline, or the store cannot be written to.
        FetchError: no source delivered an artifact; names everything that was tried.
        IntegrityError: an artifact's sources have other bytes than the lock names.
    """
    absent = missing(wanted, store)
    if not absent:
        return ()
    if offline:
        raise _offline(absent)
    found = sources(absent)
    patience = patience or Patience()
    total = sum(item.size for item in absent)
    with progress.step("fetch", total) as step:
        transfer = _Transfer(store, Client(patience, connections=jobs), patience, progress, step)
        failures = _run(transfer, absent, found, jobs)
        if failures:
            raise _report(failures)
    return absent


def _run(
    transfer: _Transfer, absent: Sequence[Wanted], found: Mapping[str, tuple[str, ...]], jobs: int
) -> list[Failure]:
    """All downloads, the largest first, so that none of them is left alone at the end.

    The threads are daemons and an interrupt does not wait for them: one may sit in a read for as long as patience
    lasts, and whatever it holds, it may be killed.
    """
    todo: SimpleQueue[Wanted] = SimpleQueue()
    done: SimpleQueue[Failure | BaseException | None] = SimpleQueue()
    for item in sorted(absent, key=lambda item: (-item.size, item.sha256)):
        todo.put(item)

    def work() -> None:
        with suppress(Empty):
            while not transfer.cancelled.is_set():
                item = todo.get_nowait()
                try:
                    done.put(_fetch_one(transfer, item, found.get(item.sha256, ())))
                except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
                    done.put(error)

    for _ in range(min(jobs, len(absent))):
        threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        failures = [failure for _ in absent if (failure := _unwrapped(done.get())) is not None]
    finally:
        transfer.cancelled.set()
    return sorted(failures, key=lambda failure: absent.index(failure.wanted))


def _unwrapped(outcome: Failure | BaseException | None) -> Failure | None:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _fetch_one(transfer: _Transfer, wanted: Wanted, urls: tuple[str, ...]) -> Failure | None:
    with hold(transfer.store, wanted.sha256, transfer.cancelled) as partial:
        if partial is None:
            transfer.progress.detail(f"{wanted.name}: another process fetched it")
            transfer.step.advance(wanted.size)
            return None
        partial.load(wanted.size)
        meter = _Meter(transfer.step)
        meter.at(partial.size)
        if partial.size == wanted.size:
            if partial.sha256 == wanted.sha256:
                partial.finish()
                return None
            partial.restart()
        tried: list[tuple[str, str]] = []
        wrong = False
        for url in urls:
            outcome = _from_source(transfer, wanted, url, partial, meter)
            if outcome is None:
                partial.finish()
                transfer.progress.detail(f"{wanted.name}: fetched from {redacted(url)}")
                return None
            tried.append((redacted(url), str(outcome)))
            transfer.progress.detail(f"{wanted.name}: {redacted(url)}: {outcome}")
            wrong = wrong or isinstance(outcome, Wrong)
    return Failure(wanted, tuple(tried), wrong)


def _from_source(
    transfer: _Transfer, wanted: Wanted, url: str, partial: Partial, meter: _Meter
) -> Refused | Transient | None:
    """Attempt after attempt from one source, until it has delivered (None) or there is no point in asking again."""
    host = urlsplit(url).netloc
    in_row = total = 0
    while True:
        if host and host in transfer.unreachable:
            return transfer.unreachable[host]
        before = partial.size
        try:
            _download(transfer, wanted, url, partial, meter)
        except Refused as outcome:
            return outcome
        except Transient as outcome:
            total += 1
            in_row = 1 if partial.size > before and outcome.patient else in_row + 1
            if outcome.restart:
                partial.restart()
            patience = transfer.patience
            pause = outcome.after or patience.backoff(in_row, random.random())  # noqa: S311  # jitter
            if in_row >= patience.attempts or total >= patience.total or pause > patience.longest_wait:
                if outcome.unreachable:
                    transfer.unreachable[host] = outcome
                return outcome
            transfer.step.note(f"{wanted.name}: {outcome}; again in {pause:.0f} s")
            if transfer.cancelled.wait(pause):
                raise _cancelled() from None
        else:
            return None


def _download(transfer: _Transfer, wanted: Wanted, url: str, partial: Partial, meter: _Meter) -> None:
    """One attempt: ends with all bytes, and the right ones, in `partial`, or raises why not."""
    have = partial.size
    with transfer.client.get(url, request_headers(have, partial.origin if have else None, url)) as reply:
        begin = offset_of_body(reply.status, reply.headers, have=have, size=wanted.size)
        if begin == 0:
            partial.restart()
            partial.origin = Origin(url, validator(reply.headers))
        watchdog = Watchdog(transfer.patience, time.monotonic())
        while data := reply.read():
            if transfer.cancelled.is_set():
                raise _cancelled()
            if partial.size + len(data) > wanted.size:
                partial.restart()
                raise Wrong(f"sends more than {wanted.size} bytes")
            partial.append(data)
            meter.at(partial.size)
            watchdog.saw(len(data), time.monotonic())
    if partial.size < wanted.size:
        raise Transient(f"ended after {partial.size} of {wanted.size} bytes")
    if (got := partial.sha256) != wanted.sha256:
        partial.restart()
        if begin > 0:  # the bytes from before may be the wrong ones
            raise Transient("the continued file has the wrong hash", patient=False)
        raise Wrong(f"has SHA-256 {got}")


class _Meter:
    """Reports each byte of an artifact once, however often it has to be downloaded."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._reported = 0

    def at(self, position: int) -> None:
        if position > self._reported:
            self._step.advance(position - self._reported)
            self._reported = position


_HINT = (
    "check the network and the machine's mirrors (KBUILD_DEBIAN_MIRROR, KBUILD_PYPI_INDEX, apt's and pip's settings)"
)


_TOLD = 10
"""Failures spelled out in an error; a broken network fails all artifacts alike."""


def _cancelled() -> EnvironmentFault:
    return EnvironmentFault("the download was cancelled")


def _offline(absent: Sequence[Wanted]) -> EnvironmentFault:
    lines = [f"  {item.name} {item.version}  {item.size} bytes" for item in absent]
    total = sum(item.size for item in absent)
    return EnvironmentFault(
        f"offline, and {len(absent)} artifacts ({total} bytes) are not in the store:\n" + "\n".join(lines),
        hint="run it once with the network on; from then on it works offline",
    )


def _report(failures: Sequence[Failure]) -> FetchError | IntegrityError:
    """One error for all artifacts that could not be had; wrong bytes are worse news than none."""
    wrong = [failure for failure in failures if failure.wrong]
    told = (wrong or list(failures))[:_TOLD]
    lines = []
    for failure in told:
        item = failure.wanted
        lines.append(f"{item.name} {item.version} ({item.path}): expected SHA-256 {item.sha256}, {item.size} bytes")
        lines += [f"  {url}: {why}" for url, why in failure.tried]
        if not failure.tried:
            lines.append(f"  no source of this machine serves the registry {item.registry!r} with it")
    names = ", ".join(failure.wanted.name for failure in told)
    if rest := len(wrong or failures) - len(told):
        lines.append(f"and {rest} more")
        names += f" and {rest} more"
    if wrong:
        return IntegrityError(
            "the sources have other bytes than the lock names\n" + "\n".join(lines),
            where=names,
            hint="the mirror is broken or the file was replaced: try another mirror; if the new file is right, run "
            "`kbuild lock --upgrade`",
        )
    return FetchError("no source delivered it\n" + "\n".join(lines), where=names, hint=NETWORK_HINT)
