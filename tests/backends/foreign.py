"""Programs of another architecture, run by the kernel itself: what an emulated program starts is emulated too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINFMT = Path("/proc/sys/fs/binfmt_misc")
AARCH64 = (
    r"M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F"
)
"""The emulator is opened once, now (`F`), so it is there in every root."""


@contextmanager
def arm64_programs(place: Path = BINFMT) -> Iterator[None]:
    """The kernel runs arm64 programs for as long as this lasts; root only, on x86-64.

    Under a name of this process's own: another test run may come and go meanwhile. What waits for the end of its input
    takes the name away, also from a run that is killed.
    """
    if not (place / "register").exists():
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", place], check=False)
        if mounted.returncode:
            pytest.skip("binfmt_misc cannot be mounted here")
    name = f"kbuild-test-{os.getpid()}"
    command = 'read -r _; echo -1 >"$0"'
    keeper = subprocess.Popen(["sh", "-c", command, place / name], stdin=subprocess.PIPE, start_new_session=True)
    try:
        (place / "register").write_text(f":{name}:{AARCH64}")
        yield
    finally:
        keeper.communicate()
