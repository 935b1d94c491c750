"""Ctrl-C: what has begun gets a moment to end by itself, then kbuild goes, and every process that it started with it.

Leaving in the midst of work is safe: writes are atomic, and sandboxes end with kbuild however that ends
(`builder/backends/keeper.py`). A compiler may have a minute to go, which nobody who presses Ctrl-C wants to wait for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130
"""128 + SIGINT, as shells have it."""

_GRACE = 2.0
"""Seconds from the first Ctrl-C to the end; a second one is the end."""

_SHOW_CURSOR = "\x1b[?25h"

_said = threading.Event()


@contextmanager
def heeded() -> Iterator[None]:
    """While inside, the first Ctrl-C raises `KeyboardInterrupt` and sees to it that the process ends.

    Where it was to be ignored, as for a job in a script's background, it goes on being ignored.
    """
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, _first)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _first:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def say() -> None:
    """Say on stderr, once, that this was interrupted."""
    if not _said.is_set():
        _said.set()
        print("kbuild: interrupted; what was finished is kept", file=sys.stderr, flush=True)


def _first(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, lambda *_: _leave())
    timer = threading.Timer(_GRACE, _leave)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _leave() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)  # progress bars hide it
    say()
    os._exit(EXIT_CODE)
