from __future__ import annotations

import pytest
from debian_archive import universe

from builder.errors import ResolveError
from builder.lock.debian.solver import resolve
from builder.lock.debian.toolchain import toolchain_packages, tools_packages

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


def test_the_emulator_moved_between_releases() -> None:
    bookworm = "qemu-user 1:7.2+dfsg-7\nqemu-user-static 1:7.2+dfsg-7"
    trixie = "qemu-user 1:10.0.13+ds-0\nqemu-user-static 1:10.0.13+ds-0; Depends: qemu-user"
    assert tools_packages(universe(bookworm)) == ("qemu-user-static", "busybox-static")
    assert tools_packages(universe(trixie)) == ("qemu-user", "busybox-static")
    with pytest.raises(ResolveError, match="qemu-user"):
        tools_packages(universe("a 1"))
