"""A rendered directory as data, and writing it: whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import EnvironmentFault, UsageError
from builder.layers.order import check_path
from builder.store.atomic import fsync_folder, remove_tree, sync_file_system, unique_name
from builder.store.blobs import Store

MARK = ".kbuild-rendered.json"
"""Lists every file of a rendered directory, so that a later rendering replaces nothing but its own."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """A file whose bytes the store has; `size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Context:
    """What a rendered directory holds: text, bytes or blobs by relative path.

    `later` are files that may come to be there afterwards without being a stranger's, such as fetched inputs; a later
    rendering that expects them too keeps them.
    """

    files: Mapping[str, str | bytes | Blob]
    executable: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()


def write(context: Context, target: Path, store: Store) -> None:
    """Write a rendered directory, in place of an earlier one.

    It is built beside its place and renamed. Whoever is killed on the way leaves a folder with a leading dot, which
    the next one removes.

    Args:
        context: what to write.
        target: must not exist, be empty, or hold what an earlier call wrote and nothing else.
        store: has the blobs.

    Raises:
        UsageError: something else stands there.
        EnvironmentFault: it cannot be written.
        IntegrityError: a blob is corrupt, or a path is not plain.
    """
    for path in context.files:
        check_path(path, "rendered directory")
    target = target.absolute()
    try:
        check_free(target)
        if not target.parent.is_dir():
            raise UsageError(f"there is no folder {target.parent}", hint="create it first")
        with _aside(target) as made:
            _fill(made / "new", context, store)
            _take_along(target, made / "new", context)
            sync_file_system(made)
            check_free(target)
            if target.exists():
                target.rename(made / "old")
            (made / "new").rename(target)
            fsync_folder(target.parent)
    except OSError as error:
        raise EnvironmentFault(
            f"{target} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error


def check_free(target: Path) -> None:
    """Refuse to replace anything that no rendering wrote.

    Raises:
        UsageError: something else stands there.
    """
    if not target.is_symlink() and (not target.exists() or (target.is_dir() and not any(target.iterdir()))):
        return
    strange: str | None = "."
    if target.is_dir() and not target.is_symlink():
        strange = _stranger(target)
    if strange is not None:
        what = f"{strange} was not written by `kbuild render`" if strange != "." else "is not a rendered directory"
        raise UsageError(f"{target}: {what}", hint="choose another folder, or remove what is there")


def _stranger(target: Path) -> str | None:
    try:
        listed = json.loads((target / MARK).read_bytes())
        known = {*map(str, listed["files"]), *map(str, listed["later"]), MARK}
    except (OSError, ValueError, KeyError, TypeError):
        return "."
    for parent, _, names in os.walk(target):
        for name in names:
            path = Path(parent, name).relative_to(target).as_posix()
            if path not in known:
                return path
    return None


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A folder beside the target that nobody else uses; those that a killed process left are removed."""
    prefix = f".{target.name}.kbuild-"
    for left in list(target.parent.iterdir()):
        if left.name.startswith(prefix):
            _clear(left)
    made = target.parent / f"{prefix}{unique_name()}"
    made.mkdir()
    made.chmod(0o700)
    handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield made
    finally:
        os.close(handle)
        _clear(made)


def _clear(folder: Path) -> None:
    """Remove a folder unless a living process holds it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
        finally:
            os.close(handle)


def _fill(folder: Path, context: Context, store: Store) -> None:
    _mkdir(folder)
    listed = {"files": sorted(context.files), "later": sorted(context.later)}
    files = {**context.files, MARK: json.dumps(listed, indent=1) + "\n"}
    for path, content in files.items():
        place = folder / path
        for parent in reversed(place.relative_to(folder).parents[:-1]):
            if not (folder / parent).is_dir():
                _mkdir(folder / parent)
        _put(place, content, store)
        place.chmod(0o755 if path in context.executable else 0o644)


def _take_along(old: Path, new: Path, context: Context) -> None:
    """Keep what was fetched into an earlier rendering and is still wanted."""
    for path in context.later - context.files.keys():
        if (old / path).is_file() and not (old / path).is_symlink():
            if not (new / path).parent.is_dir():
                _mkdir((new / path).parent)
            os.link(old / path, new / path)


def _mkdir(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def _put(place: Path, content: str | bytes | Blob, store: Store) -> None:
    if isinstance(content, Blob):
        with store.verified(content.sha256, content.size).open("rb") as source, place.open("xb") as out:
            while data := source.read(_CHUNK):
                out.write(data)
    else:
        place.write_bytes(content.encode() if isinstance(content, str) else content)
