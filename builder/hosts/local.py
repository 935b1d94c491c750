"""Running an image on this machine, in a sandbox, by the execution protocol (docs/protocol.md)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.backends import bwrap
from builder.backends.inherited import Inherited
from builder.backends.limit import ENDLESS, Limit
from builder.backends.roots import emulator, image_root
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, root_names
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault, IntegrityError, KbuildError, KernelError
from builder.hosts import receipt as receipts
from builder.hosts.exchange import RECEIPT, deliver, given, keep
from builder.hosts.facts import this_machine
from builder.hosts.host import HERE, NOTHING, PLAIN, Conditions, Runnable, RunResult
from builder.hosts.receipt import Receipt
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store

_SIGNALS = {
    4: "the CPU does not know an instruction that the image uses",
    9: "the process was killed: most often the machine ran out of memory",
}

_BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(1000000):\n        pass"
"""A program that uses one core until whoever started it is gone."""


@dataclass(frozen=True, slots=True)
class Log:
    """What an emulator is to write down of a run: its options, and the folder that it sees as `/io/log`."""

    options: tuple[str, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Local:
    """This machine, with its own CPU."""

    name: str
    store: Store
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def kind(self) -> str:
        """As `hosts.toml` calls it."""
        return "local"

    @property
    def platform(self) -> Platform:
        """Its own."""
        return host_platform()

    @property
    def machine(self) -> str:
        """This one."""
        return HERE

    def identity(self) -> Mapping[str, Any]:
        """The CPU, the kernel and the cores."""
        return this_machine()

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
        if image.platform != self.platform or conditions.cpu:
            raise EnvironmentFault(
                f"this machine's own CPU is of {self.platform}", hint="a host of kind qemu emulates another"
            )
        return run(
            self.store, image, inputs, output, conditions=conditions, requests=requests,
            limit=Limit(timeout, self._stop), progress=progress,
        )  # fmt: skip

    def close(self) -> None:
        """End what still runs."""
        self._stop.set()


def run(
    store: Store,
    image: Runnable,
    inputs: Sequence[Path],
    output: Path | None,
    *,
    tools: Sequence[Artifact] = (),
    conditions: Conditions = PLAIN,
    requests: Mapping[str, bytes] = NOTHING,
    limit: Limit = ENDLESS,
    log: Log | None = None,
    progress: Progress,
) -> RunResult:
    """Run an image once.

    Args:
        store: has the image's layers and the tools.
        image: what to run.
        inputs: files for `/io/in`.
        output: folder for the results, made if it is missing; a folder of the store if None. A failed run leaves its
            receipt, if it names one.
        tools: the lock's tools; needed where the image is for another platform, or a CPU is asked for.
        conditions: what to put the run under.
        requests: more files for `/io/in`, by names that begin with a dot.
        limit: when to end it from outside.
        log: what an emulator writes down; None: nothing.
        progress: sees what the image prints as details.

    Raises:
        UsageError: an input is no file.
        TimedOut: the limit came before its end.
        KernelError: the kernel or its inputs are at fault, by the runtime's own words.
        EnvironmentFault: this machine cannot run it.
        KbuildError: the runtime has a bug.
    """
    runner = None
    if conditions.cpu or log or image.platform != host_platform():
        path = emulator(store, tools, host=host_platform(), guest=image.platform)
        runner = Emulator(path, conditions.cpu, log.options if log else ())
    program = bwrap.program()
    root = image_root(store, image.layers)
    with workplace(store) as place:
        results = place / "out"
        results.mkdir()
        results.chmod(0o755)
        mounts = [Mount(results, "/io/out", writable=True)]
        if inputs or requests:
            mounts.append(Mount(given(inputs, requests, place / "in"), "/io/in"))
        if log:
            mounts.append(Mount(log.folder, "/io/log", writable=True))
        sandbox = Sandbox(
            root=root,
            names=root_names(root),
            argv=image.entrypoint,
            env={**surplus(conditions), **image.stated(), **conditions.environment},
            mounts=tuple(mounts),
            cwd=image.working_dir,
            topology=True,
            emulator=runner,
        )
        with progress.step(f"run {image.name}") as step, busy(conditions.load):
            if runner:
                step.note(f"emulated{f' {conditions.cpu}' if conditions.cpu else ''}")
            ended = bwrap.execute(
                command(program, sandbox), watch=_lines(progress.detail), inherited=inherited(conditions), limit=limit
            )
        return taken(store, image, ended, results, output)


def taken(store: Store, image: Runnable, ended: bwrap.Ended, results: Path, output: Path | None) -> RunResult:
    """Take over the results of a run that ended, whichever way; see `run` for what is raised.

    Args:
        store: where they go if there is no `output`.
        image: that ran.
        ended: how.
        results: the folder that it could write to.
        output: where they go; a failed run's receipt, too.
    """
    receipt, wrong = _receipt(results)
    if ended.status != 0:
        if output is not None and receipt is not None:
            deliver(results, output, (RECEIPT,))
        raise failure(image.name, ended, receipt)
    if receipt is None or receipt.result.status != "ok":
        said = wrong or "the receipt says that it failed"
        raise KernelError(f"the image ended well but left no receipt that says so: {said}", where=image.name)
    folder = keep(store, results) if output is None else deliver(results, output)
    return RunResult(folder, dict(receipt.document))


def inherited(conditions: Conditions) -> Inherited:
    """What a run's processes are to inherit.

    Raises:
        EnvironmentFault: this machine has not that many cores.
    """
    return Inherited(
        environment=conditions.starter,
        umask=conditions.umask,
        cores=_cores(conditions.cores, sorted(os.sched_getaffinity(0))),
        randomised=conditions.randomised,
        data=conditions.memory,
    )


def surplus(conditions: Conditions) -> dict[str, str]:
    """Variables that nothing reads, and that move what comes after them in memory.

    The kernel puts the environment at the top of the stack; Python copies it to the heap, and a copy of more than 512
    bytes (the most that its own allocator serves) comes out of malloc's.
    """
    return {"KBUILD_SHIFT": "x" * conditions.shift} if conditions.shift else {}


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """Keep this many cores busy."""
    line = [sys.executable, "-I", "-S", "-c", _BUSY, str(os.getpid())]
    started = [subprocess.Popen(line, stdin=subprocess.DEVNULL) for _ in range(threads)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _cores(wanted: int | tuple[int, ...] | None, usable: Sequence[int]) -> frozenset[int] | None:
    if wanted is None:
        return None
    if isinstance(wanted, int):
        if wanted > len(usable):
            raise EnvironmentFault(f"{wanted} cores are asked for, and this process may use {len(usable)}")
        return frozenset(usable[:wanted])
    return frozenset(wanted)


def failure(name: str, ended: bwrap.Ended, receipt: Receipt | None) -> KbuildError:
    """A failed run as an error: the receipt's own words, or else the end of what was printed.

    Args:
        name: of the image.
        ended: how its process ended.
        receipt: that it left, if any.
    """
    families: dict[int, type[KbuildError]] = {2: KernelError, 3: EnvironmentFault, 70: KbuildError}
    error = receipt.result.error if receipt else None
    if error is not None and ended.status in families:
        return families[ended.status](error.message, where=f"{name}, {error.step}", hint=error.hint)
    said = "\n".join(f"    {line}" for line in ended.output.rstrip().splitlines()[-30:])
    said = f":\n{said}" if said else ""
    if ended.status in families:
        return families[ended.status](f"the runtime failed{said}", where=name)
    signal = ended.status - 128  # what bubblewrap makes of a signal's number
    if signal in _SIGNALS:
        return EnvironmentFault(f"{_SIGNALS[signal]}{said}", where=name)
    how = f"was ended by signal {signal}" if signal > 0 else f"ended with status {ended.status}"
    return KernelError(f"the runtime {how}{said}", where=name)


def _receipt(results: Path) -> tuple[Receipt | None, str]:
    """The receipt that an image left, or why there is none that can be read."""
    try:
        return receipts.read(results / RECEIPT), ""
    except IntegrityError as error:
        return None, error.message


def _lines(tell: Callable[[str], object]) -> Callable[[bytes], None]:
    """Hand printed bytes on line by line; the last line is told at its end or never, for it is in the error then."""
    pending = bytearray()

    def watch(chunk: bytes) -> None:
        nonlocal pending
        *lines, rest = (pending + chunk).split(b"\n")
        pending = bytearray(rest[-(1 << 16) :])
        for line in lines:
            tell(line.decode(errors="replace"))

    return watch
