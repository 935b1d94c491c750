"""The command in a process of its own, with nothing of this machine's settings."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

PLAIN = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(REPOSITORY),
    "HOME": "/nonexistent",
    "KBUILD_STORE": "/nonexistent/store",
    "KBUILD_OFFLINE": "1",
    "TERM": "xterm-256color",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


def kbuild(
    *arguments: str | bytes | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, **more: object
) -> Outcome:
    """Run `kbuild` with pipes for stdout and stderr."""
    given = {"capture_output": True} | more
    run = subprocess.run(
        [sys.executable, "-m", "builder", *arguments], env=PLAIN | dict(env or {}), cwd=cwd, check=False, timeout=60,
        **given,
    )  # fmt: skip
    return Outcome(run.returncode, (run.stdout or b"").decode("utf-8", "surrogateescape"), (run.stderr or b"").decode())


def python(code: str, *, env: Mapping[str, str] | None = None) -> Outcome:
    """Run Python code that imports kbuild."""
    run = subprocess.run(
        [sys.executable, "-c", code], env=PLAIN | dict(env or {}), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    return Outcome(run.returncode, run.stdout, run.stderr)


def on_terminal(*command: str | Path, env: Mapping[str, str] | None = None, seconds: float = 60) -> tuple[int, str]:
    """Run a command whose stdin, stdout and stderr are a pseudo-terminal; gives its exit code and all it wrote."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *command], env=PLAIN | dict(env or {}), stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    written, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([leader], [], [], 0.2)
            try:
                data = os.read(leader, 65536) if ready else b""
            except OSError:  # the last one to hold the other end is gone
                break
            written += data
            if not data and process.poll() is not None:
                break
        return process.wait(timeout=10), written.decode().replace("\r\n", "\n")
    finally:
        os.close(leader)
        process.kill()
        process.wait()
