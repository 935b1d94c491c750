"""CPUs that this machine does not have, emulated by the QEMU that the lock names and by no other."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from builder.backends.limit import Limit
from builder.backends.roots import emulator
from builder.errors import EnvironmentFault
from builder.hosts.facts import this_machine
from builder.hosts.host import HERE, NOTHING, Conditions, Runnable, RunResult
from builder.hosts.local import run
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store


@dataclass(frozen=True, slots=True)
class Qemu:
    """This machine with an emulated CPU of `platform`, whose model a run's conditions name.

    `tools` are the lock's.
    """

    name: str
    platform: Platform
    store: Store
    tools: Sequence[Artifact]
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def kind(self) -> str:
        """As `hosts.toml` calls it."""
        return "qemu"

    @property
    def machine(self) -> str:
        """This one."""
        return HERE

    def identity(self) -> Mapping[str, Any]:
        """This machine, and the emulator."""
        named = sorted(item.sha256 for item in self.tools if item.name.startswith("qemu-user"))
        return {**this_machine(), "emulators": named}

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
        """Run an image once; see `builder.hosts.host.Host`."""
        limit = Limit(timeout, self._stop)
        program = emulator(self.store, self.tools, host=host_platform(), guest=image.platform)
        if conditions.cpu is not None and conditions.cpu.partition(",")[0] not in models(program):
            raise EnvironmentFault(
                f"the lock's QEMU knows no CPU {conditions.cpu!r} of {image.platform}",
                hint=f"`{program} -cpu help` lists those that it knows",
            )
        return run(
            self.store, image, inputs, output, tools=self.tools, conditions=conditions, requests=requests, limit=limit,
            progress=progress,
        )  # fmt: skip

    def close(self) -> None:
        """End what still runs."""
        self._stop.set()


@cache
def models(program: Path) -> frozenset[str]:
    """The CPU models that an emulator knows.

    Raises:
        EnvironmentFault: it does not start.
    """
    try:  # its exit status is 1 even so
        told = subprocess.run([program, "-cpu", "help"], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise EnvironmentFault(f"the emulator does not start: {error.strerror}", where=str(program)) from error
    listed, _, _features = told.stdout.partition("\n\n")
    return frozenset(re.findall(r"^ +([A-Za-z0-9][\w.-]*)", listed, re.MULTILINE))
