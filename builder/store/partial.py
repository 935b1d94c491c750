"""A download under way: a file of the store that outlives its process, so that the next goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import EnvironmentFault
from builder.store.atomic import faults, make_folder
from builder.store.attempt import Origin
from builder.store.blobs import CHUNK, Store
from builder.store.locks import held

_POLL = 0.05
"""Seconds between looks at a file that another process is downloading."""


class Partial:
    """The first `size` bytes of a blob, and the hash over them; made by `hold`."""

    def __init__(self, store: Store, sha256: str, path: Path, handle: int) -> None:
        self._store = store
        self._sha256 = sha256
        self._path = path
        self._handle = handle
        self._digest = hashlib.sha256()
        self.size = 0

    def load(self, limit: int) -> None:
        """Hash what an earlier process left; more than `limit` bytes cannot be the beginning of the blob."""
        with faults(self._path):
            if os.fstat(self._handle).st_size > limit:
                self.restart()
                return
            os.lseek(self._handle, 0, os.SEEK_SET)
            while data := os.read(self._handle, CHUNK):
                self._digest.update(data)
                self.size += len(data)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        with faults(self._path):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        self._digest.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Forget all bytes."""
        with faults(self._path):
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Hex SHA-256 over the bytes so far."""
        return self._digest.hexdigest()

    @property
    def origin(self) -> Origin | None:
        """Where the first byte came from."""
        with faults(self._path):
            try:
                record = json.loads(self._note.read_bytes())
                return Origin(str(record["url"]), str(record["validator"]))
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None

    @origin.setter
    def origin(self, origin: Origin) -> None:
        with faults(self._note):
            if origin.validator is None:
                self._note.unlink(missing_ok=True)
            else:
                self._note.write_text(json.dumps({"url": origin.url, "validator": origin.validator}), encoding="utf-8")

    @property
    def _note(self) -> Path:
        return self._path.with_suffix(".from")

    def finish(self) -> None:
        """Make it a blob of the store; the caller has seen that the hash is right."""
        with faults(self._path):
            os.fsync(self._handle)
            self._store.adopt(self._path, self._sha256)
            self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)


@contextmanager
def hold(store: Store, sha256: str, cancelled: threading.Event) -> Iterator[Partial | None]:
    """Be the only one, among all processes, that downloads this blob; waits for another one that does.

    Yields:
        What is there of it, or None if another process has finished it meanwhile.

    Raises:
        EnvironmentFault: the wait was cancelled.
    """
    path = store.root / "partial" / sha256
    with faults(path):
        make_folder(path.parent)
        handle = _own(store, path, cancelled)
    try:
        partial = Partial(store, sha256, path, handle)
        try:
            yield None if store.has(sha256) else partial
        finally:
            if partial.size == 0:
                partial.discard()
    finally:
        os.close(handle)


def _own(store: Store, path: Path, cancelled: threading.Event) -> int:
    """An open handle to `path` with its lock; a lock on a file that lost its name meanwhile is worth nothing."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(handle, 0o600)
            _wait_for(handle, path, cancelled)
            if store.session.touch(path) and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _wait_for(handle: int, path: Path, cancelled: threading.Event) -> None:
    while held(handle):
        if cancelled.wait(_POLL):
            raise EnvironmentFault("the download was cancelled", where=str(path))
