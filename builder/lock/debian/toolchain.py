"""The packages that stand for a compiler and for the programs that kbuild itself runs."""

from __future__ import annotations

import re

from builder.errors import ResolveError
from builder.lock.debian.universe import Universe
from builder.lock.debian.versions import split, version_key

_STATIC_SINCE = version_key("1:9.1.0")
"""The version of QEMU from which Debian's `qemu-user` holds the static programs and `qemu-user-static` nothing."""


def _matches(version: str, asked: str) -> bool:
    """Whether a Debian version's upstream part begins with the asked numbers: 14.2 is 14.2.0-19, not 14.20-1."""
    numbers = re.split(r"[^0-9]", split(version)[1])
    prefix = asked.split(".")
    return numbers[: len(prefix)] == prefix


def toolchain_packages(name: str, version: str, universe: Universe) -> tuple[str, ...]:
    """Roots of a compiler for C and C++, with the C library's headers and the linker.

    Args:
        name: `gcc`.
        version: as the spec has it: `14`, `14.2` or `14.2.0`.
        universe: what there is.

    Returns:
        Roots for `resolve`, the compiler pinned to its highest version that matches.

    Raises:
        ResolveError: this release has no such compiler; the message names those it has.
    """
    major = version.partition(".")[0]
    c, cpp = f"{name}-{major}", f"g++-{major}"
    cpp_versions = {package.version for package in universe.versions(cpp)}
    for package in universe.versions(c):
        if _matches(package.version, version) and package.version in cpp_versions:
            return (f"{c}={package.version}", f"{cpp}={package.version}", "libc6-dev", "binutils")
    there = sorted(
        {
            split(package.version)[1]
            for number in range(1, 100)
            for package in universe.versions(f"{name}-{number}")
            if universe.versions(f"g++-{number}")
        },
        key=version_key,
    )
    raise ResolveError(
        f"there is no {name} {version}, but {', '.join(there) or 'none at all'}",
        where=f"compiler.version, Debian {', '.join(universe.suites)} for {universe.architecture}",
        hint="choose one of these, or another os.release",
    )


def tools_packages(universe: Universe) -> tuple[str, ...]:
    """Roots of kbuild's own tools: QEMU's user-mode emulators, and the shell and utilities of BusyBox.

    All of them are static programs, which need nothing beside them: resolve them with `implicit=()`.

    Raises:
        ResolveError: this release has none.
    """
    for name, static in (("qemu-user", True), ("qemu-user-static", False)):
        for package in universe.versions(name):
            if (version_key(package.version) >= _STATIC_SINCE) == static:
                return (name, "busybox-static")
    raise ResolveError(
        "there is no qemu-user with static programs",
        where=f"Debian {', '.join(universe.suites)} for {universe.architecture}",
        hint="choose another os.release",
    )
