"""What every backend does with an action beside running it: remember it, keep its output, explain its failure.

An output is what the action left in its folder, as a canonical tar without anything that varies from run to run or
from backend to backend: names, contents and the owner's right to execute are left, nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from builder.backends.action import Action
from builder.errors import EnvironmentFault, KernelError
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.tar import write_tar
from builder.store.artifact import Artifact
from builder.store.blobs import Store

_LINES = 30
"""Lines of a failed command's output that its error shows."""


def once(action: Action, store: Store, records: str, make: Callable[[], str]) -> str:
    """The action's output: remembered, or made by one thread of one process while the others wait.

    Args:
        action: to be run at most once.
        store: has the outputs.
        records: the kind of record that outputs are remembered under, one for each backend: value =
            `{"output": <hex SHA-256>}`.
        make: runs it and returns the hex SHA-256 of its output.
    """
    key = action.key()
    if found := _recall(store, records, key):
        return found
    with store.lock(f"{records}-{key}"):
        if found := _recall(store, records, key):
            return found
        output = make()
        store.remember(records, key, {"output": output})
    return output


def _recall(store: Store, records: str, key: str) -> str | None:
    record = store.recall(records, key)
    output = record.get("output") if record else None
    return output if isinstance(output, str) and store.has(output) else None


def keep(action: Action, found: Iterable[Entry], store: Store) -> str:
    """Take what an action left into the store, normalised.

    Args:
        action: whose output it is.
        found: its files and folders, by paths relative to the output folder.
        store: takes the tar.

    Returns:
        The tar's hex SHA-256.

    Raises:
        KernelError: the action left something behind that is neither a file nor a folder.
    """
    entries = ordered((_normal(action, entry) for entry in found), epoch=action.epoch)
    with store.writer() as writer:
        write_tar(entries, writer.write)
        return writer.commit()


def _normal(action: Action, entry: Entry) -> Entry:
    if entry.kind is Kind.DIRECTORY:
        mode = 0o755
    elif entry.kind is Kind.FILE:
        mode = 0o755 if entry.mode & stat.S_IXUSR else 0o644
    else:
        raise stray(action, entry.path)
    return replace(entry, mode=mode, mtime=action.epoch, uid=0, gid=0, xattrs=())


def stray(action: Action, path: str) -> KernelError:
    """What is said of an action that left a link, a pipe or a device behind."""
    return KernelError(f"left {path} behind, which is neither a file nor a folder", where=action.name)


def folder_entries(action: Action, folder: Path, prefix: str = "") -> Iterator[Entry]:
    """What an action left in a folder of this machine; no link in it is followed.

    Raises:
        KernelError: something in it is neither a file nor a folder.
    """
    with os.scandir(folder) as found:
        items = list(found)
    for item in items:
        path = f"{prefix}{item.name}"
        status = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield Entry(path, Kind.DIRECTORY, 0o755, action.epoch)
            yield from folder_entries(action, folder / item.name, f"{path}/")
        elif stat.S_ISREG(status.st_mode):
            source = partial(_open, folder / item.name)
            mode = stat.S_IMODE(status.st_mode)
            yield Entry(path, Kind.FILE, mode, action.epoch, size=status.st_size, source=source)
        else:
            raise stray(action, path)


def root_debs(action: Action, artifacts: Mapping[str, Artifact]) -> list[Artifact]:
    """The debs that an action's root is made of, in its order, out of all that a backend was told of.

    Raises:
        EnvironmentFault: it is made of something else, which this backend cannot do.
    """
    if action.nixpkgs is not None:
        raise EnvironmentFault(
            "is compiled by a compiler of nixpkgs, which only Nix can run",
            where=action.name,
            hint="build with --backend nix",
        )
    missing = [sha256 for sha256 in action.root if sha256 not in artifacts]
    if missing:
        raise KeyError(f"{action.name} is made of debs that this backend was not told of: {missing}")
    return [artifacts[sha256] for sha256 in action.root]


def input_parts(path: str) -> tuple[str, ...]:
    """The components of an input's absolute path.

    Raises:
        ValueError: it does not stand below a folder, or not plainly.
    """
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or len(parts) < 3 or ".." in parts:  # noqa: PLR2004 - a folder and a file
        raise ValueError(f"an input at {path!r}")
    return parts[1:]


def failure(action: Action, status: int, output: str) -> KernelError:
    """What a failed command said, as an error.

    Args:
        action: that ran it.
        status: its exit status, or 128 + n for signal n, as shells, bubblewrap and Docker have it.
        output: what it printed, or the end of that.
    """
    lines = output.rstrip().splitlines()[-_LINES:]
    signal = status - 128
    how = f"was killed by signal {signal}" if signal > 0 else f"ended with status {status}"
    said = "\n".join(f"    {line}" for line in lines)
    return KernelError(f"{action.argv[0]} {how}{':' if said else ''}\n{said}".rstrip(), where=action.name)


def _open(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", path.open("rb", buffering=0))
    except PermissionError as error:
        raise EnvironmentFault(f"cannot read what the action wrote: {error.strerror}", where=str(path)) from error
