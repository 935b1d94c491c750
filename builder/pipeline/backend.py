"""Which backends there are, which of them this machine has, and how one is made once the lock is known."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from builder.backends.action import Backend
from builder.errors import EnvironmentFault, UsageError
from builder.layers.packages import PackageReader
from builder.plan.model import Plan
from builder.store.artifact import Artifact
from builder.store.blobs import Store

BackendOf = Callable[[Sequence[Artifact], PackageReader, Collection[str]], Backend]
"""Makes a backend from a lock's artifacts, what reads packages, and the scripts that may stay unrun."""

BACKENDS: Final = {
    "embedded": "builder.backends.embedded:EmbeddedBackend",
    "docker": "builder.backends.docker:DockerBackend",
    "nix": "builder.backends.nix:NixBackend",
}
"""Every backend by its name, as the path of its class; what it stands on is imported when it is used."""

TOOLS: Final[Mapping[str, tuple[str, ...]]] = {"nix": ("busybox-static",)}
"""The lock's tools that a backend needs for every action."""


def backend_of(name: str, store: Store) -> BackendOf:
    """A backend by its name, for `builder.pipeline.build.build`."""
    module, _, kind = BACKENDS[name].partition(":")

    def make(artifacts: Sequence[Artifact], packages: PackageReader, allow_scripts: Collection[str]) -> Backend:
        made: Any = getattr(importlib.import_module(module), kind)
        backend: Backend = made(store, artifacts, packages, allow_scripts=allow_scripts)
        return backend

    return make


def require_able(plan: Plan, backends: Sequence[str]) -> None:
    """Refuse backends that cannot run a plan's compiler.

    Raises:
        UsageError: it comes from nixpkgs, and one of these is not Nix.
    """
    others = [name for name in backends if name != "nix"]
    if others and any(layer.driver and layer.driver.nixpkgs for layer in plan.layers()):
        raise UsageError(
            f"the kernel's compiler comes from nixpkgs, which {' and '.join(others)} cannot run",
            where=plan.name,
            hint="build it with --backend nix; no other builder gives that digest",
        )


def embedded(store: Store) -> BackendOf:
    """The embedded backend, which every machine has that can run images."""
    return backend_of("embedded", store)


def present(store: Store) -> tuple[str, ...]:
    """The names of all backends that work on this machine.

    Raises:
        EnvironmentFault: there are fewer than two; says what each of the others lacks.
    """
    found, lacking = [], []
    for name in BACKENDS:
        try:
            backend_of(name, store)((), PackageReader(store, 1), ()).check()
        except EnvironmentFault as fault:
            lacking.append(f"  {name}: {fault.where + ': ' if fault.where else ''}{fault.message}; {fault.hint}")
        else:
            found.append(name)
    if len(found) < 2:  # noqa: PLR2004 - to agree takes two
        raise EnvironmentFault(
            f"only {found[0] if found else 'none'} of the builders works here, and comparing takes two:\n"
            + "\n".join(lacking),
            hint="install Docker or Nix, or build with one backend",
        )
    return tuple(found)
