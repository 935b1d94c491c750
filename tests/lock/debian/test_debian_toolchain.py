from __future__ import annotations

import pytest
from debian_archive import universe

from builder.errors import ResolveError
from builder.lock.debian.solver import resolve
from builder.lock.debian.toolchain import cross_packages, sysroot_packages, toolchain_packages, tools_packages

COMPILERS = """
gcc-13 13.3.0-13
g++-13 13.3.0-13; Depends: gcc-13 (= 13.3.0-13)
gcc-14 14.2.0-19; Depends: binutils
g++-14 14.2.0-19; Depends: gcc-14 (= 14.2.0-19)
gcc-14 14.20.1-1; Depends: binutils
g++-14 14.20.1-1; Depends: gcc-14 (= 14.20.1-1)
gcc-15 15.1.0-1
gcc-14-base 14.2.0-19
binutils 2.44
libc6-dev 2.41
"""


@pytest.mark.parametrize(
    ("asked", "version"),
    [("14.2.0", "14.2.0-19"), ("14.2", "14.2.0-19"), ("14", "14.20.1-1"), ("14.20", "14.20.1-1"), ("13", "13.3.0-13")],
)
def test_the_compiler_of_a_version(asked: str, version: str) -> None:
    there = universe(COMPILERS)
    major = asked.partition(".")[0]
    roots = toolchain_packages("gcc", asked, there)
    assert roots == (f"gcc-{major}={version}", f"g++-{major}={version}", "libc6-dev", "binutils")
    chosen = {package.name: package.version for package in resolve(roots, there, implicit=())}
    assert chosen == {f"gcc-{major}": version, f"g++-{major}": version, "libc6-dev": "2.41", "binutils": "2.44"}


@pytest.mark.parametrize("asked", ["12", "14.3", "14.2.1", "15", "1"])
def test_a_compiler_that_is_not_there(asked: str) -> None:
    with pytest.raises(ResolveError, match=f"no gcc {asked}, but 13.3.0, 14.2.0, 14.20.1") as caught:
        toolchain_packages("gcc", asked, universe(COMPILERS))
    assert "compiler.version" in (caught.value.where or "")


GNU = "aarch64-linux-gnu"
TARGET = "g++-14 14.2.0-19\ngcc-14 14.2.0-19\nbinutils-aarch64-linux-gnu 2.44-3"


def crossing(version: str, binutils: str = "2.44-3", asked: str = "14") -> tuple[str, ...]:
    host = f"gcc-14-{GNU} {version}\ng++-14-{GNU} {version}\nbinutils-{GNU} {binutils}"
    return cross_packages(asked, GNU, universe(host), universe(TARGET))


def test_a_cross_compiler_of_the_targets_own_version() -> None:
    for version in ("14.2.0-19cross1", "14.2.0-19cross12"):
        roots = (f"gcc-14-{GNU}={version}", f"g++-14-{GNU}={version}", f"binutils-{GNU}=2.44-3")
        assert crossing(version) == crossing(version, asked="14.2.0") == roots


@pytest.mark.parametrize(
    ("version", "binutils", "asked"),
    [
        ("14.2.0-18cross1", "2.44-3", "14"),
        ("14.2.0-20cross1", "2.44-3", "14"),
        ("14.2.0-19", "2.44-3", "14"),
        ("14.2.0-19cross1", "2.44-2", "14"),
        ("14.2.0-19cross1", "2.44-3", "14.3"),
        ("14.2.0-19cross1", "2.44-3", "13"),
    ],
)
def test_a_cross_compiler_of_another_version_is_none(version: str, binutils: str, asked: str) -> None:
    assert crossing(version, binutils, asked) == ()


def test_clang_is_of_one_build_everywhere() -> None:
    here = universe("clang-19 1:19.1.7-3+b2\nlld-19 1:19.1.7-3+b2\nclang-19 1:19.1.7-3+b1\nlld-19 1:19.1.7-3+b1")
    there = universe("clang-19 1:19.1.7-3+b1\nlld-19 1:19.1.7-3+b1")
    assert toolchain_packages("clang", "19", here) == ("clang-19=1:19.1.7-3+b2", "lld-19=1:19.1.7-3+b2")
    assert toolchain_packages("clang", "19", here, [there]) == ("clang-19=1:19.1.7-3+b1", "lld-19=1:19.1.7-3+b1")
    with pytest.raises(ResolveError, match="no clang 19, but none at all"):
        toolchain_packages("clang", "19", here, [universe("clang-19 1:19.1.7-3+b3\nlld-19 1:19.1.7-3+b3")])


def test_what_clang_and_gcc_compile_against() -> None:
    there = universe("libstdc++6 15.1.0-2\nlibstdc++-14-dev 14.2.0-19\nlibstdc++-15-dev 15.1.0-2")
    assert sysroot_packages("gcc", "14.2", there) == ("libstdc++-14-dev", "libc6-dev")
    assert sysroot_packages("clang", "19", there) == ("libstdc++-15-dev", "libc6-dev")
    with pytest.raises(ResolveError, match="libstdc"):
        sysroot_packages("clang", "19", universe("a 1"))


def test_the_emulator_moved_between_releases() -> None:
    bookworm = "qemu-user 1:7.2+dfsg-7\nqemu-user-static 1:7.2+dfsg-7"
    trixie = "qemu-user 1:10.0.13+ds-0\nqemu-user-static 1:10.0.13+ds-0; Depends: qemu-user"
    assert tools_packages(universe(bookworm)) == ("qemu-user-static", "busybox-static")
    assert tools_packages(universe(trixie)) == ("qemu-user", "busybox-static")
    with pytest.raises(ResolveError, match="qemu-user"):
        tools_packages(universe("a 1"))
