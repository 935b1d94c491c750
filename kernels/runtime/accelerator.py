"""Accelerators that this process could use: what the driver's own files and its own tool say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # which needs this module's types
    from kernels.runtime.declared import Cuda
    from kernels.runtime.host import Host

NVIDIA = Path("/proc/driver/nvidia")
TOOL = "nvidia-smi"
"""Comes into a container with the driver's libraries; it alone knows compute capabilities."""

PATIENCE = 10
"""Seconds for the tool to answer."""


class Accelerator(NamedTuple):
    """One accelerator: its model, its driver's version and its compute capability, `?` where nobody says."""

    model: str
    driver: str
    capability: str

    def __str__(self) -> str:
        return f"{self.model}, driver {self.driver}, compute capability {self.capability}"


def seen(host: Host, wanted: Cuda | None) -> Host:
    """The host together with its accelerators, if any is wanted: asking for them takes a moment."""
    if wanted is None:
        return host
    found = tuple(nvidia())
    facts = dict(host.facts) | {"accelerators": [str(one) for one in found]}
    return host._replace(accelerators=found, facts=facts)


def nvidia(files: Path = NVIDIA) -> list[Accelerator]:
    """NVIDIA's, in the order of their addresses; none where the driver is not there or says nothing."""
    words = _text(files / "version").split()
    driver = next((word for word in words if word.count(".") and word.replace(".", "").isdecimal()), "?")
    cards = sorted((files / "gpus").glob("*/information"))
    capabilities = _capabilities() if cards else []
    return [
        Accelerator(_model(card), driver, capabilities[index] if index < len(capabilities) else "?")
        for index, card in enumerate(cards)
    ]


def _model(card: Path) -> str:
    lines = (line.partition(":") for line in _text(card).splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "Model"), "NVIDIA")


def _capabilities() -> list[str]:
    import subprocess  # noqa: PLC0415 - only where there are cards

    command = [TOOL, "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip().replace(".", "").isdecimal()]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
