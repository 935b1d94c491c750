"""The store: every blob under its SHA-256, small records, materialised trees, shared by any number of processes.

Layout below the root:

========================  ==============================================================================
`blobs/sha256/<hex>`      content, mode 0444, complete from the moment it has its name
`records/<kind>/<key>`    small JSON records: what was made from what
`trees/<kind>/<key>/`     materialised folders: `tree` is the folder, `complete` says that it is whole
`partial/<hex>`           downloads that can go on (`builder.store.transfer`)
`tmp/`                    work of living processes, each flocked; what no one holds is left over
`locks/`                  see `builder.store.locks`
`quarantine/`             blobs that stopped matching their name
========================  ==============================================================================

All digests here are bare hex SHA-256.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from builder.errors import EnvironmentFault, IntegrityError
from builder.store.atomic import (
    SCARCITY,
    faults,
    fsync_folder,
    make_folder,
    remove_tree,
    sync_file_system,
    unique_name,
    write_whole,
)
from builder.store.locks import Session, exclusive
from builder.store.records import dump_record, parse_record

CHUNK = 1 << 20
"""Bytes per read and hash update: above 256 KiB the speed of SHA-256 no longer depends on it."""

_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def hash_file(path: Path) -> tuple[str, int]:
    """Hex SHA-256 and size of a file, read in one pass."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
    return digest.hexdigest(), size


class Store:
    """A content-addressed store below one folder; creating the object touches nothing.

    Reading works on a store that cannot be written to. Every method raises `EnvironmentFault` naming the path if the
    machine refuses (disk full, read-only, permission).
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self.session = Session(self.root)
        self._verified: dict[str, tuple[int, int]] = {}
        self._guard = threading.Lock()

    def blob_path(self, sha256: str) -> Path:
        """Where a blob is or would be."""
        if not _HEX.fullmatch(sha256):
            raise ValueError(f"not a hex SHA-256: {sha256!r}")
        return self.root / "blobs" / "sha256" / sha256

    def has(self, sha256: str) -> bool:
        """Whether the blob is here; from then on no sweep removes it while this process lives."""
        path = self.blob_path(sha256)
        with faults(path):
            return self.session.touch(path)

    def path(self, sha256: str) -> Path:
        """The blob's file, not verified.

        Raises:
            EnvironmentFault: it is not in the store.
        """
        if not self.has(sha256):
            raise EnvironmentFault(
                f"blob {sha256} is not in the store",
                where=str(self.root),
                hint="build again with the network on; what is missing is fetched or made",
            )
        return self.blob_path(sha256)

    def verified(self, sha256: str, size: int | None = None) -> Path:
        """The blob's file, re-hashed once per process.

        Args:
            sha256: which blob.
            size: what a lock says it holds, in bytes.

        Raises:
            EnvironmentFault: it is not in the store.
            IntegrityError: its bytes no longer match its name (it is moved to quarantine), or it is not `size` bytes.
        """
        path = self.path(sha256)
        with faults(path):
            status = path.stat()
            identity = (status.st_ino, status.st_size)
            with self._guard:
                known = self._verified.get(sha256) == identity
            if not known:
                found, _ = hash_file(path)
                if found != sha256:
                    raise self.quarantine(sha256, found)
                with self._guard:
                    self._verified[sha256] = identity
        if size is not None and status.st_size != size:
            raise IntegrityError(
                f"blob {sha256} has {status.st_size} bytes, but {size} were promised",
                where=str(path),
                hint="the lock is wrong about it: run `kbuild lock` again",
            )
        return path

    def quarantine(self, sha256: str, found: str) -> IntegrityError:
        """Move a corrupt blob out of the way and return the error that says so."""
        path, aside = self.blob_path(sha256), self.root / "quarantine" / f"{sha256}.{unique_name()}"
        try:
            make_folder(aside.parent)
            path.rename(aside)
        except FileNotFoundError:
            fate = "another process already moved it away"
        except OSError:
            fate = f"it could not be moved away; remove {path}"
        else:
            fate = f"it was moved to {aside}"
        return IntegrityError(
            f"blob {sha256} is corrupt: its bytes hash to {found}; {fate}",
            where=str(path),
            hint="run `kbuild store verify` to find others; the next build fetches or makes it again",
        )

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob, verified, for reading."""
        path = self.verified(sha256)
        with faults(path):
            return path.open("rb")

    def add(self, data: bytes) -> str:
        """Keep `data`; returns its hex SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.has(sha256) and self.blob_path(sha256).stat().st_size == len(data):
            return sha256
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def writer(self) -> BlobWriter:
        """A context manager that takes bytes and becomes a blob when committed."""
        self.session.begin()
        return BlobWriter(self)

    def adopt(self, temporary: Path, sha256: str) -> None:
        """Give a finished, synced file of this store its name; its bytes were hashed as they were written."""
        path = self.blob_path(sha256)
        with faults(path):
            make_folder(path.parent)
            temporary.chmod(0o444)
            status = temporary.stat()
            temporary.replace(path)
            fsync_folder(path.parent)
        with self._guard:
            self._verified[sha256] = (status.st_ino, status.st_size)

    def temporary(self) -> Path:
        """A fresh name under `tmp/`; whoever creates it holds a flock on it while it is wanted."""
        folder = self.root / "tmp"
        with faults(folder):
            self.session.begin()
            make_folder(folder)
        return folder / unique_name()

    def record_path(self, kind: str, key: str) -> Path:
        """Where a record is or would be."""
        return self.root / "records" / _checked(kind) / _checked(key)

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        """A record that was remembered, or None; a damaged one is as good as none."""
        path = self.record_path(kind, key)
        with faults(path):
            if not self.session.touch(path):
                return None
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        return parse_record(data)

    def remember(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keep a small JSON record, replacing the one of that key."""
        path = self.record_path(kind, key)
        temporary = self.temporary()
        with faults(path):
            make_folder(path.parent)
            write_whole(path, dump_record(value), temporary=temporary)

    def directory(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """A materialised folder, made once and then shared; treat it as read-only.

        Args:
            kind: what sort of folder, as `root`.
            key: what it is made from.
            make: fills the empty folder that it is given. It runs in one process only; if it raises, nothing stays.

        Returns:
            The folder.
        """
        home = self.root / "trees" / _checked(kind) / _checked(key)
        if self._complete(home):
            return home / "tree"
        with self.lock(f"tree-{kind}-{key}"):
            if self._complete(home):
                return home / "tree"
            with faults(home):
                make_folder(home.parent)
                self._discard(home)
            self._build(home, make)
        return home / "tree"

    def _complete(self, home: Path) -> bool:
        with faults(home):
            return self.session.touch(home / "complete")

    def _build(self, home: Path, make: Callable[[Path], None]) -> None:
        aside = self.temporary()
        tree = aside / "tree"
        with faults(aside), contextlib.ExitStack() as stack:
            aside.mkdir()
            stack.callback(_clear, aside)
            aside.chmod(0o700)
            handle = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
            tree.mkdir()
            tree.chmod(0o755)
            cleanup = stack.pop_all()
        with cleanup:
            with faults(tree, only=SCARCITY):
                make(tree)
            with faults(home):
                sync_file_system(aside)
                write_whole(aside / "complete", b"", temporary=aside / "completing")
                aside.rename(home)
                fsync_folder(home.parent)

    def _discard(self, home: Path) -> None:
        """Clear what stands at `home` without its marker: renamed first, so that no one meets it half removed."""
        aside = self.temporary()
        try:
            home.rename(aside)
        except FileNotFoundError:
            return
        remove_tree(aside)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that one process and one thread at a time can have; waits for it."""
        self.session.begin()
        with exclusive(self.root / "locks" / f"{_checked(name)}.lock"):
            yield


class BlobWriter:
    """Bytes on their way into the store; leaving the `with` block without `commit` leaves no trace."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._path = store.temporary()
        self.size = 0

    def __enter__(self) -> Self:
        with faults(self._path):
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._file = os.fdopen(handle, "wb", buffering=CHUNK)
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        file = self._open()
        with faults(self._path):
            file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def commit(self, expect: str | None = None) -> str:
        """Make the bytes a blob; equal bytes that are there already are replaced by these.

        Args:
            expect: the hex SHA-256 that they must have.

        Returns:
            Their hex SHA-256.

        Raises:
            IntegrityError: they have another hash than `expect`.
        """
        file, found = self._open(), self._digest.hexdigest()
        if expect is not None and found != expect:
            raise IntegrityError(f"expected bytes with SHA-256 {expect}, got {found}")
        with faults(self._path):
            file.flush()
            os.fsync(file.fileno())
        self._store.adopt(self._path, found)
        file.close()
        self._file = None
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                self._path.unlink()
            with contextlib.suppress(OSError):
                file.close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("this writer is not open: use it in a `with` block and commit once")
        return self._file


def _clear(aside: Path) -> None:
    """Remove an unfinished tree; one that was finished is no longer there."""
    with contextlib.suppress(OSError):
        remove_tree(aside)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name of the store: {name!r}")
    return name
