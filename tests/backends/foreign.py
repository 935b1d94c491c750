"""Programs of another architecture, run by the kernel itself: what an emulated program starts is emulated too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINFMT = Path("/proc/sys/fs/binfmt_misc")
NAME = "qemu-aarch64"
AARCH64 = (
    rf":{NAME}:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F"
)
"""The emulator is opened once, now (`F`), so it is there in every root."""


@contextmanager
def arm64_programs() -> Iterator[None]:
    """The kernel runs arm64 programs for as long as this lasts; root only, on x86-64."""
    if not (BINFMT / "register").exists():
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=False)
        if mounted.returncode:
            pytest.skip("binfmt_misc cannot be mounted here")
    ours = not (BINFMT / NAME).exists()
    if ours:
        (BINFMT / "register").write_text(AARCH64)
    try:
        yield
    finally:
        if ours:
            (BINFMT / NAME).write_text("-1")
