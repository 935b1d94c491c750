"""Whenever kbuild is killed, nothing of its sandboxes stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.backends import bwrap
from builder.backends.inherited import Inherited
from builder.backends.limit import Limit
from builder.errors import TimedOut

pytestmark = pytest.mark.sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """\
import sys
from builder.backends import bwrap
from builder.backends.inherited import Inherited
line = [str(bwrap.program()), "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/"]
line += ["--proc", "/proc", "--", "/bin/sleep", sys.argv[1]]
print("now", flush=True)
bwrap.execute(line)
"""


def alive(mark: str) -> list[bytes]:
    """The command lines of all processes but this one that name a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found.append(line)
    return found


def gone(mark: str) -> bool:
    """Whether no process names a mark, soon."""
    until = time.monotonic() + 10
    while alive(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def mark() -> str:
    """Seconds to sleep that nobody else sleeps."""
    return f"86400.{os.getpid()}{random.randrange(10**6):06}"


def started(mark: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, mark], env=environ, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("latest", [0.03, 0.1])
def test_killed_in_its_first_moments(mark: str, latest: float) -> None:
    """bubblewrap by itself leaves a process behind in one of these cases out of two."""
    moments = random.Random(1)
    for _ in range(4):
        several = [started(mark) for _ in range(5)]
        for process in several:
            assert process.stdout is not None
            assert process.stdout.readline() == "now\n"
            time.sleep(moments.uniform(0, latest))
            process.kill()
        for process in several:
            process.communicate()
    assert gone(mark)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_while_it_runs(mark: str, how: signal.Signals) -> None:
    process = started(mark)
    while not any(line.startswith(b"/bin/sleep") for line in alive(mark)):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate()
    assert gone(mark)


def test_the_end_of_a_time_limit_leaves_nothing(mark: str) -> None:
    """Many are there, and busy, so that the kernel needs some time to end them all."""
    script = f"for i in $(seq 40); do sh -c 'while :; do :; done' {mark} & done; wait"
    line = [str(bwrap.program()), "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"]
    with pytest.raises(TimedOut):
        bwrap.execute([*line, "/bin/sh", "-c", script], limit=Limit(0.5))
    assert not alive(mark)


def test_processes_that_take_too_much_memory_together_are_ended(mark: str) -> None:
    """Four of 40 MiB each, where each may have 100."""
    one = f"import time; kept = bytearray(40 << 20); time.sleep({mark})"
    line = [str(bwrap.program()), "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc"]
    script = f"for i in 1 2 3 4; do {sys.executable} -c '{one}' & done; wait"
    ended = bwrap.execute(
        [*line, "--dev", "/dev", "--", "/bin/sh", "-c", script], inherited=Inherited(data=100 << 20), limit=Limit(60)
    )
    assert ended.status == 128 + signal.SIGKILL
    assert "104857600 is the most that it may" in ended.output
    assert gone(mark)


def test_a_sandbox_within_its_memory_is_let_be() -> None:
    line = [str(bwrap.program()), "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--"]
    script = "import time; kept = bytearray(40 << 20); time.sleep(1); print('done')"
    ended = bwrap.execute([*line, sys.executable, "-c", script], inherited=Inherited(data=100 << 20))
    assert ended == bwrap.Ended(0, "done\n")


def keepers(mark: str) -> list[int]:
    """Keepers below this process whose command line names a mark."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if mark in Path(f"/proc/{child}/cmdline").read_text()]


def test_the_first_process_killed_in_its_first_moments(mark: str) -> None:
    """By somebody else, before the second has asked for the first one's death."""
    moments = random.Random(2)

    def kill() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for keeper in keepers(mark):
                for first in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
                    time.sleep(moments.uniform(0, 0.006))
                    os.kill(int(first), signal.SIGKILL)
                    return

    line = [str(bwrap.program()), "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/"]
    for _ in range(25):
        killer = threading.Thread(target=kill)
        killer.start()
        ended = bwrap.execute([*line, "--proc", "/proc", "--", "/bin/sleep", mark], limit=Limit(10))
        killer.join()
        assert ended.status == 128 + signal.SIGKILL
    assert gone(mark)


def test_a_sandbox_that_somebody_kills_is_said_to_have_been_killed(mark: str) -> None:
    """By a signal to bubblewrap's first process; the second dies with it."""

    def kill(_: bytes) -> None:
        (first,) = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and f"\nPPid:\t{keepers(mark)[0]}\n" in status(entry)
        ]
        os.kill(first, signal.SIGKILL)

    def status(entry: Path) -> str:
        try:
            return (entry / "status").read_text()
        except OSError:
            return ""

    line = [str(bwrap.program()), "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc"]
    # The second process asks for the first one's death after it has started the command, so that waits for it.
    script = f"while ! grep -q '^State:.S' /proc/1/status; do :; done; sleep 1; echo there; sleep {mark}"
    ended = bwrap.execute([*line, "--", "/bin/sh", "-c", script], watch=kill, limit=Limit(60))
    assert ended.status == 128 + signal.SIGKILL
    assert gone(mark)
