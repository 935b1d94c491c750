"""Nix's own programs, wrapped: nix-store, nix-prefetch-url and nix-build."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.backends import kept
from builder.backends.nix_faults import OWN_WORDS, refusal
from builder.errors import EnvironmentFault

OLDEST = (2, 8)

OPTIONS = (
    *("--option", "sandbox", "true"),
    *("--option", "sandbox-fallback", "false"),
    *("--option", "builders", ""),
    *("--option", "sandbox-paths", ""),  # distributions show builds a shell of theirs
)
"""What every build insists on. A daemon ignores all that makes a sandbox where the user is not trusted, so a build also
looks for itself whether it is in one (`nix/compile.sh`)."""

ALONE = ("--option", "substitute", "false")
"""What is built here is nothing that a cache has, and asking one would be network access. A compiler of nixpkgs is an
exception: where no cache has it, it takes hours to build."""

_LARGE = 8 << 20
"""Bytes from which a file is worth a process of its own that looks whether Nix has it already."""

_AT_ONCE = 512
"""How many files one process adds."""

_VERSION = re.compile(r"\b(\d+)\.(\d+)")
_FAILED = re.compile(r"'([^']+\.drv)'")


@dataclass(frozen=True, slots=True)
class FixedFile:
    """A file for the Nix store: its name there, where it is, its hex SHA-256 and size in bytes."""

    name: str
    path: Path
    sha256: str
    size: int


class BuildFailed(Exception):
    """A script of the library in nix/ ended with an error.

    Args:
        log: all that it printed, its own words in the last line.
    """

    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.log = log


class Nix:
    """The Nix of this machine, single-user or with a daemon, as its own settings say.

    Raises:
        EnvironmentFault: there is none, or it is too old.
    """

    def __init__(self) -> None:
        from plumbum import local  # noqa: PLC0415 - not needed to print a version

        self._programs: dict[str, Any] = {
            name: local[_where(name)] for name in ("nix-build", "nix-store", "nix-prefetch-url")
        }
        self._paths: dict[FixedFile, str] = {}
        self.version = self._version()
        if self.version < OLDEST:
            raise EnvironmentFault(
                f"Nix {'.'.join(map(str, self.version))} is too old; kbuild needs {'.'.join(map(str, OLDEST))}",
                hint="install a newer Nix, or build with another --backend",
            )

    def add(self, files: Sequence[FixedFile], place: Path) -> None:
        """Have files in the Nix store, each as the fixed output that its name and hash stand for.

        Args:
            files: whose content was checked against the hash.
            place: a folder on the files' own file system, for links that bear the names.

        Raises:
            EnvironmentFault: Nix does not take them.
        """
        absent = self._absent(files, place)
        small = [file for file in absent if file.size < _LARGE]
        for file in absent:
            if file.size >= _LARGE:
                url = file.path.absolute().as_uri()
                line = ("--print-path", "--type", "sha256", "--name", file.name, url, file.sha256)
                self._paths[file] = self._run(place, "nix-prefetch-url", *line)[-1]
        for start in range(0, len(small), _AT_ONCE):
            part = small[start : start + _AT_ONCE]
            links = [_link(file, place) for file in part]
            self._paths |= zip(part, self._run(place, "nix-store", "--add-fixed", "sha256", *links), strict=True)

    def _absent(self, files: Sequence[FixedFile], place: Path) -> list[FixedFile]:
        """Which files this process has not added, or the Nix store has lost since."""
        known = {self._paths[file]: file for file in files if file in self._paths}
        lost = self._run(place, "nix-store", "--check-validity", "--print-invalid", *known) if known else []
        gone = {known[path] for path in lost}
        return [file for file in files if file not in self._paths or file in gone]

    def touch(self, place: Path) -> None:
        """Write a few bytes to the Nix store, to see whether it can be written to.

        Raises:
            EnvironmentFault: it cannot.
        """
        (place / "kbuild-was-here").write_bytes(b"")
        self._run(place, "nix-store", "--add-fixed", "sha256", str(place / "kbuild-was-here"))

    def build(self, expression: Path, link: Path | None, options: Sequence[str] = ALONE) -> Path:
        """Build what an expression stands for.

        Args:
            expression: a file whose value is a derivation.
            link: to be made; while it stands, Nix's garbage collector leaves the result alone. None makes none.
            options: in addition to what every build insists on; with `-A`, an attribute is built instead.

        Returns:
            The output's path in the Nix store; of several outputs, the last one's.

        Raises:
            BuildFailed: a script of the library ended with an error.
            EnvironmentFault: Nix could not do it.
        """
        place = expression.parent
        linked = ("--out-link", str(link)) if link else ("--no-out-link",)
        status, out, said = self._call(place, "nix-build", str(expression), *linked, *OPTIONS, *options)
        if status == 0:
            return Path(out.strip().splitlines()[-1])
        log = self._log(place, said)
        if OWN_WORDS in log.rstrip().rpartition("\n")[2]:
            raise BuildFailed(log)
        raise refusal(said) or EnvironmentFault(f"nix-build failed: {said.strip()}")

    def _log(self, place: Path, said: str) -> str:
        """What the builder that failed printed, without Nix's own words; empty if none did."""
        for line in said.splitlines():
            if ("failed" in line or "Cannot build" in line) and (found := _FAILED.search(line)):
                status, log, _ = self._call(place, "nix-store", "--read-log", found[1])
                if status == 0 and log:
                    return log
        return ""

    def _version(self) -> tuple[int, int]:
        try:  # plumbum's own idea of the environment is as old as its import
            _, out, said = self._programs["nix-store"].with_env(**os.environ).run("--version", retcode=None)
        except OSError as error:
            raise EnvironmentFault(f"nix-store does not start: {error.strerror}") from error
        found = _VERSION.search(str(out))
        if found is None:
            raise refusal(str(said)) or EnvironmentFault(
                f"nix-store does not say its version: {str(out or said).strip()}"
            )
        return int(found[1]), int(found[2])

    def _run(self, place: Path, program: str, *arguments: str) -> list[str]:
        """Run to the end, as `_call`; returns the lines that it printed."""
        status, out, said = self._call(place, program, *arguments)
        if status != 0:
            raise refusal(said) or EnvironmentFault(f"{program} failed: {said.strip()}")
        return out.splitlines()

    def _call(self, place: Path, program: str, *arguments: str) -> tuple[int, str, str]:
        """Run to the end, or to kbuild's; returns exit status, stdout and stderr.

        Args:
            place: a folder that is removed whatever becomes of this process. Nix has its temporary folders there, and a
                one-user Nix builds in them: where it is killed it leaves them behind.
            program: one of Nix's.
            arguments: for it.
        """
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": str(place.absolute())}
        try:
            ended = kept.run(self._programs[program][arguments], environment)
        except OSError as error:
            raise EnvironmentFault(f"{program} does not start: {error.strerror}") from error
        return ended.status, ended.out.decode(errors="replace"), ended.said.decode(errors="replace")


def _link(file: FixedFile, place: Path) -> str:
    """A file's path by a link that bears the name that it is to have."""
    link = place / file.sha256 / file.name
    link.parent.mkdir(exist_ok=True)
    if not link.exists():
        link.hardlink_to(file.path)
    return str(link)


def _where(name: str) -> str:
    """A program's path."""
    found = shutil.which(name)
    if found is None:
        raise EnvironmentFault(
            f"Nix is not installed: there is no {name}",
            hint="install Nix, such as Debian's package `nix-bin`, or build with another --backend",
        )
    return found
