"""From a spec to a lock: every registry asked once, every answer pinned by hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import EnvironmentFault, ResolveError
from builder.lock import nixpkgs
from builder.lock.compiler import compiler_debs, zig_wheels
from builder.lock.debian import solver
from builder.lock.debian.archive import Archive
from builder.lock.debian.packages import artifact
from builder.lock.debian.toolchain import tools_packages
from builder.lock.debian.universe import Universe
from builder.lock.keep import ALL, Keeping, Kept, Upgrade, kept
from builder.lock.merge import merged
from builder.lock.model import CODEC, FORMAT, Index, Lock, Nixpkgs
from builder.lock.python import RUNTIME_PACKAGES, resolve_wheels
from builder.lock.rules import index_order, violations
from builder.lock.target import target
from builder.lock.weights import resolve_weights
from builder.machine import Machine
from builder.platforms import NAMES, Platform
from builder.progress import Progress
from builder.spec.identity import identity
from builder.spec.model import Spec
from builder.store.artifact import Artifact, Role
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.client import Client
from builder.store.indexes import uv_environment
from builder.store.registries import debian_bases

__all__ = ["ALL", "Upgrade", "resolve"]


def resolve(
    spec: Spec,
    folder: Path,
    *,
    machine: Machine,
    store: Store,
    progress: Progress,
    previous: Lock | None,
    upgrade: Upgrade,
    now: datetime,
) -> Lock:
    """Resolve a spec.

    Args:
        spec: the validated spec.
        folder: the kernel's, for its local weights.
        machine: where mirrors and indexes are.
        store: keeps what has to be downloaded on the way.
        progress: is told.
        previous: an earlier lock, whose versions are kept while they fit.
        upgrade: what not to keep: some names, `ALL`, or None for nothing.
        now: the moment at which signed indexes have to be in force.

    Returns:
        The lock. Its `image` is that of `previous` if nothing else changed, and None otherwise.

    Raises:
        ResolveError: the registries cannot meet the spec.
        UsageError: `upgrade` names something that is not locked.
        FetchError: a registry cannot be reached.
        IntegrityError: a registry serves something that is not what was signed or promised.
        EnvironmentFault: the machine is offline.
    """
    if machine.offline:
        raise EnvironmentFault(
            "resolving asks the registries, and this machine is offline",
            where=spec.kernel.name,
            hint="run `kbuild lock` with the network; building from the lock works offline once its files are fetched",
        )
    keep = kept(previous, upgrade)
    universes, indexes = _universes(spec, machine=machine, store=store, progress=progress, now=now)
    debs = merged(_debian(spec, universes, keep, progress))
    environ = uv_environment(machine, os.environ)
    targets = [target(platform, _of(debs, platform)) for platform in sorted(spec.kernel.platforms)]
    wheels = resolve_wheels(
        spec.python,
        targets,
        machine=machine,
        environ=environ,
        store=store,
        progress=progress,
        keep={item.platform: keep.versions("wheel", "image", item.platform) for item in targets},
    )
    weights = resolve_weights(
        spec.weights,
        folder,
        targets,
        machine=machine,
        environ=environ,
        store=store,
        progress=progress,
        keep=keep.weights(),
    )
    compilers: list[Artifact] = []
    pinned: Nixpkgs | None = None
    if spec.compiler.nixpkgs is not None:
        before = previous.nixpkgs if previous else None
        pinned = nixpkgs.locked(spec.compiler.nixpkgs.rev, before, machine=machine, store=store, progress=progress)
    if spec.compiler.name == "zig":
        compilers = zig_wheels(
            spec.compiler,
            targets[0],
            machine=machine,
            environ=environ,
            store=store,
            progress=progress,
            keep={host: keep.versions("wheel", "toolchain", host) for host in NAMES},
        )
    index = tuple(sorted(keep.indexes(debs, indexes), key=index_order))
    lock = Lock(
        spec=identity(spec),
        format=FORMAT,
        epoch=max(_seconds(item.date) for item in index),
        codec=CODEC,
        nixpkgs=pinned,
        index=index,
        artifact=merged([*debs, *wheels, *weights, *compilers]),
    )
    for _, problem in violations(lock):
        raise ResolveError(f"a registry offers what no lock can hold: {problem}", where=spec.kernel.name)
    if previous is not None and lock == previous.model_copy(update={"image": None}):
        return previous
    return lock


def _universes(
    spec: Spec, *, machine: Machine, store: Store, progress: Progress, now: datetime
) -> tuple[Mapping[str, Universe], tuple[Index, ...]]:
    archive = Archive(lambda registry: debian_bases(registry, machine, None), Client(Patience()), store, progress, now)
    architectures = [names.debian for names in NAMES.values()]
    return archive.universes(spec.os.release, updates=spec.os.updates, architectures=architectures)


def _debian(spec: Spec, universes: Mapping[str, Universe], keep: Kept, progress: Progress) -> list[Artifact]:
    """The packages of every role and platform."""
    found: list[Artifact] = []

    def universe_of(role: Role, platform: Platform) -> Universe:
        return Keeping(universes[NAMES[platform].debian], keep.versions("deb", role, platform))

    def add(
        role: Role, platform: Platform, roots: Callable[[Universe], Sequence[str]], implicit: Sequence[str]
    ) -> None:
        universe = universe_of(role, platform)
        with progress.step(f"resolve Debian packages of the {role} for {platform}", unit="items"):
            packages = solver.resolve(roots(universe), universe, implicit=implicit)
        found.extend(artifact(package, [role], [platform]) for package in packages)

    for platform in sorted(spec.kernel.platforms):
        add("image", platform, lambda _: spec.os.packages, (*solver.IMPLICIT, *RUNTIME_PACKAGES))
    for platform in sorted(NAMES):
        add("tools", platform, tools_packages, ())
    if spec.compiler.nixpkgs is not None:
        return found
    return [*found, *compiler_debs(spec.compiler, spec.kernel.platforms, universe_of, progress)]


def _of(debs: Sequence[Artifact], platform: Platform) -> list[Artifact]:
    return [item for item in debs if "image" in item.roles and platform in item.platforms]


def _seconds(date: str) -> int:
    return int(datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
