"""The Nix backend: actions as derivations, built in Nix's sandbox.

Nix gets every input by its hash and the expression of `templates/image.nix.j2` over the library in nix/. It unpacks
the packages itself, with a BusyBox that the lock names, and runs the command at the paths that every backend has.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from builder.backends.action import Action
from builder.backends.busybox import PACKAGE as BUSYBOX_PACKAGE
from builder.backends.busybox import busybox, busybox_deb
from builder.backends.nix_expression import (
    BUSYBOX,
    LIBRARY,
    NIXPKGS,
    Ingredients,
    Named,
    deb_name,
    render_action,
    render_probe,
    store_name,
)
from builder.backends.nix_faults import OWN_WORDS, refusal
from builder.backends.nix_root import additions, names, write_plain_tar
from builder.backends.nix_tools import ALONE, BuildFailed, FixedFile, Nix
from builder.backends.nixpkgs import nixpkgs_tar
from builder.backends.outputs import failure, folder_entries, input_parts, keep, once, root_debs, stray
from builder.backends.provided import Provided
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault, KernelError
from builder.layers.packages import PackageReader
from builder.layers.root import root_entries
from builder.lock.model import FORMAT
from builder.platforms import host_platform
from builder.progress import Progress
from builder.resources import shipped
from builder.store.artifact import Artifact
from builder.store.blobs import Store

RECORDS = "actions-nix"
"""What the store remembers outputs under; see `builder.backends.outputs.once`."""

_ROOTS = "nix-additions"
"""What the store remembers a root's additions under: value = `{"additions": <hex SHA-256>, "names": ...}`."""

_EXPRESSION = "image.nix"
_RESULT = "result"
_STATUS = re.compile(rf"^{OWN_WORDS}the command ended with status (\d+)\n?\Z", re.MULTILINE)
_STRAY = re.compile(rf"^{OWN_WORDS}left (.*) behind\n?\Z", re.MULTILINE)


class NixBackend(Provided):
    """Runs actions in the sandbox of this machine's Nix."""

    name = "nix"

    def __init__(
        self,
        store: Store,
        artifacts: Sequence[Artifact],
        packages: PackageReader,
        *,
        allow_scripts: Collection[str] = (),
    ) -> None:
        super().__init__(store, artifacts, packages, allow_scripts=allow_scripts)
        self._trial: Future[Nix] | None = None
        self._asking = threading.Lock()

    def check(self) -> None:
        """Raise `EnvironmentFault`, saying what to do, if this machine's Nix is absent or too old.

        Whether it can build is tried meanwhile, and known when the first action asks; without a lock, at once.
        """
        trial = self._tried()
        if not self._has_busybox():
            trial.result()

    def run(self, action: Action, progress: Progress) -> str:
        """Run an action, or find its output; see `builder.backends.action.Backend`."""

        def make() -> str:
            with progress.step(action.name) as step:
                if action.platform != host_platform():
                    step.note("emulated")
                return self._run(action)

        return once(action, self._store, RECORDS, make)

    def _tried(self) -> Future[Nix]:
        """This machine's Nix, tried once and on the side, for a build in its sandbox takes a second."""
        with self._asking:
            if self._trial is None:
                pool = ThreadPoolExecutor(1, thread_name_prefix="nix")
                self._trial = pool.submit(self._try, Nix())
                pool.shutdown(wait=False)
            return self._trial

    def _try(self, nix: Nix) -> Nix:
        """Try a build in the sandbox, or to write to the Nix store where no lock is known yet."""
        with workplace(self._store) as place:
            if self._has_busybox():
                self._probe(nix, place)
            else:
                nix.touch(place)
        return nix

    def _has_busybox(self) -> bool:
        return any(item.name == BUSYBOX_PACKAGE for item in self._artifacts.values())

    def _probe(self, nix: Nix, place: Path) -> None:
        self._lay_out(place, render_probe(host=host_platform()))
        try:
            nix.build(place / _EXPRESSION, place / _RESULT)
        except BuildFailed as error:
            raise _fault(error.log) from error

    def _run(self, action: Action) -> str:
        for item in action.inputs:
            input_parts(item.path)
        with workplace(self._store) as place:
            (place / "add").mkdir()
            # What actions share is built under a lock of ours: for one of its own, Nix looks every five seconds.
            with self._store.lock(f"nix-{_shared(action)}"):
                ingredients = self._ingredients(action, place)
                self._lay_out(place, render_action(action, ingredients, host=host_platform()))
                self._build(action, place, None, "-A", "shared")
            files = [Named(store_name(item.path.rpartition("/")[2]), item.sha256) for item in action.inputs]
            self._add(files, place)
            return keep(action, folder_entries(action, self._build(action, place, place / _RESULT)), self._store)

    def _build(self, action: Action, place: Path, link: Path | None, *options: str) -> Path:
        nix = self._tried().result()
        alone = ALONE if action.nixpkgs is None else ()
        try:
            return nix.build(place / _EXPRESSION, link, (*alone, *options))
        except BuildFailed as error:
            raise _explained(action, error.log) from error

    def _ingredients(self, action: Action, place: Path) -> Ingredients:
        """What an action's root is made of, given to Nix: packages, or a pinned nixpkgs beside the expression."""
        if action.nixpkgs is not None:
            if action.platform != host_platform():
                raise EnvironmentFault(
                    f"a compiler of nixpkgs compiles for the machine that it runs on, here {host_platform()}",
                    where=action.name,
                    hint=f"build on {action.platform}",
                )
            (place / NIXPKGS).hardlink_to(self._store.verified(nixpkgs_tar(self._store, action.nixpkgs.source)))
            return Ingredients()
        debs = root_debs(action, self._artifacts)
        runner = self._emulator(action)
        packages = [Named(deb_name(item), item.sha256) for item in debs]
        emulator = Named(deb_name(runner), runner.sha256) if runner else None
        with ThreadPoolExecutor(1, thread_name_prefix="nix") as beside:
            added = beside.submit(self._add, [*packages, *([emulator] if emulator else [])], place)
            rest, listed = self._rest(action, debs)
            added.result()
        self._add([rest, listed], place)
        return Ingredients(tuple(packages), rest, listed, emulator)

    def _add(self, files: Iterable[Named], place: Path) -> None:
        """Have blobs of the store in the Nix store."""
        self._tried().result().add([self._fixed(item) for item in dict.fromkeys(files)], place / "add")

    def _lay_out(self, place: Path, expression: str) -> None:
        """Put an expression into a folder, with the library and BusyBox beside it."""
        deb = busybox_deb(self._artifacts.values(), host_platform())
        shutil.copytree(shipped("nix"), place / LIBRARY)
        shutil.copytree(busybox(self._store, deb), place / BUSYBOX)
        (place / _EXPRESSION).write_text(expression)

    def _fixed(self, item: Named) -> FixedFile:
        path = self._store.verified(item.sha256)
        return FixedFile(item.name, path, item.sha256, path.stat().st_size)

    def _rest(self, action: Action, debs: Sequence[Artifact]) -> tuple[Named, Named]:
        """Two blobs of the store: what a root has beside its packages' files, as a tar, and the names of all it has.

        Whoever asks holds the lock of that root.
        """
        parts = (str(FORMAT), str(action.epoch), *action.root, *sorted(self._allow_scripts))
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        record = self._store.recall(_ROOTS, key)
        if record and all(self._store.has(sha256) for sha256 in record.values()):
            tar, listed = record["additions"], record["names"]
        else:
            read = self._packages.read(debs)
            entries = root_entries(read, epoch=action.epoch, allow_scripts=self._allow_scripts)
            with self._store.writer() as writer:
                write_plain_tar(additions(entries, read), writer.write)
                tar = writer.commit()
            listed = self._store.add(names(entries))
            self._store.remember(_ROOTS, key, {"additions": tar, "names": listed})
        return Named("additions.tar", tar), Named("names", listed)

    def _emulator(self, action: Action) -> Artifact | None:
        """The package of the static emulator that an action's platform needs here."""
        host = host_platform()
        if action.platform == host:
            return None
        for item in self._artifacts.values():
            if "tools" in item.roles and item.name.startswith("qemu-user") and host in item.platforms:
                return item
        raise EnvironmentFault(
            f"the lock names no emulator that runs {action.platform} on {host}",
            hint="run `kbuild lock` again, or build for this machine's platform only",
        )


def _shared(action: Action) -> str:
    """Names what is built for an action and every other one with the same root."""
    compiler = (action.nixpkgs.source, action.nixpkgs.attribute) if action.nixpkgs else ()
    parts = (action.platform, *compiler, *action.root)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _explained(action: Action, log: str) -> KernelError | EnvironmentFault:
    """A failed build as an error: the command's own failure, or that of what starts it."""
    if found := _STATUS.search(log):
        return failure(action, int(found[1]), log[: found.start()])
    if found := _STRAY.search(log):
        return stray(action, found[1])
    return _fault(log)


def _fault(log: str) -> EnvironmentFault:
    last = log.strip().rpartition("\n")[2]
    return refusal(last) or EnvironmentFault(f"Nix cannot run a build here: {last}")
