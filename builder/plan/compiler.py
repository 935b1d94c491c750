"""Which of the lock's compilers makes a platform's native objects on a builder of some platform. Pure.

Whatever it is, the objects have the same bytes: docs/decisions/0005-cross-building.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from builder.errors import LockError
from builder.lock.compiler import ZIG
from builder.lock.model import Lock, Nixpkgs
from builder.platforms import NAMES, Platform
from builder.spec.model import CompilerTable
from builder.store.artifact import Artifact

_LIBRARY = re.compile(r"libstdc\+\+-([0-9]+)-dev")


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler as it stands in a root.

    Attributes:
        name: `gcc`, `clang` or `zig`.
        version: its exact one: of the Debian package, or of the wheel.
        platform: whose programs it consists of. A builder of another one emulates it.
        target: what it compiles for.
        library: the version of GCC whose libstdc++ and start-up files it takes ("14"); empty for Zig.
        glibc: the C library of the image ("2.41").
        root: the debs of its root, in the lock's order.
        archive: Zig's wheel.
        nixpkgs: the tree that it comes from in place of debs, and then
        attribute: the package of it that it is; its `version` is the spec's.
    """

    name: str
    version: str
    platform: Platform
    target: Platform
    library: str
    glibc: str
    root: tuple[Artifact, ...]
    archive: Artifact | None = None
    nixpkgs: Nixpkgs | None = None
    attribute: str = ""

    @property
    def series(self) -> str:
        """Its major version, which Debian's names of programs have."""
        return self.version.rpartition(":")[2].partition(".")[0]

    @property
    def crossing(self) -> bool:
        """Whether it compiles for another platform than it runs on."""
        return self.platform != self.target

    def artifacts(self) -> tuple[Artifact, ...]:
        """All that it is made of."""
        return self.root if self.archive is None else (*self.root, self.archive)


def compiler_of(
    table: CompilerTable, lock: Lock, platforms: Sequence[Platform], target: Platform, host: Platform
) -> Compiler:
    """Choose.

    Args:
        table: of the spec.
        lock: a lock that fits it.
        platforms: of the image; where one root serves several of them, it is the same root.
        target: the platform to compile for, one of these.
        host: the builder's.

    Raises:
        LockError: the lock has no such compiler.
    """
    if table.nixpkgs is not None:
        return Compiler(
            name=table.name,
            version=table.version,
            platform=target,
            target=target,
            library="",
            glibc=_glibc(lock, target),
            root=(),
            nixpkgs=_nixpkgs(lock),
            attribute=table.nixpkgs.attribute,
        )
    served = [platform for platform in platforms if _runs_on(table, lock, host, platform)]
    platform = host if target in served else target
    main = _main(table, lock, platform)
    sysroots = served if target in served else [target]
    root = {
        item.sha256: item
        for item in lock.artifact
        if item.kind == "deb"
        and (_is_program(item, platform) or ("sysroot" in item.roles and not set(sysroots).isdisjoint(item.platforms)))
    }
    libraries = [
        found[1]
        for item in lock.artifact
        if "sysroot" in item.roles and target in item.platforms and (found := _LIBRARY.fullmatch(item.name))
    ]
    return Compiler(
        name=table.name,
        version=main.version,
        platform=platform,
        target=target,
        library=max(libraries, key=int, default=""),
        glibc=_glibc(lock, target),
        root=tuple(root.values()),
        archive=main if main.kind == "wheel" else None,
    )


def exact_version(table: CompilerTable, lock: Lock, target: Platform) -> str:
    """The version of the compiler that the lock has for an image's platform, whoever builds it.

    Raises:
        LockError: the lock has no such compiler.
    """
    if table.nixpkgs is not None:
        return f"{table.version} of nixpkgs {_nixpkgs(lock).rev}"
    return _main(table, lock, target).version


def _nixpkgs(lock: Lock) -> Nixpkgs:
    if lock.nixpkgs is None:
        raise LockError("no nixpkgs is locked", hint="run `kbuild lock`")
    return lock.nixpkgs


def _runs_on(table: CompilerTable, lock: Lock, host: Platform, target: Platform) -> bool:
    """Whether the lock has a compiler for `target` whose programs are `host`'s."""
    if table.name != "gcc" or host == target:
        return _found(table, lock, host) is not None
    name = f"g++-{table.version.partition('.')[0]}-{NAMES[target].gnu.replace('_', '-')}"
    return any(item.name == name and _is_program(item, host) for item in lock.artifact)


def _found(table: CompilerTable, lock: Lock, platform: Platform) -> Artifact | None:
    major = table.version.partition(".")[0]
    name = {"gcc": f"g++-{major}", "clang": f"clang-{major}", "zig": ZIG}[table.name]
    return next((item for item in lock.artifact if item.name == name and _is_program(item, platform)), None)


def _main(table: CompilerTable, lock: Lock, platform: Platform) -> Artifact:
    found = _found(table, lock, platform)
    if found is None:
        raise LockError(f"{table.name} {table.version} is not locked for {platform}", hint="run `kbuild lock`")
    return found


def _is_program(item: Artifact, platform: Platform) -> bool:
    return "toolchain" in item.roles and platform in item.platforms


def _glibc(lock: Lock, platform: Platform) -> str:
    for item in lock.artifact:
        if item.name == "libc6" and item.kind == "deb" and "image" in item.roles and platform in item.platforms:
            return ".".join(re.split(r"[.\-+~]", item.version.rpartition(":")[2])[:2])
    raise LockError(f"the image for {platform} has no C library", hint="run `kbuild lock`")
