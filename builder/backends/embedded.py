"""The embedded backend: actions in bubblewrap, with nothing installed but kbuild itself.

What an action sees of this machine is its CPU, the kernel and the clock. Its root is made from debs by the rules of an
image's base layer; its inputs are copies with the action's epoch for a time, since a blob's own time says when it was
fetched, and compilers can put a file's time into their output.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from builder.backends import bwrap
from builder.backends.action import OUTPUT, Action
from builder.backends.outputs import failure, folder_entries, input_parts, keep, once, root_debs
from builder.backends.provided import Provided
from builder.backends.roots import deb_root, emulator
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, environment, root_names
from builder.backends.workplace import workplace
from builder.platforms import host_platform
from builder.progress import Progress
from builder.store.atomic import make_folder
from builder.store.blobs import Store

RECORDS = "actions"
"""What the store remembers outputs under: key = `Action.key()`, value = `{"output": <hex SHA-256>}`."""


class EmbeddedBackend(Provided):
    """Runs actions in bubblewrap on this machine."""

    name = "embedded"

    def check(self) -> None:
        """Raise `EnvironmentFault`, saying what to enable, if no sandbox can be made here."""
        bwrap.check()

    def run(self, action: Action, progress: Progress) -> str:
        """Run an action, or find its output; see `builder.backends.action.Backend`."""

        def make() -> str:
            with progress.step(action.name) as step:
                foreign = action.platform != host_platform()
                if foreign:
                    step.note("emulated")
                return self._run(action, foreign=foreign)

        return once(action, self._store, RECORDS, make)

    def _run(self, action: Action, *, foreign: bool) -> str:
        program = bwrap.program()
        root = deb_root(
            self._store,
            self._packages,
            root_debs(action, self._artifacts),
            epoch=action.epoch,
            allow_scripts=self._allow_scripts,
        )
        runner = None
        if foreign:
            runner = Emulator(emulator(self._store, self._tools(), host=host_platform(), guest=action.platform))
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
                raise failure(action, ended.status, ended.output)
            return keep(action, folder_entries(action, output), self._store)


def _inputs(action: Action, store: Store, folder: Path) -> list[Mount]:
    """Copies of the inputs, one folder for each name directly below / that holds some."""
    tops = set()
    for item in action.inputs:
        parts = input_parts(item.path)
        tops.add(parts[0])
        target = folder.joinpath(*parts)
        make_folder(target.parent)
        shutil.copyfile(store.verified(item.sha256), target)
        target.chmod(0o755 if item.executable else 0o644)
        os.utime(target, (action.epoch, action.epoch))
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o755)
        os.utime(parent, (action.epoch, action.epoch))
    return [Mount(folder / top, f"/{top}") for top in sorted(tops)]
