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
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_CODE = 130
"""128 + SIGINT, as shells have it."""

_GRACE = 2.0
"""Seconds from the first Ctrl-C to the end; a second one is the end."""

_SAYING = "kbuild: interrupted; what was finished is kept"
_SHOW_CURSOR = "\x1b[?25h"


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
    """Say on stderr that this was interrupted; the last of what this process says."""
    if signal.getsignal(signal.SIGALRM) is _say_and_leave:
        signal.signal(signal.SIGINT, _leave)
        signal.signal(signal.SIGALRM, _leave)
    print(_SAYING, file=sys.stderr, flush=True)


def _first(_number: int, _frame: FrameType | None) -> None:
    # An alarm, not a thread that waits: where this interrupts the start of another thread, starting one never returns.
    signal.signal(signal.SIGINT, _say_and_leave)
    signal.signal(signal.SIGALRM, _say_and_leave)
    signal.setitimer(signal.ITIMER_REAL, _GRACE)
    raise KeyboardInterrupt


def _say_and_leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not by `print`, in the midst of which this may be.
    shown = _SHOW_CURSOR if sys.stderr.isatty() else ""  # progress bars hide it
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{shown}{_SAYING}\n".encode())
    os._exit(EXIT_CODE)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(EXIT_CODE)
