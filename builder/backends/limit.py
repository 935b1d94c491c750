"""How long a started program may run: until a moment, and until somebody says stop."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from builder.errors import TimedOut

_SOON = 0.02
"""Seconds between the first two looks at something far away."""

_LOOK = 0.2
"""Seconds between two looks at whether somebody said stop."""


@dataclass(frozen=True, slots=True)
class Limit:
    """When to give up on a program.

    Attributes:
        seconds: that it may take from its start on; None: any time.
        stop: set by another thread to end it at once.
    """

    seconds: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _began: float = field(default_factory=time.monotonic)

    def chunks(self, handle: int, most: int) -> Iterator[bytes]:
        """What comes out of a pipe until it is closed, at most `most` bytes at a time.

        Raises:
            TimedOut: the limit came before that.
        """
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while True:
            if poll.poll(1000 * self._look()):
                chunk = os.read(handle, most)
                if not chunk:
                    return
                yield chunk

    def looks(self) -> Iterator[None]:
        """Moments to look at something that has an end of its own, at ever longer distances.

        Raises:
            TimedOut: the limit came before whoever looks stopped.
        """
        pause = _SOON
        while True:
            yield
            self._look()
            self.stop.wait(pause)
            pause = min(pause * 1.2, 1.0)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a program.

        Raises:
            TimedOut: the limit came before that.
        """
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:  # Linux older than 5.3
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self._look())
            return
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            while process.poll() is None:
                poll.poll(1000 * self._look())
        finally:
            os.close(handle)

    def _look(self) -> float:
        """How long to wait before the next look."""
        if self.stop.is_set():
            raise TimedOut("it was stopped")
        if self.seconds is None:
            return _LOOK
        left = self._began + self.seconds - time.monotonic()
        if left <= 0:
            raise TimedOut(f"it was not done after {self.seconds:g} s")
        return min(_LOOK, left)


ENDLESS = Limit()
