"""What a wheel has to fit: the image's Python, C library and processor, as the Debian packages of the image say.

Nothing here asks the machine that kbuild runs on. Tags are those of PEP 425, 600 (manylinux) and 656.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from packaging.markers import Environment
from packaging.tags import Tag, compatible_tags, cpython_tags

from builder.errors import ResolveError
from builder.platforms import NAMES, Platform


class Versioned(Protocol):
    """A Debian package, as resolved or as locked."""

    @property
    def name(self) -> str:
        """The binary package's name."""

    @property
    def version(self) -> str:
        """Its Debian version."""


_OLDEST_GLIBC = {"x86_64": (2, 5), "aarch64": (2, 17)}
"""Where manylinux begins: PEP 513 and PEP 599."""

_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
"""PEP 600's other names for three of its platforms."""

_NEWEST_OF_UV = (2, 40)
"""The newest manylinux that uv has a target for (0.9 to 0.13); a wheel that needs a newer one is not found."""


@dataclass(frozen=True, slots=True)
class Target:
    """One image's inside: `python` is a full version ("3.13.5"), `glibc` major and minor."""

    platform: Platform
    python: str
    glibc: tuple[int, int]

    @property
    def series(self) -> str:
        """Python's major and minor version ("3.13")."""
        return ".".join(self.python.split(".")[:2])

    @property
    def machine(self) -> str:
        """The processor, as Python names it."""
        return NAMES[self.platform].machine

    @property
    def uv(self) -> str:
        """The nearest target that uv knows."""
        major, minor = min(self.glibc, _NEWEST_OF_UV)
        return f"{self.machine}-manylinux_{major}_{minor}"

    def tags(self) -> Iterator[Tag]:
        """The tags of wheels that run inside, best first."""
        series = tuple(int(part) for part in self.series.split("."))
        interpreter = f"cp{series[0]}{series[1]}"
        platforms = list(self._platforms())
        yield from cpython_tags(series, [interpreter], platforms)
        yield from compatible_tags(series, interpreter, platforms)

    def environment(self) -> Environment:
        """The values of PEP 508's markers inside."""
        return Environment(
            implementation_name="cpython",
            implementation_version=self.python,
            os_name="posix",
            platform_machine=self.machine,
            platform_python_implementation="CPython",
            platform_release="",
            platform_system="Linux",
            platform_version="",
            python_full_version=self.python,
            python_version=self.series,
            sys_platform="linux",
        )

    def _platforms(self) -> Iterator[str]:
        yield f"linux_{self.machine}"  # first, as pip and packaging have it; no public index takes such wheels
        major, newest = self.glibc
        for minor in range(newest, _OLDEST_GLIBC[self.machine][1] - 1, -1):
            yield f"manylinux_{major}_{minor}_{self.machine}"
            if legacy := _LEGACY.get((major, minor)):
                yield f"{legacy}_{self.machine}"


def target(platform: Platform, packages: Iterable[Versioned]) -> Target:
    """What the Debian packages of an image make of it.

    Args:
        platform: of the image.
        packages: all of the image's packages.

    Raises:
        ResolveError: there is no Python among them, or no C library.
    """
    packages = tuple(packages)
    versions = {item.name: item.version for item in packages}
    glibc = re.match(r"(?:\d+:)?(\d+)\.(\d+)", versions.get("libc6", ""))
    if glibc is None:
        raise ResolveError("the image has no C library (libc6)", where=f"os.packages for {platform}", hint=_ADD)
    return Target(platform, python_release(packages), (int(glibc[1]), int(glibc[2])))


def python_version(packages: Iterable[Versioned]) -> str:
    """Python's major and minor version inside an image ("3.13").

    Raises:
        ResolveError: there is no Python among the packages, or more than one.
    """
    return ".".join(python_release(packages).split(".")[:2])


def python_release(packages: Iterable[Versioned]) -> str:
    """Python's full version inside an image ("3.13.5"); a Debian revision or pre-release suffix is left out.

    Raises:
        ResolveError: there is no Python among the packages, or more than one.
    """
    found = {item.version for item in packages if re.fullmatch(r"python3\.\d+-minimal", item.name)}
    releases = {match[1] for version in found if (match := re.match(r"(?:\d+:)?(3\.\d+\.\d+)", version))}
    if len(releases) != 1:
        message = (
            "the image has no Python" if not releases else f"the image has Python {' and '.join(sorted(releases))}"
        )
        raise ResolveError(message, where="os.packages", hint=_ADD if not releases else "keep one of them")
    return releases.pop()


_ADD = "add python3 to os.packages"
