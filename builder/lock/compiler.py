"""The toolchain of a kernel: the compiler, for builders of each platform, and what it compiles against, for each image.

`toolchain` are programs, and their platforms are those of builders. `cross` are GCC's programs for the other platform.
They stand in a root of their own, so that what one platform's objects follow from is the same whether or not an image
has the other. `sysroot` are headers and libraries, and their platforms are the image's.
docs/decisions/0005-cross-building.md says why a builder compiles for another platform with a compiler of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from packaging.pylock import Pylock

from builder.errors import ResolveError
from builder.lock.debian import solver
from builder.lock.debian.packages import Package, artifact
from builder.lock.debian.toolchain import compiled_against, cross_packages, sysroot_packages, toolchain_packages
from builder.lock.debian.universe import Universe
from builder.lock.keep import Keeping
from builder.lock.python import Versions, chosen, closest, versions
from builder.lock.target import Target
from builder.lock.uv import Question, ask
from builder.machine import Machine
from builder.platforms import NAMES, Platform
from builder.progress import Progress
from builder.spec.model import CompilerTable
from builder.store.artifact import Artifact, Role
from builder.store.blobs import Store

ZIG = "ziglang"
"""The project of the index whose wheels hold Zig."""

UNPACKER = "busybox-static"
"""What unpacks Zig's wheel inside the sandbox."""

UniverseOf = Callable[[Role, Platform], Universe]
"""What there is for a platform, with the versions first that an earlier lock has in a role."""


def compiler_debs(
    compiler: CompilerTable, platforms: Sequence[Platform], universe_of: UniverseOf, progress: Progress
) -> list[Artifact]:
    """The Debian packages of a compiler.

    Args:
        compiler: of the spec.
        platforms: of the image.
        universe_of: what there is.
        progress: sees one step per platform.

    Raises:
        ResolveError: there is no such compiler, or what it needs is not there.
    """
    found: list[Artifact] = []
    programs: dict[Platform, Mapping[str, str]] = {}

    def resolved(role: Role, platform: Platform, roots: Sequence[str], universe: Universe) -> list[Package]:
        implicit = solver.IMPLICIT if role != "sysroot" and compiler.name != "zig" else ()
        with progress.step(f"resolve Debian packages of the {role} for {platform}", unit="items"):
            return list(solver.resolve(roots, universe, implicit=implicit))

    for host in sorted(NAMES):
        if roots := _programs(compiler, host, platforms, universe_of):
            packages = resolved("toolchain", host, roots, universe_of("toolchain", host))
            programs[host] = {item.name: item.version for item in packages}
            found += [artifact(item, ["toolchain"], [host]) for item in packages]
        if compiler.name == "gcc" and (roots := _crossing(compiler, host, platforms, universe_of)):
            packages = resolved("cross", host, roots, universe_of("cross", host))
            found += [artifact(item, ["cross"], [host]) for item in packages]
    if compiler.name == "zig":  # brings its own
        return found
    for platform in sorted(platforms):
        # The compiler's own packages of the same names come first: both stand in one root.
        universe = Keeping(universe_of("sysroot", platform), programs.get(platform, {}))
        roots = sysroot_packages(compiler.name, compiler.version, universe)
        packages = compiled_against(resolved("sysroot", platform, roots, universe))
        found += [artifact(item, ["sysroot"], [platform]) for item in packages]
    return found


def _programs(
    compiler: CompilerTable, host: Platform, platforms: Sequence[Platform], universe_of: UniverseOf
) -> tuple[str, ...]:
    """Roots of what compiles on a builder for its own platform, and but for GCC for the others too."""
    here = universe_of("toolchain", host)
    others = [platform for platform in NAMES if platform != host]
    if compiler.name == "zig":
        return (UNPACKER,)
    if compiler.name == "clang":
        # Its version, Debian's build number included, goes into every object.
        return toolchain_packages(
            "clang", compiler.version, here, [universe_of("toolchain", other) for other in others]
        )
    return toolchain_packages("gcc", compiler.version, here) if host in platforms else ()


def _crossing(
    compiler: CompilerTable, host: Platform, platforms: Sequence[Platform], universe_of: UniverseOf
) -> tuple[str, ...]:
    """Roots of the GCC that compiles on a builder for the other platform; none where its own has to be emulated."""
    roots: list[str] = []
    for target in sorted(set(platforms) - {host}):
        there = universe_of("toolchain", target)
        roots += cross_packages(compiler.version, NAMES[target].gnu, universe_of("cross", host), there)
    return tuple(roots)


def zig_wheels(
    compiler: CompilerTable,
    inside: Target,
    *,
    machine: Machine,
    environ: Mapping[str, str],
    store: Store,
    progress: Progress,
    keep: Mapping[Platform, Versions],
) -> list[Artifact]:
    """The wheels of Zig, of one version for builders of every platform.

    Args:
        compiler: of the spec.
        inside: of some image, for the versions of Python and the C library; Zig itself needs neither.
        machine: whether the network may be used.
        environ: the environment that tells uv where the index is.
        store: takes wheels whose size the index does not tell.
        progress: sees one step per platform.
        keep: versions that are taken while they still fit, per platform.

    Raises:
        ResolveError: the index has no such version for every platform.
        FetchError: the index cannot be reached.
    """
    found: list[Artifact] = []
    first: Versions = {}
    for host in sorted(NAMES):
        fits = Target(host, inside.python, inside.glibc)

        def answer(pins: Versions, fits: Target = fits) -> Pylock:
            question = Question((f"{ZIG}=={compiler.version}.*",), fits, pins, dependencies=False)
            return ask(question, environ=environ, offline=machine.offline, where="compiler.version")

        with progress.step(f"resolve {ZIG} for {host}", unit="items"):
            try:
                told = closest(answer, {} if first else keep.get(host, {}), first)
            except ResolveError as error:
                raise ResolveError(
                    f"there is no zig {first.get(ZIG, compiler.version)} for {host}: {error.message}",
                    where="compiler.version",
                    hint=f"choose a version that the project {ZIG} of the index has",
                ) from error
        first = {ZIG: versions(told)[ZIG]}
        wheels = chosen(told, fits, machine=machine, store=store, progress=progress)
        found += [item.model_copy(update={"roles": ("toolchain",)}) for item in wheels]
    return found
