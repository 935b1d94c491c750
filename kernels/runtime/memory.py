"""How much memory this process may take, and how much it took; all in bytes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_INTERFACES = ((_CGROUPS, "memory.max", ""), (_CGROUPS / "memory", "memory.limit_in_bytes", "memory"))
"""Where control groups are mounted, the file with the limit, and the controller's name; version 2, then version 1."""


def available() -> int:
    """The least of what the machine has, what the control groups allow, and what the process's own limits allow."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_groups()]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def peak() -> int:
    """The most that this process has had in memory at once, since it runs this program; 0 if nobody tells.

    Not `getrusage`, whose peak a process inherits from the one that started it.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024  # proc(5): "kB", of 1024 bytes
    except OSError:
        pass
    return 0


def _groups() -> Iterator[int]:
    """The limits of the process's control group and of those around it, of either version of the interface."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for top, file, controller in _INTERFACES:
        own = _group(lines, controller)
        # Inside a container the top may be the process's own group, whatever path the line names.
        for path in {PurePosixPath("/"), PurePosixPath(own), *PurePosixPath(own).parents}:
            limit = _number(top / str(path).lstrip("/") / file)
            if limit is not None:
                yield limit


def _group(lines: list[str], controller: str) -> str:
    """The path of the line `NUMBER:CONTROLLERS:PATH` (cgroups(7)) with this controller; version 2 names none."""
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            return path
    return "/"


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None
