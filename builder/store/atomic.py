"""Writing files so that a reader sees the whole file or none, whatever kills the writer, and naming what went wrong.

The rule everywhere: write beside the destination on the same file system, fsync, rename, fsync the folder. A rename is
atomic on POSIX; the fsync before it keeps the name from surviving a power cut that the bytes did not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import EnvironmentFault

_MOVE = "set KBUILD_STORE to a folder that this user can write to"
_SPACE = "free some space (`kbuild store gc`), or set KBUILD_STORE to a folder on a larger disk"
_FAULTS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EFBIG: ("the file would be larger than this process or file system allows", "raise the limit (`ulimit -f`)"),
    errno.EROFS: ("the file system is read-only", _MOVE),
    errno.EACCES: ("permission denied", _MOVE),
    errno.EPERM: ("operation not permitted", _MOVE),
    errno.ENOTDIR: ("a part of the path is not a folder", _MOVE),
    errno.EEXIST: ("something that is not a folder stands in the way", _MOVE),
    errno.ELOOP: ("the path has a loop of symbolic links", _MOVE),
    errno.ENAMETOOLONG: ("the path is too long", "set KBUILD_STORE to a shorter path"),
    errno.EMFILE: ("too many open files in this process", "raise the limit (`ulimit -n`) or lower KBUILD_JOBS"),
    errno.ENFILE: ("too many open files on this machine", "close some programs or lower KBUILD_JOBS"),
    errno.EIO: ("the disk reports an input/output error", "check the disk; then run `kbuild store verify`"),
    errno.ESTALE: ("the network file system lost the file", "mount it again, or set KBUILD_STORE to a local folder"),
}


SCARCITY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EIO})
"""The refusals that are never a caller's mistake."""

_OWNER = 0o700


@contextmanager
def faults(path: Path, *, only: Collection[int] = _FAULTS.keys()) -> Iterator[None]:
    """Turn a machine's refusal around the work with `path` into one clear error; other errors are bugs and pass.

    Args:
        path: what is worked with.
        only: the error numbers to translate.

    Raises:
        EnvironmentFault: disk full, quota, read-only, no permission and their like.
    """
    try:
        yield
    except OSError as error:
        known = _FAULTS.get(error.errno or 0) if error.errno in only else None
        if known is None:
            raise
        what, hint = known
        place = error.filename if isinstance(error.filename, str) else str(path)
        raise EnvironmentFault(f"cannot use {place}: {what}", where=str(path), hint=hint) from error


def make_folder(path: Path) -> None:
    """Create a folder and its parents; the umask narrows what others may do, never what the owner may."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_dir():
            return
        raise
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OWNER != _OWNER:
        path.chmod(mode | _OWNER)


def fsync_folder(path: Path) -> None:
    """Make a rename inside `path` outlive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders keeps their order itself
            raise
    finally:
        os.close(handle)


def sync_file_system(path: Path) -> None:
    """Flush the file system that holds `path`: one call for a tree of thousands of files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            syncfs = ctypes.CDLL(None, use_errno=True).syncfs
        except (OSError, AttributeError):
            os.sync()
            return
        if syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(handle)


def unique_name() -> str:
    """A name that no other writer picks; it tells nothing and never reaches an image."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def write_whole(path: Path, data: bytes, *, temporary: Path) -> None:
    """Put `data` at `path` atomically and durably.

    Args:
        path: the destination, replaced if present.
        data: all of the file.
        temporary: a name on the same file system that no one else uses.
    """
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a tree, read-only folders included, without ever following a symbolic link."""
    if not path.is_symlink():
        path.chmod(_OWNER)
        for parent, folders, _files in os.walk(path):
            for name in folders:
                inner = Path(parent, name)
                if not inner.is_symlink():
                    inner.chmod(_OWNER)
    shutil.rmtree(path)
