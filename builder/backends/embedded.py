"""The embedded backend: actions in bubblewrap, with nothing installed but kbuild itself.

What an action sees of this machine is its CPU, the kernel and the clock. Its root is made from debs by the rules of an
image's base layer; its inputs are copies with the action's epoch for a time, since a blob's own time says when it was
fetched, and compilers can put a file's time into their output.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from builder.backends import bwrap
from builder.backends.action import OUTPUT, Action
from builder.backends.roots import deb_root, emulator
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, environment, root_names
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault, KernelError
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.packages import PackageReader
from builder.layers.tar import write_tar
from builder.platforms import host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.atomic import make_folder
from builder.store.blobs import Store

RECORDS = "actions"
"""What the store remembers outputs under: key = `Action.key()`, value = `{"output": <hex SHA-256>}`."""

_LINES = 30
"""Lines of a failed command's output that its error shows."""


class EmbeddedBackend:
    """Runs actions in bubblewrap on this machine.

    Args:
        store: has the blobs that actions name, and takes their outputs.
        artifacts: every deb that actions name and every tool, such as all artifacts of the locks in use.
        packages: reads the debs.
        allow_scripts: as `builder.layers.root.root_entries`.
    """

    name = "embedded"

    def __init__(
        self,
        store: Store,
        artifacts: Sequence[Artifact],
        packages: PackageReader,
        *,
        allow_scripts: Collection[str] = (),
    ) -> None:
        self._store = store
        self._packages = packages
        self._artifacts: Mapping[str, Artifact] = {item.sha256: item for item in artifacts}
        self._allow_scripts = allow_scripts

    def check(self) -> None:
        """Raise `EnvironmentFault`, saying what to enable, if no sandbox can be made here."""
        bwrap.check()

    def run(self, action: Action, progress: Progress) -> str:
        """Run an action, or find its output; see `builder.backends.action.Backend`."""
        key = action.key()
        if found := self._recall(key):
            return found
        with self._store.lock(f"action-{key}"):
            if found := self._recall(key):
                return found
            with progress.step(action.name) as step:
                foreign = action.platform != host_platform()
                if foreign:
                    step.note("emulated")
                output = self._run(action, foreign=foreign)
            self._store.remember(RECORDS, key, {"output": output})
        return output

    def _recall(self, key: str) -> str | None:
        record = self._store.recall(RECORDS, key)
        output = record.get("output") if record else None
        return output if isinstance(output, str) and self._store.has(output) else None

    def _run(self, action: Action, *, foreign: bool) -> str:
        program = bwrap.program()
        root = deb_root(
            self._store, self._packages, self._debs(action), epoch=action.epoch, allow_scripts=self._allow_scripts
        )
        runner = None
        if foreign:
            tools = [item for item in self._artifacts.values() if "tools" in item.roles]
            runner = Emulator(emulator(self._store, tools, host=host_platform(), guest=action.platform))
        with workplace(self._store) as place:
            output = place / "out"
            output.mkdir()
            output.chmod(0o755)
            sandbox = Sandbox(
                root=root,
                names=root_names(root),
                argv=action.argv,
                env=environment(action.env, epoch=action.epoch),
                mounts=(*_inputs(action, self._store, place / "in"), Mount(output, OUTPUT, writable=True)),
                emulator=runner,
            )
            ended = bwrap.execute(command(program, sandbox))
            if ended.status != 0:
                raise failure(action, ended)
            return _keep(action, output, self._store)

    def _debs(self, action: Action) -> list[Artifact]:
        missing = [sha256 for sha256 in action.root if sha256 not in self._artifacts]
        if missing:
            raise KeyError(f"{action.name} is made of debs that this backend was not told of: {missing}")
        return [self._artifacts[sha256] for sha256 in action.root]


def failure(action: Action, ended: bwrap.Ended) -> KernelError:
    """What a failed command said, as an error."""
    lines = ended.output.rstrip().splitlines()[-_LINES:]
    signal = ended.status - 128  # what shells and bubblewrap make of a signal's number
    how = f"was killed by signal {signal}" if signal > 0 else f"ended with status {ended.status}"
    said = "\n".join(f"    {line}" for line in lines)
    return KernelError(f"{action.argv[0]} {how}{':' if said else ''}\n{said}".rstrip(), where=action.name)


def _inputs(action: Action, store: Store, folder: Path) -> list[Mount]:
    """Copies of the inputs, one folder for each name directly below / that holds some."""
    tops = set()
    for item in action.inputs:
        parts = PurePosixPath(item.path).parts
        if parts[0] != "/" or len(parts) < 3 or ".." in parts:  # noqa: PLR2004 - a folder and a file
            raise ValueError(f"an input at {item.path!r}")
        tops.add(parts[1])
        target = folder.joinpath(*parts[1:])
        make_folder(target.parent)
        shutil.copyfile(store.verified(item.sha256), target)
        target.chmod(0o755 if item.executable else 0o644)
        os.utime(target, (action.epoch, action.epoch))
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o755)
        os.utime(parent, (action.epoch, action.epoch))
    return [Mount(folder / top, f"/{top}") for top in sorted(tops)]


def _keep(action: Action, output: Path, store: Store) -> str:
    """Take an output folder into the store, as a canonical tar without anything that varies."""
    entries = ordered(_outputs(action, output, ""), epoch=action.epoch)
    with store.writer() as writer:
        write_tar(entries, writer.write)
        return writer.commit()


def _outputs(action: Action, folder: Path, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        items = list(found)
    for item in items:
        path = f"{prefix}{item.name}"
        status = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield Entry(path, Kind.DIRECTORY, 0o755, action.epoch)
            yield from _outputs(action, folder / item.name, f"{path}/")
        elif stat.S_ISREG(status.st_mode):
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            source = partial(_open, folder / item.name)
            yield Entry(path, Kind.FILE, mode, action.epoch, size=status.st_size, source=source)
        else:
            raise KernelError(f"left {path} behind, which is neither a file nor a folder", where=action.name)


def _open(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", path.open("rb", buffering=0))
    except PermissionError as error:
        raise EnvironmentFault(f"cannot read what the action wrote: {error.strerror}", where=str(path)) from error
