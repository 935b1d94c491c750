"""What this machine offers a kernel, as seen from outside of an image.

The runtime looks again, from inside, and its word counts (docs/protocol.md, section 5): it sees the CPU that a process
has, which an emulator may have made, where `/proc/cpuinfo` tells of the machine.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.platforms import NAMES
from builder.spec import features

_NVIDIA = "proc/driver/nvidia"
_PATIENCE = 10
"""Seconds for a driver to answer."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator: its model, its driver's version and its compute capability, `?` where nobody says."""

    model: str
    driver: str
    capability: str

    def __str__(self) -> str:
        return f"{self.model}, driver {self.driver}, compute capability {self.capability}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a machine has.

    Attributes:
        architecture: by Debian's name, such as `amd64`; by the kernel's where Debian has none here.
        features: of the CPU, by the names that a spec uses.
        memory: bytes that a process of this user may take.
        accelerators: with driver and capability as far as they can be told.
    """

    architecture: str
    features: frozenset[str]
    memory: int
    accelerators: tuple[Accelerator, ...] = ()


def this_machine(root: Path = Path("/")) -> Offer:
    """Look at this machine.

    Args:
        root: where `/proc` and `/sys` are.
    """
    machine = os.uname().machine
    architecture = next((names.debian for names in NAMES.values() if names.machine == machine), machine)
    listed = cpu_features(_text(root / "proc/cpuinfo"), architecture)
    return Offer(architecture, listed, memory(root), tuple(accelerators(root)))


def cpu_features(cpuinfo: str, architecture: str) -> frozenset[str]:
    """Features of the first CPU that `/proc/cpuinfo` lists."""
    known: Mapping[str, str] = {"amd64": features.AMD64, "arm64": features.ARM64}.get(architecture, {})
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            flags = set(value.split())
            return frozenset(name for name, flag in known.items() if flag in flags)
    return frozenset()


def memory(root: Path = Path("/")) -> int:
    """The least of what the machine has and what control groups and the process's own limits allow, in bytes."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_groups(root)]
    soft = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min([*limits, *(limit for limit in soft if limit != resource.RLIM_INFINITY)])


def accelerators(root: Path = Path("/")) -> Iterator[Accelerator]:
    """NVIDIA's, by the driver's own files; with compute capabilities where its tool is at hand."""
    version = _text(root / _NVIDIA / "version")
    if not version:
        return
    driver = next((word for word in version.split() if word.count(".") and word.replace(".", "").isdecimal()), "?")
    cards = sorted((root / _NVIDIA / "gpus").glob("*/information"))
    capabilities = _capabilities() if root == Path("/") else []
    for index, card in enumerate(cards):
        lines = (line.partition(":") for line in _text(card).splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "Model"), "NVIDIA")
        yield Accelerator(model, driver, capabilities[index] if index < len(capabilities) else "?")


def _capabilities() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        said = subprocess.run(
            [tool, "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip().replace(".", "").isdecimal()]


def _groups(root: Path) -> Iterator[int]:
    """Limits of the process's control group and of those around it, of either version of the interface."""
    mounted = root / "sys/fs/cgroup"
    lines = _text(root / "proc/self/cgroup").splitlines()
    for top, file, controller in ((mounted, "memory.max", ""), (mounted / "memory", "memory.limit_in_bytes", "memory")):
        parts = (line.split(":", 2) for line in lines if line.count(":") > 1)
        own = PurePosixPath(next((path for _, names, path in parts if controller in names.split(",")), "/"))
        for path in (own, *own.parents):
            text = _text(top / str(path).lstrip("/") / file).strip()
            if text.isascii() and text.isdecimal():
                yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
