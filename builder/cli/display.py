"""Progress for people: a live display on a terminal, a line when something begins or ends elsewhere, or nothing."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from builder.cli.appearance import console, human_size
from builder.progress import Progress, Silent, Unit

PLAIN_INTERVAL = 10.0
"""Seconds between two lines about the same step where there is no terminal."""

QUIET_STEP = 0.5
"""Steps shorter than this many seconds get no line of their own in plain output."""


@contextmanager
def progress(options: argparse.Namespace) -> Iterator[Progress]:
    """The display that these options and this stderr ask for."""
    if options.quiet:
        yield Silent()
    elif sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        with Live(verbose=options.verbose) as live:
            yield live
    else:
        yield Plain(verbose=options.verbose)


class Plain:
    """Lines without control characters, for logs."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._lock = threading.Lock()

    def step(self, name: str, total: int | None = None, unit: Unit = "bytes") -> _PlainStep:
        return _PlainStep(self, name, total, unit)

    def detail(self, text: str) -> None:
        if self._verbose:
            self.line(text)

    def warn(self, text: str) -> None:
        self.line(f"warning: {text}")

    def line(self, text: str) -> None:
        with self._lock:
            print(text, file=sys.stderr, flush=True)


class _PlainStep:
    def __init__(self, owner: Plain, name: str, total: int | None, unit: Unit) -> None:
        self._owner, self._name, self._total, self._unit = owner, name, total, unit
        self._done = 0
        self._note = ""
        self._began = self._last = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= PLAIN_INTERVAL:
            self._last = now
            share = f" {100 * self._done // self._total} %" if self._total else ""
            self._owner.line(f"{self._name}:{share} {self._amount()}")

    def note(self, text: str) -> None:
        self._note = text

    def _amount(self) -> str:
        return human_size(self._done) if self._unit == "bytes" else f"{self._done}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took = time.monotonic() - self._began
        if kind is not None:
            self._owner.line(f"{self._name}: failed")
        elif took >= QUIET_STEP:
            amount = f" {self._amount()}" if self._done else ""
            note = f" ({self._note})" if self._note else ""
            self._owner.line(f"{self._name}:{amount} in {took:.1f} s{note}")
        else:
            self._owner.detail(f"{self._name}: {self._note or 'done'}")


class Live:
    """One line per running step, redrawn in place."""

    def __init__(self, *, verbose: bool) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._verbose = verbose
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),  # names may hold brackets
            BarColumn(bar_width=28),
            TextColumn("{task.fields[amount]}", justify="right", markup=False),
            TextColumn("{task.fields[remark]}", style="dim", markup=False),
            TimeElapsedColumn(),
            console=console(),
            transient=True,
        )

    def step(self, name: str, total: int | None = None, unit: Unit = "bytes") -> _LiveStep:
        return _LiveStep(self._bars, name, total, unit)

    def detail(self, text: str) -> None:
        if self._verbose:
            self._bars.console.print(text, style="dim", markup=False)

    def warn(self, text: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text.assemble(("warning", "yellow"), f": {text}"))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class _LiveStep:
    def __init__(self, bars: Any, name: str, total: int | None, unit: Unit) -> None:
        self._bars, self._unit, self._total = bars, unit, total
        self._done = 0
        self._task = bars.add_task(name, total=total, amount="", remark="")

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._bars.update(self._task, completed=self._done, amount=self._amount())

    def note(self, text: str) -> None:
        self._bars.update(self._task, remark=text)

    def _amount(self) -> str:
        if self._unit == "items":
            return f"{self._done}/{self._total}" if self._total else f"{self._done}"
        whole = f" of {human_size(self._total)}" if self._total else ""
        return f"{human_size(self._done)}{whole}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.remove_task(self._task)
