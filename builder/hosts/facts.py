"""What makes this machine the one that it is, as far as a result may depend on it."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TELLING = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
)  # fmt: skip
"""Keys of /proc/cpuinfo that tell one CPU from another, on x86 and on Arm."""


@functools.cache
def this_machine() -> Mapping[str, Any]:
    """The CPU, the kernel and the cores that this process may use."""
    system = os.uname()
    return {
        "cpu": hashlib.sha256(_cpu(Path("/proc/cpuinfo")).encode()).hexdigest(),
        "cores": sorted(os.sched_getaffinity(0)),
        "kernel": system.release,
        "machine": system.machine,
    }


def _cpu(path: Path) -> str:
    """The telling lines about the first processor."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return "unknown"
    first = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in first if line.partition(":")[0].strip() in _TELLING)
