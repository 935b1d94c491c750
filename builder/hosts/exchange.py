"""What goes into a run and what comes out of it, as files.

What comes out is as untrusted as any code's output: only the protocol's files are taken, only regular ones, and no link
of the image's is ever followed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path

from builder.errors import UsageError
from builder.store.atomic import faults, make_folder
from builder.store.blobs import Store

RECEIPT = "receipt.json"
RESULTS = ("outputs.safetensors", "trace.safetensors", "trace.json", RECEIPT)
"""The files of a run, the receipt last: where it is, the others are whole."""

RUNS = "runs"
"""Results that are kept in the store are trees of this kind."""


def named(inputs: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The inputs under names of their own: two files of one name come from two folders.

    Raises:
        UsageError: an input is no file, or its name would make the runtime ignore it.
    """
    taken: set[str] = set()
    for index, path in enumerate(inputs):
        if not path.is_file():
            raise UsageError("no such file" if not path.exists() else "not a file", where=str(path))
        if path.name.startswith("."):
            raise UsageError("its name begins with a dot, so a kernel would not read it", where=str(path))
        name = path.name if path.name not in taken else f"{index}-{path.name}"
        taken.add(name)
        yield name, path


def given(inputs: Sequence[Path], requests: Mapping[str, bytes], folder: Path) -> Path:
    """A folder for `/io/in`: copies, which nobody changes while the image reads them.

    Raises:
        UsageError: an input is no file, or cannot be read.
    """
    folder.mkdir()
    folder.chmod(0o755)
    for name, path in named(inputs):
        target = folder / name
        try:
            with path.open("rb") as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except PermissionError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
        target.chmod(0o644)
    for name, data in requests.items():
        if not name.startswith(".") or "/" in name:
            raise ValueError(f"{name!r} is no name of a request")
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    return folder


def opened(path: Path) -> BufferedReader | None:
    """A regular file that an image left, never what a link of it leads to."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return os.fdopen(handle, "rb")


def deliver(results: Path, output: Path, names: Sequence[str] = RESULTS) -> Path:
    """Put the results of these names where they are wanted, each file as a whole; those of an earlier run go."""
    with faults(output):
        make_folder(output)
        _put(results, output, names)
    return output


def keep(store: Store, results: Path) -> Path:
    """Keep the results in the store.

    Returns:
        Their folder, whose parent's name is made from them: `kept` finds them by it.
    """
    return store.directory(RUNS, _fingerprint(results), lambda folder: _put(results, folder, RESULTS))


def kept(store: Store, name: str) -> Path | None:
    """The folder of results that were kept under a name, unless they were swept away since."""

    def missing(_: Path) -> None:
        raise FileNotFoundError

    try:
        return store.directory(RUNS, name, missing)
    except FileNotFoundError:
        return None


def _fingerprint(results: Path) -> str:
    """A hash of a run's files."""
    state = hashlib.sha256()
    for name in RESULTS:
        if source := opened(results / name):
            with source:
                state.update(f"{name}\0{hashlib.file_digest(source, 'sha256').hexdigest()}\n".encode())
    return state.hexdigest()


def _put(results: Path, folder: Path, names: Sequence[str]) -> None:
    for name in reversed(RESULTS):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        source = opened(results / name)
        if source is None:
            continue
        part = folder / f".{name}.part"
        with source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        part.replace(folder / name)
