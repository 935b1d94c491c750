"""The platforms an image can be made for, and each world's name for them."""

from __future__ import annotations

import platform as _host
from dataclasses import dataclass
from typing import Literal

from builder.errors import EnvironmentFault

Platform = Literal["linux/amd64", "linux/arm64"]


@dataclass(frozen=True, slots=True)
class PlatformNames:
    """What Debian, Python, GNU, QEMU and the kernel call one platform."""

    platform: Platform
    debian: str  # dpkg architecture
    machine: str  # uname -m, Python's platform_machine, wheel tag suffix
    gnu: str  # multiarch triplet
    qemu: str  # qemu-user's name


NAMES: dict[Platform, PlatformNames] = {
    "linux/amd64": PlatformNames("linux/amd64", "amd64", "x86_64", "x86_64-linux-gnu", "x86_64"),
    "linux/arm64": PlatformNames("linux/arm64", "arm64", "aarch64", "aarch64-linux-gnu", "aarch64"),
}


def host_platform() -> Platform:
    """The platform this process runs on.

    Raises:
        EnvironmentFault: the machine is neither x86-64 nor 64-bit Arm Linux.
    """
    machine = _host.machine()
    for names in NAMES.values():
        if names.machine == machine and _host.system() == "Linux":
            return names.platform
    raise EnvironmentFault(
        f"this machine is {_host.system()} on {machine}; kbuild builds and runs on Linux, x86_64 or aarch64",
        hint="run kbuild inside a Linux virtual machine or container of one of these",
    )
