"""What processes that share a store tell each other: who holds what, who is alive, what is in use.

All of it is `flock`, which the kernel drops when its holder dies, however it dies; so nothing is ever left locked.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import EnvironmentFault
from builder.store.atomic import faults, make_folder, unique_name

SLACK_NS = 2_000_000_000
"""File times come from a coarser clock than ours: a session counts as begun this much earlier."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the inter-process lock at `path`; waits as long as its holder lives.

    Raises:
        EnvironmentFault: the lock file cannot be created here.
    """
    from filelock import FileLock  # noqa: PLC0415  # 80 ms that most commands need not pay

    with faults(path):
        make_folder(path.parent)
        lock = FileLock(path, mode=0o644, thread_local=False)
        try:
            lock.acquire()
        except NotImplementedError as error:
            raise EnvironmentFault(
                f"the file system of {path} has no locks", hint="set KBUILD_STORE to a folder on a local disk"
            ) from error
    try:
        yield
    finally:
        lock.release()


def held(handle: int) -> bool:
    """Try to lock an open file or folder; False if this call got it, so that no living process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def alive(path: Path) -> bool:
    """Whether a living process holds `path` (a file or folder that its maker flocks)."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return held(handle)
    finally:
        os.close(handle)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold `path` shared: many users at once, but no sweep. Without a lock file there is no sweep to fear."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


class Session:
    """The life of one process's use of a store.

    The sweep of `builder.store.collect` removes nothing that was touched since the oldest living session began. A
    touch holds the sweep's lock shared and each removal holds it exclusively after a second look at the time, so that a
    blob that a build just found cannot vanish under it. On a store that cannot be written to, all of this does nothing:
    no sweep can happen there either.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "locks" / "sessions"
        self.sweep = root / "locks" / "sweep"
        self.began_ns = 0
        self._process = 0
        self._guard = threading.Lock()
        self._end: weakref.finalize[..., Session] | None = None

    def begin(self) -> None:
        """Announce this process, once; a fork announces itself anew."""
        if self._process == os.getpid():
            return
        with self._guard, suppress(OSError):
            if self._process != os.getpid():
                self.began_ns = time.time_ns() - SLACK_NS
                try:
                    self._announce()
                finally:
                    self._process = os.getpid()

    def _announce(self) -> None:
        make_folder(self.folder)
        os.close(os.open(self.sweep, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        with shared(self.sweep):
            self.began_ns = time.time_ns() - SLACK_NS
            path = self.folder / unique_name()
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._end = weakref.finalize(self, _end, handle, path, os.getpid())
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.fchmod(handle, 0o600)
            os.utime(handle, ns=(self.began_ns, self.began_ns))

    def touch(self, path: Path) -> bool:
        """Mark `path` as in use by this session.

        Returns:
            Whether it exists.
        """
        self.begin()
        with shared(self.sweep):
            try:
                status = path.stat()
            except FileNotFoundError:
                return False
            if status.st_mtime_ns < self.began_ns:
                with suppress(OSError):
                    now = time.time_ns()
                    os.utime(path, ns=(now, now))
        return True

    def close(self) -> None:
        """End the session; the object's or the process's end does the same."""
        self._process = 0
        if self._end is not None:
            self._end()


def _end(handle: int, path: Path, process: int) -> None:
    if process == os.getpid():  # a fork holds a copy of the handle, but the session is its parent's
        with suppress(OSError):
            path.unlink()
    os.close(handle)
