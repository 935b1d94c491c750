"""Builds that are killed while programs compile: nothing half-written, no process left, and the digest afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Built, Once, ahead_of_time, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]

COMPILER = b"kernels.runtime.aot.build"
KILLS = 5


def sandboxed(store: Path) -> dict[int, bytes]:
    """Processes that see a part of this store: the build's own, and whatever runs in its sandboxes, by command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            mounts = (entry / "mountinfo").read_bytes()
        except OSError:
            continue
        if str(store).encode() in line + mounts:
            found[int(entry.name)] = line
    return found


def compilers(store: Path) -> list[int]:
    """Those of them that are the emulator, running the compiler."""
    return [pid for pid, line in sandboxed(store).items() if COMPILER in line and b"-cpu" in line.split(b"\0")[1:2]]


def awaited(build: subprocess.Popen[str], store: Path) -> list[int]:
    """The compiler's processes, once there is one; none if the build ends before."""
    while build.poll() is None:
        if found := compilers(store):
            return found
        time.sleep(0.05)
    return []


def left(store: Path) -> dict[int, bytes]:
    """Processes that are still there a while after the build was killed."""
    deadline = time.monotonic() + 40
    while (found := sandboxed(store)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.fixture(scope="session")
def pinned(once: Once, kernels_store: Path) -> Built:
    """Under the profile that compiles nothing else."""
    return once("digits-aot-pinned", lambda folder: ahead_of_time(folder, kernels_store, profile="pinned"))


@pytest.mark.parametrize("seed", range(2))
def test_killed_while_programs_compile(pinned: Built, tmp_path: Path, seed: int) -> None:
    """The build alone, with all that it started, or the emulator under it, at any moment of a compilation."""
    chance = random.Random(seed)
    spec = pinned.copy(tmp_path / "kernel")
    store = pinned.downloads(tmp_path / "store")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {"KBUILD_STORE": str(store), "TMPDIR": str(temporary)}
    lock = spec.with_suffix(".lock").read_bytes()
    for number in range(KILLS):
        build = subprocess.Popen(
            [sys.executable, "-m", "builder", str(spec), "-q", "--locked", "--backend", "embedded"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running = awaited(build, store)
        assert running, build.communicate()[1]
        time.sleep(chance.uniform(0, 3) * number)
        if emulator := number % 3 == 0:
            os.kill(chance.choice(running), signal.SIGKILL)
        else:
            (os.kill, os.killpg)[number % 3 - 1](build.pid, signal.SIGKILL)
        out, err = build.communicate(timeout=120)
        if emulator:
            assert build.returncode == 2, err
            assert "programs" in err
            assert "Traceback" not in err
        assert out == ""
        assert not left(store)
    done = kbuild(spec, "-q", "--locked", env=env, timeout=1800)
    assert done.digest == pinned.digest, done.stderr
    assert spec.with_suffix(".lock").read_bytes() == lock
    assert kbuild("store", "verify", env=env).code == 0
    assert not list(temporary.iterdir())
    assert not left(store)
    assert kbuild("store", "gc", env=env).code == 0
