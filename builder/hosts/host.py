"""What every host offers: to run an image once, under conditions, by the execution protocol (docs/protocol.md).

A host is a place; conditions are what is varied there. Whoever compares runs needs nothing else from a host, so a new
kind of host is one more implementation of `Host`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from builder.backends.roots import LayerBlob
from builder.platforms import Platform
from builder.progress import Progress

HERE = "this machine"

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Runnable:
    """One platform's image, as its OCI configuration says it runs.

    `digest` is the manifest's and `index` that of the index it was found by, both `sha256:<hex>`, which the receipt
    repeats; `layers` stand bottom first. `numerics` is the version of the numeric specification that its results are
    by, under the profile `portable`; None under any other.
    """

    name: str
    platform: Platform
    digest: str
    layers: tuple[LayerBlob, ...]
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: str = "/"
    index: str | None = None
    numerics: str | None = None

    def stated(self) -> dict[str, str]:
        """The image's environment, and what whoever starts it says of it (docs/protocol.md, section 1)."""
        index = {"KBUILD_INDEX": self.index} if self.index else {}
        return {**self.environment, "KBUILD_IMAGE": self.digest, **index}


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: the folder with its results, and its receipt (docs/protocol.md, "Receipt")."""

    folder: Path
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a run is put under, besides the image's own environment, which no host may change.

    Attributes:
        cores: how many cores the run may use, the first of those there are; or which, by number. None: all of them.
        cpu: the QEMU CPU model to run on; None: the host's own CPU, or QEMU's default model for a foreign platform.
        memory: the most bytes that the run may take; None: no limit of its own.
        environment: variables that are set inside besides the image's. One that the image pins, or that could act on
            results, makes the runtime refuse to run.
        starter: variables of the process that starts the run, none of which may be seen inside.
        umask: of the run's processes.
        randomised: whether the kernel places stack, heap and libraries at random addresses.
        shift: bytes by which stack and heap are moved, by variables of that many bytes that nothing reads.
        load: threads that keep the machine busy meanwhile.
    """

    cores: int | tuple[int, ...] | None = None
    cpu: str | None = None
    memory: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    starter: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    randomised: bool = True
    shift: int = 0
    load: int = 0

    def described(self) -> dict[str, Any]:
        """What is out of the ordinary, as plain JSON data; the same conditions give the same data."""
        found: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if value != getattr(PLAIN, name):
                found[name] = _plain(value)
        return found


PLAIN = Conditions()


class Host(Protocol):
    """A place where images run."""

    @property
    def name(self) -> str:
        """What people call it; unique among the hosts of one comparison."""

    @property
    def kind(self) -> str:
        """Which sort of host it is, as `hosts.toml` calls it."""

    @property
    def platform(self) -> Platform:
        """Of the images that it runs."""

    @property
    def machine(self) -> str:
        """Which machine's cores its runs use: `HERE`, or another's address."""

    def identity(self) -> Mapping[str, Any]:
        """What makes it the machine that it is, as JSON data: a finished run is remembered under it.

        Raises:
            EnvironmentFault: it cannot be reached.
        """

    def run(
        self,
        image: Runnable,
        inputs: Sequence[Path],
        output: Path,
        *,
        conditions: Conditions,
        requests: Mapping[str, bytes] = NOTHING,
        timeout: float,
        progress: Progress,
    ) -> RunResult:
        """Run an image once.

        Args:
            image: what to run.
            inputs: files for `/io/in`.
            output: folder for the results, made if it is missing. A failed run leaves its receipt there too.
            conditions: what to put the run under.
            requests: more files for `/io/in`, by names that begin with a dot: questions to the runtime, not inputs.
            timeout: seconds that the run may take, starting it included.
            progress: sees what the image prints as details.

        Raises:
            UsageError: an input is no file.
            TimedOut: it was not done in time.
            KernelError: the kernel or its inputs are at fault, by the runtime's own words.
            EnvironmentFault: this host cannot run it, or refuses to.
            KbuildError: the runtime has a bug.
        """

    def close(self) -> None:
        """Let go of the host; a run that is still going, in another thread, is ended."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A host under conditions, under the name that reports call it by."""

    name: str
    host: Host
    conditions: Conditions = field(default_factory=Conditions)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    return list(value) if isinstance(value, tuple) else value
