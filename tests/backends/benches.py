"""The real compilers, locked and fetched once per test run, and runs of them under odd conditions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from builder.backends import bwrap
from builder.backends.action import Action, InputFile
from builder.backends.embedded import EmbeddedBackend
from builder.backends.native import LINK_SPECS, native_action
from builder.backends.roots import deb_root, emulator
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, environment, root_names
from builder.layers.packages import PackageReader
from builder.lock.model import Lock
from builder.lock.resolve import resolve
from builder.machine import from_environment
from builder.pipeline.fetching import bring
from builder.plan.compiler import Compiler, compiler_of
from builder.platforms import Platform, host_platform
from builder.progress import Silent
from builder.spec.load import loads
from builder.spec.model import Spec
from builder.store.artifact import Artifact
from builder.store.blobs import Store

EPOCH = 1_700_000_000

SPEC = """\
schema = 1
[kernel]
name = "real"
version = "1.0.0"
entry = "model:f"
platforms = [{platforms}]
[compiler]
name = "{compiler}"
[native.f]
sources = ["f.cc"]
[inputs.x]
dtype = "float32"
[outputs.y]
dtype = "float32"
"""


@dataclass(frozen=True)
class Bench:
    """A compiler of a lock, and a store that has it."""

    store: Store
    spec: Spec
    lock: Lock

    def artifacts(self, *roles: str) -> tuple[Artifact, ...]:
        return tuple(item for item in self.lock.artifact if set(roles) & set(item.roles))

    def fetch(self, items: Sequence[Artifact]) -> None:
        bring(items, self.lock, from_environment(os.environ), self.store, Silent())

    def compiler(self, target: Platform | None = None, host: Platform | None = None) -> Compiler:
        """The compiler, with all its files in the store."""
        host = host or host_platform()
        found = compiler_of(self.spec.compiler, self.lock, self.spec.kernel.platforms, target or host, host)
        self.fetch(found.artifacts())
        return found

    def backend(self, store: Store | None = None) -> EmbeddedBackend:
        store = store or self.store
        return EmbeddedBackend(store, self.lock.artifact, PackageReader(store, 2))

    def action(self, compiler: Compiler, sources: dict[str, bytes], flags: Sequence[str], **more: object) -> Action:
        options = {
            "compiler": compiler,
            "flags": flags,
            "sources": {path: self.store.add(data) for path, data in sources.items()},
            "headers": {},
            "include": (),
            "specs": self.store.add(LINK_SPECS.encode()),
            "epoch": EPOCH,
        }
        return native_action("scale", **{**options, **more})

    def run(self, action: Action, folder: Path, *, mtime: int = EPOCH) -> bytes:
        """Run an action outside of any backend, so that nothing is remembered: the object that it makes."""
        shutil.rmtree(folder, ignore_errors=True)
        out = folder / "out"
        out.mkdir(parents=True)
        for item in action.inputs:
            path = folder / item.path[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.store.path(item.sha256).read_bytes())
            os.utime(path, (mtime, mtime))
        by_hash = {item.sha256: item for item in self.lock.artifact}
        debs = [by_hash[sha256] for sha256 in action.root]
        root = deb_root(self.store, PackageReader(self.store, 2), debs, epoch=action.epoch)
        tops = sorted({PurePosixPath(item.path).parts[1] for item in action.inputs})
        box = Sandbox(
            root, root_names(root), action.argv, environment(action.env, epoch=action.epoch),
            (*(Mount(folder / top, f"/{top}") for top in tops), Mount(out, "/out", writable=True)),
            emulator=self._emulator(action.platform),
        )  # fmt: skip
        ended = bwrap.execute(command(bwrap.program(), box))
        assert ended.status == 0, ended.output
        (made,) = out.iterdir()
        return made.read_bytes()

    def _emulator(self, guest: Platform) -> Emulator | None:
        host = host_platform()
        if guest == host:
            return None
        tools = [item for item in self.artifacts("tools") if item.name.startswith("qemu") and host in item.platforms]
        self.fetch(tools)
        return Emulator(emulator(self.store, tools, host=host, guest=guest))


def moved(action: Action, old: str, new: str) -> Action:
    """The action with its inputs in another folder."""
    return replace(
        action,
        inputs=tuple(
            InputFile(item.path.replace(f"{old}/", f"{new}/"), item.sha256, item.executable) for item in action.inputs
        ),
        argv=tuple(argument.replace(old, new) for argument in action.argv),
    )


def bench(store: Store, folder: Path, compiler: str, platforms: Sequence[Platform]) -> Bench:
    """Lock a compiler for these platforms."""
    quoted = ", ".join(f'"{platform}"' for platform in platforms)
    spec = loads(SPEC.format(platforms=quoted, compiler=compiler), "spec.toml")
    lock = resolve(
        spec, folder, machine=from_environment(os.environ), store=store, progress=Silent(),
        previous=None, upgrade=None, now=datetime.now(UTC),
    )  # fmt: skip
    return Bench(store, spec, lock)
