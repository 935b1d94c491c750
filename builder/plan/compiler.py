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
from builder.store.artifact import Artifact, Role

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
        platforms: of the image; where one program compiles for several of them, its root is the same.
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
    crosses = table.name == "gcc" and _cross(table, lock, host, target) is not None
    everywhere = table.name != "gcc" and _found(table, lock, host) is not None
    platform = host if crosses or everywhere else target
    role: Role = "cross" if crosses else "toolchain"
    main = _main(table, lock, platform if everywhere else target)  # a GCC that crosses is the very one of the target
    sysroots = platforms if everywhere else [target]
    root = {
        item.sha256: item
        for item in lock.artifact
        if item.kind == "deb"
        and (_is(item, role, platform) or ("sysroot" in item.roles and not set(sysroots).isdisjoint(item.platforms)))
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


def _cross(table: CompilerTable, lock: Lock, host: Platform, target: Platform) -> Artifact | None:
    """The GCC whose programs are `host`'s and compile for `target`, another one, if the lock has it."""
    name = f"g++-{table.version.partition('.')[0]}-{NAMES[target].gnu.replace('_', '-')}"
    return next((item for item in lock.artifact if item.name == name and _is(item, "cross", host)), None)


def _found(table: CompilerTable, lock: Lock, platform: Platform) -> Artifact | None:
    major = table.version.partition(".")[0]
    name = {"gcc": f"g++-{major}", "clang": f"clang-{major}", "zig": ZIG}[table.name]
    return next((item for item in lock.artifact if item.name == name and _is(item, "toolchain", platform)), None)


def _main(table: CompilerTable, lock: Lock, platform: Platform) -> Artifact:
    found = _found(table, lock, platform)
    if found is None:
        raise LockError(f"{table.name} {table.version} is not locked for {platform}", hint="run `kbuild lock`")
    return found


def _is(item: Artifact, role: Role, platform: Platform) -> bool:
    return role in item.roles and platform in item.platforms


def _glibc(lock: Lock, platform: Platform) -> str:
    for item in lock.artifact:
        if item.name == "libc6" and item.kind == "deb" and "image" in item.roles and platform in item.platforms:
            return ".".join(re.split(r"[.\-+~]", item.version.rpartition(":")[2])[:2])
    raise LockError(f"the image for {platform} has no C library", hint="run `kbuild lock`")
