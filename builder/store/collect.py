"""Looking after a store: finding what decayed, and removing what no image needs.

What stays: the blobs of remembered images, records that speak of a kept blob, whatever is younger than asked for, and
whatever a living process touched since it began (`builder.store.locks`). Everything else can be fetched or made again.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from builder.errors import KbuildError
from builder.machine import usable_cores
from builder.progress import Progress
from builder.store.atomic import faults, make_folder, remove_tree
from builder.store.blobs import Store, hash_file
from builder.store.locks import SLACK_NS, alive
from builder.store.records import parse_record

DAY = 86_400
OLDER_THAN = 30 * DAY
"""Seconds that something unused stays by default."""

IMAGES = "images"
"""Records of this kind are the roots: key = hex digest of an image's index, `blobs` = hex digests that it needs."""

_GRACE = 60
"""A temporary file this young (seconds) may be one whose maker has not locked it yet."""

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found; `size` is in bytes, `corrupt` holds hex SHA-256, `strays` file names."""

    checked: int
    size: int
    corrupt: tuple[str, ...]
    strays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a sweep removed, as counts, and sizes in bytes."""

    blobs: int
    records: int
    trees: int
    temporaries: int
    freed: int
    kept: int
    kept_size: int


def verify(store: Store, progress: Progress) -> VerifyReport:
    """Re-hash every blob, on every core; corrupt ones are moved to quarantine.

    Returns:
        What was found. A blob that another process removes meanwhile is not counted.
    """
    folder = store.root / "blobs" / "sha256"
    with faults(folder):
        present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        names = [name for name in present if _HEX.fullmatch(name)]
        total = sum(_size(folder / name) for name in names)

    with progress.step("verify", total) as step, ThreadPoolExecutor(usable_cores()) as pool:

        def check(name: str) -> tuple[str, int, KbuildError | None] | None:
            try:
                found, size = hash_file(folder / name)
            except FileNotFoundError:
                return None
            step.advance(size)
            return name, size, None if found == name else store.quarantine(name, found)

        with faults(folder):
            checked = [result for result in pool.map(check, names) if result]
    for _, _, error in checked:
        if error:
            progress.warn(error.message)
    return VerifyReport(
        checked=len(checked),
        size=sum(size for _, size, _ in checked),
        corrupt=tuple(name for name, _, error in checked if error),
        strays=tuple(name for name in present if not _HEX.fullmatch(name)),
    )


def images(store: Store) -> dict[str, dict[str, Any]]:
    """The remembered images: hex digest of the index to its record."""
    folder = store.root / "records" / IMAGES
    with faults(folder):
        keys = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        records = {key: parse_record((folder / key).read_bytes()) for key in keys}
    return {key: record for key, record in records.items() if record is not None}


def mark(remembered: dict[str, dict[str, Any]], keep: Collection[str]) -> frozenset[str]:
    """Hex digests of all blobs that the images `keep` need. Pure."""
    return frozenset(digest for key in keep if key in remembered for digest in {key, *mentioned(remembered[key])})


def mentioned(value: Any) -> Iterator[str]:
    """Every hex SHA-256 in a JSON value, keys included, `sha256:` before it or not. Pure."""
    match value:
        case str():
            if _HEX.fullmatch(bare := value.removeprefix("sha256:")):
                yield bare
        case dict():
            for key, inner in value.items():
                yield from mentioned(key)
                yield from mentioned(inner)
        case list():
            for inner in value:
                yield from mentioned(inner)


def collect(store: Store, *, keep: Collection[str] | None = None, older_than: float = OLDER_THAN) -> GcReport:
    """Mark and sweep.

    Args:
        store: the store.
        keep: hex index digests of the images to keep; by default every remembered image. The others are forgotten.
        older_than: seconds since its last use after which something that no kept image needs goes.

    Returns:
        What was removed.
    """
    with store.lock("gc"), faults(store.root):
        remembered = images(store)
        roots = remembered.keys() if keep is None else set(keep)
        marked = mark(remembered, roots)
        make_folder(store.session.folder)
        sweep = _Sweep(store, _cutoff(store, older_than))
        sweep.records(marked, roots)
        sweep.blobs(marked)
        sweep.trees()
        sweep.leftovers()
    return GcReport(**sweep.counts)


def _cutoff(store: Store, older_than: float) -> int:
    """The newest time, in ns, at which something may have been used last and still go.

    No session can begin while this looks, so one that it does not see began later and touches what it uses.
    """
    with _alone(store.session.sweep):
        cutoff = min(time.time_ns() - SLACK_NS, time.time_ns() - int(older_than * 1e9))
        for path in store.session.folder.iterdir():
            if alive(path):
                with suppress(FileNotFoundError):
                    cutoff = min(cutoff, path.stat().st_mtime_ns)
            elif _older(path, time.time_ns() - _GRACE * 10**9):
                path.unlink(missing_ok=True)
    return cutoff


class _Sweep:
    """One sweep; `counts` are the fields of its report."""

    def __init__(self, store: Store, cutoff: int) -> None:
        self._store = store
        self._cutoff = cutoff
        self.counts = dict.fromkeys(("blobs", "records", "trees", "temporaries", "freed", "kept", "kept_size"), 0)

    def blobs(self, marked: Collection[str]) -> None:
        for path in _listing(self._store.root / "blobs" / "sha256"):
            size = _size(path)
            if path.name not in marked and self._remove("blobs", path, path.unlink, size):
                continue
            self.counts["kept"] += 1
            self.counts["kept_size"] += size

    def records(self, marked: Collection[str], roots: Collection[str]) -> None:
        for kind in _listing(self._store.root / "records"):
            for path in _listing(kind):
                if kind.name == IMAGES:
                    wanted = path.name in roots
                else:
                    wanted = any(digest in marked for digest in mentioned(parse_record(path.read_bytes())))
                if not wanted:
                    self._remove("records", path, path.unlink, _size(path))

    def trees(self) -> None:
        for kind in _listing(self._store.root / "trees"):
            for home in _listing(kind):
                aside = self._store.temporary()
                if self._remove("trees", home / "complete", partial(home.rename, aside)):
                    self.counts["freed"] += _tree_size(aside)
                    remove_tree(aside)

    def leftovers(self) -> None:
        """Partial downloads, quarantined blobs, and what killed processes left in `tmp`."""
        for path in _listing(self._store.root / "partial"):
            if not alive(path):
                self._remove("temporaries", path, path.unlink, _size(path))
        for path in _listing(self._store.root / "quarantine"):
            self._remove("temporaries", path, path.unlink, _size(path))
        for path in _listing(self._store.root / "tmp"):
            if _older(path, time.time_ns() - _GRACE * 10**9) and not alive(path):
                self.counts["freed"] += _tree_size(path) if path.is_dir() else _size(path)
                self.counts["temporaries"] += 1
                with suppress(FileNotFoundError):
                    remove_tree(path) if path.is_dir() else path.unlink()

    def _remove(self, what: str, path: Path, remove: Callable[[], object], size: int = 0) -> bool:
        """Remove what was not used since the cutoff: looked at again while no one can begin to use it."""
        if not _older(path, self._cutoff):
            return False
        with _alone(self._store.session.sweep):
            if not _older(path, self._cutoff):
                return False
            try:
                remove()
            except FileNotFoundError:
                return False
        self.counts[what] += 1
        self.counts["freed"] += size
        return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _listing(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _older(path: Path, cutoff: int) -> bool:
    try:
        return path.lstat().st_mtime_ns < cutoff
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _tree_size(path: Path) -> int:
    return sum(_size(Path(parent, name)) for parent, _, files in os.walk(path) for name in files)
