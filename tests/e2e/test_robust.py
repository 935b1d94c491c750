"""Builds that are killed, and builds that meet: the next one always ends with the right digest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli

from .conftest import REPOSITORY, Built, kbuild, write_kernel

pytestmark = [pytest.mark.network, pytest.mark.sandbox]
SLOW = pytest.mark.slow


def start(*arguments: str | Path, store: Path, offline: str = "1") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "builder", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "KBUILD_STORE": str(store), "KBUILD_OFFLINE": offline},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=SLOW)])
def test_killed_at_random_moments(small: Built, tmp_path: Path, seed: int) -> None:
    """Each round begins from downloads alone or goes on where the last one died."""
    chance = random.Random(seed)
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    before = spec.with_suffix(".lock").read_bytes()
    killed = 0
    for _ in range(10):
        build = start(spec, "-q", store=store)
        time.sleep(chance.choice((0.1, 0.4, 0.8, 1.5, 2.5)) * chance.uniform(0.5, 1.5))
        if build.poll() is None:
            os.kill(build.pid, signal.SIGKILL)
            killed += 1
        build.communicate()
        assert spec.with_suffix(".lock").read_bytes() == before
    assert killed, "at least one round died in the middle"
    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1"}
    assert kbuild(spec, env=env).digest == small.digest
    checked = kbuild("store", "verify", env=env)
    assert checked.code == 0, checked.stderr


def test_no_process_outlives_a_killed_build(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    build = start(spec, "-q", store=store)
    await_sandbox(build, store)
    os.kill(build.pid, signal.SIGKILL)
    build.communicate()
    await_none(store)


def await_none(store: Path) -> None:
    deadline = time.monotonic() + 60
    while sandboxes(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sandboxes(store)


def await_sandbox(build: subprocess.Popen[str], store: Path) -> None:
    while not sandboxes(store):
        assert build.poll() is None, "the build never came to a sandbox"
        time.sleep(0.05)


def sandboxes(store: Path) -> list[int]:
    """Processes whose command line speaks of this store's folders."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"--unshare" in line and str(store).encode() in line:
                found.append(int(entry.name))
    return found


def test_an_interrupted_build_says_so(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    build = start(spec, store=store)
    await_sandbox(build, store)
    build.send_signal(signal.SIGINT)
    out, err = build.communicate(timeout=60)
    assert build.returncode == 130
    assert out == ""
    assert err.count("interrupted") == 1
    assert "Traceback" not in err


def test_an_interrupted_build_does_not_wait_for_its_compiler(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    # 2^40 inclusions of this file: a compiler that is at it for weeks, in little memory.
    again = "#if __INCLUDE_LEVEL__ < 40\n#include __FILE__\n#include __FILE__\n#endif\n"
    (spec.parent / "scale.cc").write_text(again)
    store = small.downloads(tmp_path / "store")
    build = start(spec, "-q", store=store)
    await_sandbox(build, store)
    build.send_signal(signal.SIGINT)
    out, err = build.communicate(timeout=60)
    assert (build.returncode, out) == (130, "")
    assert err.count("interrupted") == 1
    await_none(store)
    assert kbuild(small.spec, env={"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1"}).digest == small.digest


def test_two_builds_at_once(small: Built, tmp_path: Path) -> None:
    store = small.downloads(tmp_path / "store")
    specs = [small.copy(tmp_path / name) for name in ("first", "second", "third")]
    builds = [start(spec, "-q", store=store) for spec in specs]
    for build in builds:
        out, err = build.communicate(timeout=300)
        assert (build.returncode, out.strip()) == (0, small.digest), err


def test_gc_while_building_and_afterwards(small: Built, tmp_path: Path) -> None:
    """What a sweep takes before the build has looked at it is fetched again; what the build uses stays.

    When nothing is in use any more, images stay and the rest goes.
    """
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    build = start(spec, "-q", store=store, offline="0")
    while build.poll() is None:
        assert kbuild("store", "gc", "--older-than", "0", env={"KBUILD_STORE": str(store)}).code == 0
        time.sleep(0.3)
    out, err = build.communicate()
    assert (build.returncode, out.strip()) == (0, small.digest), err

    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1"}
    time.sleep(2.1)  # what was used within the last two seconds counts as in use
    assert kbuild("store", "gc", "--older-than", "0", env=env).code == 0
    artifacts = tomli.loads(spec.with_suffix(".lock").read_text())["artifact"]
    compiler = {item["sha256"] for item in artifacts if item["roles"] == ["toolchain"]}
    assert compiler
    assert not compiler & {path.name for path in (store / "blobs" / "sha256").iterdir()}
    assert kbuild("export", small.digest, tmp_path / "layout", env=env).code == 0
    assert kbuild(spec, env=env).digest == small.digest


@pytest.mark.parametrize("delay", [pytest.param(0.3, marks=SLOW), 0.9, 1.8, pytest.param(3.0, marks=SLOW)])
def test_a_killed_lock_is_whole_or_absent(small: Built, tmp_path: Path, delay: float) -> None:
    spec = write_kernel(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    locking = subprocess.Popen(
        [sys.executable, "-m", "builder", "lock", str(spec), "-q"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "KBUILD_STORE": str(store)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(delay)
    locking.kill()
    locking.communicate()
    names = {path.name for path in spec.parent.iterdir()}
    if "spec.lock" in names:
        from builder.lock import file

        file.read(spec.with_suffix(".lock"))
    assert kbuild("lock", spec, env={"KBUILD_STORE": str(store)}).code == 0
