"""The Docker backend: actions as builds of a rendered Dockerfile, on any engine that Docker's configuration names.

The root of an action becomes an image of one layer, sent once to each engine and checked by its diff ID ever after;
all else travels with the build. The output comes back as a tar, which is read as one from a stranger: bounded, plain
paths, files and folders only. `docs/backends.md` says what is left in an engine and how to remove it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from builder.backends import docker_buildkit as buildkit
from builder.backends import docker_classic as classic
from builder.backends.action import OUTPUT, Action
from builder.backends.docker_context import context, dockerfile, inputs
from builder.backends.docker_engine import Engine, connected
from builder.backends.docker_outcome import LARGEST, Outcome
from builder.backends.docker_root import RootImage, root_image, root_tar
from builder.backends.outputs import failure, keep, once, root_debs
from builder.backends.provided import Provided
from builder.backends.roots import emulator, root_key
from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.debtar import read_deb_tar
from builder.layers.entry import Entry, Kind
from builder.layers.spool import Spool
from builder.progress import Progress, Step
from builder.store.artifact import Artifact

RECORDS = "actions-docker"
"""What the store remembers outputs under: never the embedded backend's, so that two builders are two witnesses."""

_KILLED = 137
"""128 + SIGKILL, which no compiler sends itself: the container was killed, by hand or for want of memory."""

_PATIENCE = 2
"""How often a build begins anew because somebody prunes the engine's images meanwhile."""


class DockerBackend(Provided):
    """Runs actions on a Docker engine."""

    name = "docker"

    def check(self) -> None:
        """Raise `EnvironmentFault`, saying what to do, if no engine can be used.

        What killed builds left in the engine is removed on the way.
        """
        with connected() as engine:
            classic.sweep(engine)
            buildkit.check()

    def run(self, action: Action, progress: Progress) -> str:
        """Run an action, or find its output; see `builder.backends.action.Backend`."""

        def make() -> str:
            debs = root_debs(action, self._artifacts)
            with progress.step(action.name) as step, connected() as engine:
                return self._run(action, debs, engine, step)

        return once(action, self._store, RECORDS, make)

    def _run(self, action: Action, debs: Sequence[Artifact], engine: Engine, step: Step) -> str:
        foreign = action.platform != engine.platform
        step.note("docker, emulated" if foreign else "docker")
        runner = None
        if foreign:
            runner = emulator(self._store, self._tools(), host=engine.platform, guest=action.platform)
        bundle = inputs(action, self._store, runner)
        make_root = partial(root_tar, self._packages, debs, epoch=action.epoch, allow_scripts=self._allow_scripts)
        if buildkit.wanted():
            root = make_root()
            text = dockerfile(action, root=root.digest, image=None, bundle=bundle.digest, emulator=runner)
            parts = context(text, [root, bundle], epoch=action.epoch)
            outcome = buildkit.build(engine, parts, epoch=action.epoch, store=self._store)
        else:
            rooted = partial(root_image, engine, self._store, root_key(debs, epoch=action.epoch), make_root)

            def build(image: RootImage) -> Outcome:
                text = dockerfile(action, root=image.root, image=image.id, bundle=bundle.digest, emulator=runner)
                return classic.build(engine, context(text, [bundle], epoch=action.epoch), keep=image.id)

            for _ in range(_PATIENCE):
                with suppress(classic.ImageGone):
                    outcome = build(rooted())
                    break
            else:
                outcome = build(rooted())
        if outcome.status == _KILLED:
            raise EnvironmentFault(
                "its container was killed before it was done",
                where=action.name,
                hint="for want of memory? `dmesg` on the engine's machine says so; then run kbuild again",
            )
        if outcome.status != 0 or outcome.tar is None:
            raise failure(action, outcome.status, outcome.output)
        return keep(action, output_entries(action, outcome.tar), self._store)


def output_entries(action: Action, tar: Spool) -> Iterator[Entry]:
    """What an action left, out of a tar that an engine made; a file with several names is a file at each.

    Raises:
        IntegrityError: the tar is malformed or holds what no tar of a folder of files would.
    """
    found = read_deb_tar(tar, action.name)
    left = LARGEST
    files = {entry.path: entry for entry in found if entry.kind is Kind.FILE}
    below = f"{OUTPUT.removeprefix('/')}/"
    for entry in found:
        if entry.path == below[:-1] and entry.kind is Kind.DIRECTORY:
            continue
        if not entry.path.startswith(below):
            raise IntegrityError(f"the engine's tar of {OUTPUT} holds {entry.path!r}", where=action.name)
        content = files[entry.target] if entry.kind is Kind.HARDLINK else entry
        left -= content.size
        if left < 0:
            raise IntegrityError(f"the files of {OUTPUT} have more than {LARGEST} bytes", where=action.name)
        yield replace(content, path=entry.path.removeprefix(below))
