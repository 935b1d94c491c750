"""Which compiler a builder takes: its own for every target where the lock has one, else the image's, emulated."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from plan_samples import AMD64, ARM64, BOTH, SAMPLE, artifact, deb

from builder.errors import LockError
from builder.lock.model import Nixpkgs
from builder.plan.compiler import compiler_of, exact_version
from builder.platforms import Platform
from builder.spec.model import CompilerTable
from builder.store.artifact import Artifact

GCC = "14.2.0-19"


def program(name: str, platform: Platform, version: str = GCC, *, roles: tuple[str, ...] = ("toolchain",)) -> Artifact:
    return deb(name, platform=platform, version=version, roles=roles)


BASE: tuple[Artifact, ...] = (
    *(deb("libc6", platform=platform, version="2.41-12+deb13u4", roles=("image", "sysroot")) for platform in BOTH),
    *(program("libstdc++-14-dev", platform, roles=("sysroot", "toolchain")) for platform in BOTH),
)
NATIVE = tuple(program(name, platform) for name in ("g++-14", "gcc-14", "binutils") for platform in BOTH)
FROM_AMD64 = program("g++-14-aarch64-linux-gnu", AMD64, f"{GCC}cross1", roles=("cross",))
FROM_ARM64 = program("g++-14-x86-64-linux-gnu", ARM64, f"{GCC}cross1", roles=("cross",))
CLANG = tuple(program("clang-19", platform, "1:19.1.7-3+b1") for platform in BOTH)
ZIG = tuple(
    artifact("wheel", "ziglang", platform, version="0.17.1", roles=("toolchain",), platforms=(platform,))
    for platform in BOTH
)
BUSYBOX = tuple(program("busybox-static", platform, roles=("toolchain", "tools")) for platform in BOTH)


def chosen(
    items: Sequence[Artifact],
    target: Platform,
    host: Platform,
    *,
    name: str = "gcc",
    platforms: Sequence[Platform] = BOTH,
):
    lock = SAMPLE.but(artifacts=tuple(sorted(items, key=lambda item: (item.name, item.architecture)))).lock
    return compiler_of(CompilerTable(name=name), lock, platforms, target, host)


def names(compiler) -> set[tuple[str, str]]:
    return {(item.name, item.architecture) for item in compiler.root}


@pytest.mark.parametrize("host", BOTH)
def test_gcc_of_the_builders_own_platform(host: Platform) -> None:
    found = chosen((*BASE, *NATIVE, FROM_AMD64, FROM_ARM64), host, host)
    assert (found.name, found.version, found.series, found.library, found.glibc) == ("gcc", GCC, "14", "14", "2.41")
    assert (found.platform, found.target, found.crossing) == (host, host, False)
    assert found.archive is None


@pytest.mark.parametrize(("host", "target"), [(AMD64, ARM64), (ARM64, AMD64)])
def test_gcc_crosses_where_the_lock_has_it(host: Platform, target: Platform) -> None:
    items = (*BASE, *NATIVE, FROM_AMD64, FROM_ARM64)
    found = chosen(items, target, host)
    assert (found.platform, found.target, found.crossing, found.version) == (host, target, True, GCC)
    here, there = host.removeprefix("linux/"), target.removeprefix("linux/")
    crossing = FROM_AMD64 if host == AMD64 else FROM_ARM64
    assert names(found) == {(crossing.name, here), ("libstdc++-14-dev", there), ("libc6", there)}


@pytest.mark.parametrize("target", BOTH)
def test_what_gcc_compiles_with_does_not_follow_from_the_other_platform(target: Platform) -> None:
    both = (*BASE, *NATIVE, FROM_AMD64, FROM_ARM64)
    crossing = FROM_AMD64 if target == ARM64 else FROM_ARM64
    alone = [item for item in (*BASE, *NATIVE) if item.platforms == (target,)] + [crossing]
    for host in BOTH:
        assert chosen(both, target, host) == chosen(alone, target, host, platforms=(target,))


def test_gcc_is_emulated_where_it_is_not() -> None:
    items = (*BASE, *NATIVE, FROM_AMD64)
    found = chosen(items, AMD64, ARM64)
    assert (found.platform, found.target, found.crossing) == (AMD64, AMD64, False)
    assert {architecture for _, architecture in names(found)} == {"amd64"}
    own = chosen(items, ARM64, ARM64)
    assert {architecture for _, architecture in names(own)} == {"arm64"}


def test_one_platform_takes_no_other_into_its_root() -> None:
    items = [item for item in (*BASE, *NATIVE) if item.platforms == (AMD64,)]
    assert names(chosen(items, AMD64, AMD64, platforms=(AMD64,))) == {
        (name, "amd64") for name in ("libc6", "libstdc++-14-dev", "g++-14", "gcc-14", "binutils")
    }


def test_the_cross_compiler_of_another_series_is_none() -> None:
    other = program("g++-13-aarch64-linux-gnu", AMD64, "13.3.0-1cross1", roles=("cross",))
    assert chosen((*BASE, *NATIVE, other), ARM64, AMD64).platform == ARM64


@pytest.mark.parametrize("host", BOTH)
@pytest.mark.parametrize("target", BOTH)
def test_clang_and_zig_always_run_as_the_builders_own(host: Platform, target: Platform) -> None:
    clang = chosen((*BASE, *CLANG), target, host, name="clang")
    assert (clang.platform, clang.target, clang.version, clang.series) == (host, target, "1:19.1.7-3+b1", "19")
    assert ("libstdc++-14-dev", target.removeprefix("linux/")) in names(clang)
    zig = chosen((*BASE[:2], *BUSYBOX, *ZIG), target, host, name="zig", platforms=(target,))
    assert (zig.platform, zig.target, zig.version, zig.glibc, zig.library) == (host, target, "0.17.1", "2.41", "")
    assert zig.archive in ZIG
    assert zig.archive.platforms == (host,)
    assert ("busybox-static", host.removeprefix("linux/")) in names(zig)
    assert zig.artifacts() == (*zig.root, zig.archive)


def test_an_artifact_for_every_architecture_is_in_the_root_once() -> None:
    headers = [
        deb("linux-libc-dev", roles=roles, architecture="all", platforms=platforms)
        for roles, platforms in ((("sysroot", "toolchain"), (AMD64,)), (("sysroot",), (ARM64,)))
    ]
    root = chosen((*BASE, *NATIVE, FROM_AMD64, *headers), ARM64, AMD64).root
    assert [item.name for item in root].count("linux-libc-dev") == 1


def test_what_the_image_says_of_its_compiler_depends_on_no_builder() -> None:
    lock = SAMPLE.but(artifacts=(*BASE, *NATIVE)).lock
    assert exact_version(CompilerTable(), lock, ARM64) == GCC
    with pytest.raises(LockError, match="clang 19 is not locked for linux/arm64"):
        exact_version(CompilerTable(name="clang"), lock, ARM64)


@pytest.mark.parametrize("items", [(), BASE, CLANG])
def test_a_lock_without_the_compiler(items: tuple[Artifact, ...]) -> None:
    with pytest.raises(LockError):
        chosen(items, AMD64, AMD64)


PINNED = Nixpkgs(rev="0" * 40, nar_hash=f"sha256-{'A' * 43}=", size=1)


def test_a_compiler_of_nixpkgs_has_no_debs_and_names_its_tree() -> None:
    table = CompilerTable.model_validate({"nixpkgs": {"rev": PINNED.rev, "attribute": "gcc14"}})
    lock = SAMPLE.but(artifacts=BASE).lock.model_copy(update={"nixpkgs": PINNED})
    for host in BOTH:
        found = compiler_of(table, lock, [AMD64], AMD64, host)
        assert (found.root, found.archive, found.platform) == ((), None, AMD64)
        assert (found.nixpkgs, found.attribute, found.version) == (PINNED, "gcc14", "14")
    assert exact_version(table, lock, AMD64) == f"14 of nixpkgs {PINNED.rev}"
    with pytest.raises(LockError, match="no nixpkgs is locked"):
        compiler_of(table, SAMPLE.but(artifacts=BASE).lock, [AMD64], AMD64, AMD64)


def test_another_tree_or_package_makes_another_layer() -> None:
    pin = f'[compiler.nixpkgs]\nrev = "{PINNED.rev}"\nattribute = "gcc14"\n'
    one = SAMPLE.writing("[kernel]", f'{pin}\n[kernel]\nplatforms = ["{AMD64}"]')
    key = one.but(nixpkgs=PINNED).layer_keys()["native"]
    assert key == one.but(nixpkgs=PINNED.model_copy(update={"rev": "f" * 40, "size": 2})).layer_keys()["native"]
    other = PINNED.model_copy(update={"nar_hash": f"sha256-{'B' * 42}A="})
    assert key != one.but(nixpkgs=other).layer_keys()["native"]
    assert key != one.writing("gcc14", "gcc13").but(nixpkgs=PINNED).layer_keys()["native"]
    assert key != SAMPLE.layer_keys()["native"]
