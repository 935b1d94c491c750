from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

import pytest
from packaging.markers import default_environment
from packaging.tags import Tag, sys_tags

from builder.errors import ResolveError
from builder.lock.target import Target, python_release, python_version, target
from builder.platforms import host_platform


@dataclass(frozen=True)
class Deb:
    name: str
    version: str


TRIXIE = [Deb("libc6", "2.41-12"), Deb("python3", "3.13.5-1"), Deb("python3.13-minimal", "3.13.5-2+deb13u1")]


def test_debian_13() -> None:
    found = target("linux/arm64", TRIXIE)
    assert found == Target("linux/arm64", "3.13.5", (2, 41))
    assert (found.series, found.machine) == ("3.13", "aarch64")
    assert python_version(TRIXIE) == "3.13"


def test_debian_12() -> None:
    found = target("linux/amd64", [Deb("libc6", "2.36-9+deb12u10"), Deb("python3.11-minimal", "3.11.2-6+deb12u6")])
    assert (found.python, found.glibc, found.uv) == ("3.11.2", (2, 36), "x86_64-manylinux_2_36")


def test_a_pre_release_counts_as_its_release() -> None:
    assert python_release([Deb("python3.14-minimal", "3.14.0~rc2-1")]) == "3.14.0"


@pytest.mark.parametrize(
    "debs",
    [
        [],
        TRIXIE[:2],
        TRIXIE[1:],
        [*TRIXIE, Deb("python3.12-minimal", "3.12.1-1")],
        [TRIXIE[0], Deb("python3.13-minimal", "unknown")],
        [Deb("libc6", "?"), *TRIXIE[1:]],
    ],
)
def test_an_image_needs_one_python_and_a_c_library(debs: list[Deb]) -> None:
    with pytest.raises(ResolveError, match=r"has no (Python|C library)|has Python 3\.12\.1 and 3\.13\.5"):
        target("linux/amd64", debs)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="compares with a host of glibc")
def test_tags_are_those_that_packaging_finds_on_a_host_like_the_target() -> None:
    glibc = tuple(int(part) for part in platform.libc_ver()[1].split("."))
    here = Target(host_platform(), platform.python_version(), (glibc[0], glibc[1]))
    assert sys.version_info[:2] == tuple(int(part) for part in here.series.split("."))
    assert list(here.tags()) == list(sys_tags())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="compares with a host of glibc")
def test_markers_are_those_of_a_host_like_the_target() -> None:
    here = Target(host_platform(), platform.python_version(), (2, 36)).environment()
    theirs = default_environment()
    vague = {"platform_release", "platform_version"}  # the kernel's: nobody knows the node's
    assert {key: value for key, value in here.items() if key not in vague} == {
        key: value for key, value in theirs.items() if key not in vague
    }


def test_the_order_of_tags_prefers_the_closest_fit() -> None:
    tags = list(target("linux/amd64", TRIXIE).tags())
    order = [
        Tag("cp313", "cp313", "manylinux_2_41_x86_64"),
        Tag("cp313", "cp313", "manylinux_2_17_x86_64"),
        Tag("cp313", "cp313", "manylinux2014_x86_64"),
        Tag("cp313", "abi3", "manylinux_2_41_x86_64"),
        Tag("cp312", "abi3", "manylinux_2_5_x86_64"),
        Tag("py3", "none", "manylinux_2_41_x86_64"),
        Tag("py3", "none", "any"),
    ]
    places = [tags.index(tag) for tag in order]
    assert places == sorted(places)
    assert not any("aarch64" in tag.platform or "musl" in tag.platform or tag.interpreter == "cp314" for tag in tags)
    assert Tag("cp313", "cp313", "manylinux_2_42_x86_64") not in tags


def test_arm64_begins_where_manylinux_does() -> None:
    platforms = {tag.platform for tag in target("linux/arm64", TRIXIE).tags()}
    assert "manylinux2014_aarch64" in platforms
    assert "manylinux_2_16_aarch64" not in platforms
    assert "manylinux1_aarch64" not in platforms
