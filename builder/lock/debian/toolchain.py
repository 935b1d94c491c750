"""The packages of a compiler, of what it compiles against, and of the programs that kbuild itself runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from builder.errors import ResolveError
from builder.lock.debian.packages import Package
from builder.lock.debian.universe import Universe
from builder.lock.debian.versions import split, version_key

_STATIC_SINCE = version_key("1:9.1.0")
"""The version of QEMU from which Debian's `qemu-user` holds the static programs and `qemu-user-static` nothing."""

_PAIRS = {"gcc": ("gcc-{}", "g++-{}"), "clang": ("clang-{}", "lld-{}")}
"""What a compiler consists of: two packages of one source, and so of one version."""

_CROSS = re.compile(r"cross[0-9]+$")
"""What the version of a cross compiler's package has at the end, after the version of the source it was built from."""


def _matches(version: str, asked: str) -> bool:
    """Whether a Debian version's upstream part begins with the asked numbers: 14.2 is 14.2.0-19, not 14.20-1."""
    numbers = re.split(r"[^0-9]", split(version)[1])
    prefix = asked.split(".")
    return numbers[: len(prefix)] == prefix


def toolchain_packages(name: str, version: str, universe: Universe, others: Sequence[Universe] = ()) -> tuple[str, ...]:
    """Roots of a compiler for C and C++, with its linker.

    Args:
        name: `gcc` or `clang`.
        version: as the spec has it: `14`, `14.2` or `14.2.0`.
        universe: what there is.
        others: where the same build must be too.

    Returns:
        Roots for `resolve`, the compiler pinned to its highest version that matches.

    Raises:
        ResolveError: this release has no such compiler; the message names those it has.
    """
    packages = tuple(form.format(version.partition(".")[0]) for form in _PAIRS[name])
    for found in _builds(packages, (universe, *others)):
        if _matches(found, version):
            pinned = tuple(f"{package}={found}" for package in packages)
            return (*pinned, "libc6-dev", "binutils") if name == "gcc" else pinned
    there = {
        split(found)[1]
        for number in range(1, 100)
        for found in _builds([form.format(number) for form in _PAIRS[name]], (universe, *others))
    }
    architectures = ", ".join(sorted({item.architecture for item in (universe, *others)}))
    raise ResolveError(
        f"there is no {name} {version}, but {', '.join(sorted(there, key=version_key)) or 'none at all'}",
        where=f"compiler.version, Debian {', '.join(universe.suites)} for {architectures}",
        hint="choose one of these, or another os.release",
    )


def _builds(names: Sequence[str], universes: Sequence[Universe]) -> list[str]:
    """The versions that all these packages have in all these universes, in the first one's order."""
    everywhere = [{package.version for package in there.versions(name)} for there in universes for name in names]
    candidates = [package.version for package in universes[0].versions(names[0])]
    return [version for version in candidates if all(version in versions for versions in everywhere)]


def cross_packages(version: str, gnu: str, host: Universe, target: Universe) -> tuple[str, ...]:
    """Roots of the GCC that runs on one platform and compiles for another, if it is the other's own GCC.

    It is if both were built from one version of GCC, and the assemblers and linkers from one of binutils. Debian's
    cross compilers lag behind at times: bookworm's gcc-12 does, and most of unstable. Another version gives other
    bytes, so that one is of no use.

    Args:
        version: as the spec has it.
        gnu: the target's triplet, such as `aarch64-linux-gnu`.
        host: the packages of the platform that it runs on.
        target: the packages of the platform that it compiles for.

    Returns:
        Roots for `resolve` in `host`, or nothing.
    """
    suffix = gnu.replace("_", "-")
    major = version.partition(".")[0]
    own = next((item.version for item in target.versions(f"g++-{major}") if _matches(item.version, version)), None)
    tools = [next(iter(there.versions(f"binutils-{suffix}")), None) for there in (host, target)]
    if own is None or tools[0] is None or tools[1] is None or tools[0].version != tools[1].version:
        return ()
    c, cpp = f"gcc-{major}-{suffix}", f"g++-{major}-{suffix}"
    there = {package.version for package in host.versions(c)}
    for package in host.versions(cpp):
        if package.version in there and _CROSS.search(package.version) and _CROSS.sub("", package.version) == own:
            return (f"{c}={package.version}", f"{cpp}={package.version}", f"binutils-{suffix}={tools[0].version}")
    return ()


def sysroot_packages(name: str, version: str, universe: Universe) -> tuple[str, ...]:
    """Roots of the headers and libraries that a compiler compiles against: the C library's and libstdc++'s.

    GCC's libstdc++ is its own. Clang takes the one that the image has: `libstdc++6` is built from the newest GCC of a
    release.

    Args:
        name: `gcc` or `clang`.
        version: the compiler's, as the spec has it.
        universe: what there is.

    Raises:
        ResolveError: this release has no libstdc++.
    """
    if name == "clang":
        newest = next(iter(universe.versions("libstdc++6")), None)
        if newest is None:
            raise ResolveError("there is no libstdc++6", where=f"Debian {', '.join(universe.suites)}")
        version = split(newest.version)[1]
    return (f"libstdc++-{version.partition('.')[0]}-dev", "libc6-dev")


def compiled_against(packages: Iterable[Package]) -> list[Package]:
    """Of what the roots of a sysroot resolve to, the part that stands beside another architecture's packages.

    That are the packages which say `Multi-Arch: same`, and those for every architecture. The rest are programs of the
    target, which nothing runs.
    """
    return [item for item in packages if item.multi_arch == "same" or item.architecture == "all"]


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
