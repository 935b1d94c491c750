"""What processes inherit from whoever starts them, beyond a command line: cores, address randomisation, limits.

Linux keeps affinity and personality per thread and hands them to children, so a thread takes them on for the moment in
which it starts a program, and no other thread notices. A limit is the whole process's; util-linux's prlimit sets it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from builder.errors import EnvironmentFault

_ADDR_NO_RANDOMIZE = 0x0040000
"""As in personality(2)."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a program is started with.

    Attributes:
        environment: of the program itself, which a sandbox does not pass on.
        umask: of its processes.
        cores: that they may run on; None: those of this process.
        randomised: whether stack, heap and libraries are placed at random addresses.
        data: bytes of memory of its own that each process may have (RLIMIT_DATA), and all of them together; None: any.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    cores: frozenset[int] | None = None
    randomised: bool = True
    data: int | None = None


ORDINARY = Inherited()


def under(inherited: Inherited) -> list[str]:
    """What to put before a command line.

    Raises:
        EnvironmentFault: a limit is wanted, and the program that sets it is missing.
    """
    if inherited.data is None:
        return []
    program = shutil.which("prlimit")
    if program is None:
        raise EnvironmentFault("prlimit is not installed", hint="install util-linux, or set no memory limit")
    return [program, f"--data={inherited.data}", "--"]


@contextmanager
def passed_on(inherited: Inherited) -> Iterator[None]:
    """Take on what is to be inherited, in this thread, for as long as the block lasts.

    Raises:
        EnvironmentFault: this machine has no such core, or does not let a process turn randomisation off.
    """
    cores = os.sched_getaffinity(0)
    if inherited.cores is not None:
        _bind(inherited.cores)
    try:
        if inherited.randomised:
            yield
        else:
            before = _personality(_ADDR_NO_RANDOMIZE)
            try:
                yield
            finally:
                _personality(before)
    finally:
        if inherited.cores is not None:
            os.sched_setaffinity(0, cores)


def _bind(cores: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError) as error:
        named = ", ".join(map(str, sorted(cores)))
        raise EnvironmentFault(f"no run can be bound to the cores {named} here: {error}") from error
    if missing := cores - os.sched_getaffinity(0):
        raise EnvironmentFault(f"this machine has no core {min(missing)} that this process may use")


def _personality(value: int) -> int:
    """Set the thread's execution domain; returns the one before."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = int(libc.personality(ctypes.c_ulong(value)))
    if before == -1:
        raise EnvironmentFault(
            f"address randomisation cannot be turned off here: {os.strerror(ctypes.get_errno())}",
            hint="a container's security profile may forbid personality(2)",
        )
    return before
