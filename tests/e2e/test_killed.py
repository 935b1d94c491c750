"""Builds on an engine of somebody else's that are killed: the next one has the right digest, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from builder.backends.docker_context import LABEL

from .conftest import REPOSITORY, Built, kbuild

sys.path.append(str(Path(__file__).parents[1] / "backends"))
from nix_stores import NixStore, remove

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]


@dataclass(frozen=True)
class Engine:
    """A builder of somebody else's: what kbuild is told of it, and what of its there is now that could be left."""

    backend: str
    environment: Mapping[str, str]
    things: Callable[[], set[str]]


@pytest.fixture
def docker_engine() -> Iterator[Engine]:
    client = docker.from_env()

    def containers() -> set[str]:
        """Without those that a build's output is taken out of, which never run: the next day's build sweeps them."""
        found = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        return {item.id for item in found if item.labels.get(LABEL) != "output"}

    yield Engine("docker", {}, containers)
    client.close()


@pytest.fixture
def nix_engine(tmp_path: Path) -> Iterator[Engine]:
    own = NixStore(tmp_path / "nix")
    yield Engine("nix", own.environment(), lambda: processes(str(own.folder)))
    own.run("nix-store", "--gc")
    kept = {path.name for path in own.store.iterdir() if not path.name.startswith(".")}
    remove(own.folder)
    assert not kept, "a killed build's links keep it from Nix's garbage collector"


@pytest.fixture(
    params=[pytest.param("docker", marks=pytest.mark.docker), pytest.param("nix", marks=pytest.mark.nix)]
)  # fmt: skip
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(f"{request.param}_engine")


def processes(mark: str) -> set[str]:
    """Those whose command line names something, by their numbers."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found.add(f"{entry.name}: {line.decode(errors='replace')}")
    return found


def outlive(things: Callable[[], set[str]]) -> set[str]:
    """Of the things that there are now, those that there still are a while later; others may build beside us."""
    found = things()
    deadline = time.monotonic() + 40
    while found and time.monotonic() < deadline:
        time.sleep(0.2)
        found &= things()
    return found


def start(spec: Path, engine: Engine, env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "builder", str(spec), "-q", "--locked", "--backend", engine.backend],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(small: Built, tmp_path: Path, engine: Engine, seed: int) -> None:
    """Alone or with the programs that it has started; the more often, the later, until it comes to its end."""
    chance = random.Random(seed)
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {"KBUILD_STORE": str(store), "TMPDIR": str(temporary), **engine.environment}
    wait, killed = 0.5, 0
    while True:
        build = start(spec, engine, env)
        try:
            out, err = build.communicate(timeout=wait * chance.uniform(0.6, 1.4))
            break
        except subprocess.TimeoutExpired:
            chance.choice((os.kill, os.killpg))(build.pid, signal.SIGKILL)
            build.communicate()
        killed += 1
        wait *= 1.7
        assert not outlive(lambda: processes(str(store)))
        assert not outlive(engine.things)
    assert killed >= 3
    assert (build.returncode, out.strip()) == (0, small.digest), err
    assert kbuild("store", "verify", env=env).code == 0
    assert not outlive(engine.things)
    assert not list(temporary.iterdir())
    assert kbuild("store", "gc", env=env).code == 0
