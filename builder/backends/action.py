"""An action: one hermetic command, as data.

Everything that a build runs (compiling C++, compiling Python to bytecode) is an action: a root file system made of
locked Debian packages, input blobs at fixed paths, a command, and one folder of outputs. A backend is whatever can run
it. Equal actions have equal keys, and equal keys equal outputs, whoever the backend is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from builder.platforms import Platform
from builder.progress import Progress

OUTPUT = "/out"
"""Where an action writes; what is there when it ends is its output."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A blob of the store, read-only at `path` (absolute) inside the action."""

    path: str
    sha256: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class NixpkgsRoot:
    """A root file system that Nix makes of a package of a pinned nixpkgs: its programs in /usr/bin.

    `source` is the hex SHA-256 of the tree's Nix archive, `version` what the package's own has to begin with.
    """

    rev: str
    source: str
    attribute: str
    version: str


@dataclass(frozen=True, slots=True)
class Action:
    """A command in a closed world.

    `root` are the SHA-256 of the debs that make the root file system, merged as an image's base layer is, in the
    lock's order; only Nix can run an action that has `nixpkgs` in their place. `env` is the whole environment. Nothing
    else is visible: no network, no host files, no clock but `SOURCE_DATE_EPOCH`.
    """

    name: str
    platform: Platform
    root: tuple[str, ...]
    inputs: tuple[InputFile, ...]
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    epoch: int
    nixpkgs: NixpkgsRoot | None = None

    def key(self) -> str:
        """Hex SHA-256 over everything but the name, in RFC 8785 form: equal keys mean equal outputs."""
        import rfc8785  # noqa: PLC0415 - not needed to print a version

        body: dict[str, Any] = {
            "action": 1,
            "argv": list(self.argv),
            "env": [list(pair) for pair in sorted(self.env)],
            "epoch": self.epoch,
            "inputs": sorted([item.path, item.sha256, item.executable] for item in self.inputs),
            "platform": self.platform,
            "root": list(self.root),
        }
        if self.nixpkgs is not None:
            body["nixpkgs"] = [self.nixpkgs.source, self.nixpkgs.attribute, self.nixpkgs.version]
        return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


class Backend(Protocol):
    """Something that runs actions."""

    name: str

    def check(self) -> None:
        """Raise `EnvironmentFault`, saying what to enable, if this backend cannot work on this machine."""

    def run(self, action: Action, progress: Progress) -> str:
        """Run one action.

        Returns:
            Hex SHA-256 of a canonical tar (see `builder.layers.tar`) in the store that holds the output folder's
            files.

        Raises:
            KernelError: the command failed; the message holds the end of its stderr.
            EnvironmentFault: the machine could not run it at all.
        """
