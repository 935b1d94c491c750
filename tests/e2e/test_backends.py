"""Several builders, one digest: whole builds on a real Docker engine, alone and beside the others."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest
import tomli

from builder.backends.action import Action, InputFile
from builder.backends.docker_context import LABEL
from builder.backends.embedded import EmbeddedBackend
from builder.errors import NotReproducible
from builder.layers.packages import PackageReader
from builder.machine import from_environment
from builder.pipeline.backend import backend_of
from builder.pipeline.build import build
from builder.platforms import host_platform
from builder.progress import Progress, Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

from .conftest import HOST, REPOSITORY, SPEC, Built, build_once, kbuild, write_kernel

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.docker]


def made_by(store: Path, kind: str) -> set[str]:
    folder = store / "records" / kind
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_docker_gives_the_recorded_digest_and_never_the_embedded_backends_word(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1"}
    alone = kbuild(spec, "--locked", "--backend", "docker", "--json", env=env)
    assert alone.code == 0, alone.stderr
    said = json.loads(alone.stdout)
    assert (said["digest"], said["builders"]) == (small.digest, ["docker"])
    assert made_by(store, "actions-docker")
    assert not made_by(store, "actions")

    embedded = kbuild(spec, "--locked", env=env)
    assert embedded.digest == small.digest
    assert made_by(store, "actions") == made_by(store, "actions-docker"), "equal actions have equal keys"
    assert "bytecode" in embedded.stderr, "the embedded backend compiled for itself"

    again = kbuild(spec, "--locked", "--backend", "docker", env=env)
    assert again.digest == small.digest
    assert "nothing changed" in again.stderr


LEAK = """
#if __has_include("/.dockerenv")
const char *leak() { return "docker"; }
#else
const char *leak() { return "none!!"; }
#endif
"""


def test_builders_that_part_are_named_with_the_file_and_the_byte(small: Built, tmp_path: Path) -> None:
    """The compiler asks for a file that only one of the two worlds has: what a leak is."""
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "scale.cc").write_text((spec.parent / "scale.cc").read_text() + LEAK)
    env = {"KBUILD_STORE": str(small.store)}
    before = spec.with_suffix(".lock").read_bytes()
    found = kbuild(spec, "--backend", "all", env=env)
    assert found.code == 5, found.stderr
    assert found.stdout == ""
    said = " ".join(found.stderr.split())
    assert "embedded and docker do not build the same: opt/kernel/lib/scale.so differs in its byte" in said
    assert "layer native" in said
    assert re.search(r"byte \d+ \(0x[0-9a-f]+\): embedded has ([0-9a-f]{2} ){7}[0-9a-f]{2}, docker has ", said)
    assert spec.with_suffix(".lock").read_bytes() == before, "what the builders do not agree on is not recorded"


CONNECT = """
import socket
try:
    socket.create_connection(("192.0.2.1", 80), 0.2)
except OSError as error:
    open("/out/said", "w").write(error.strerror or "timed out")
"""


@pytest.mark.parametrize("backend", ["embedded", "docker"])
def test_an_action_that_opens_a_socket_reaches_nothing(small: Built, backend: str) -> None:
    """With the image's own Python, in the world that compilers run in."""
    lock = tomli.loads(small.spec.with_suffix(".lock").read_text())
    fields = set(Artifact.model_fields)
    debs = [
        Artifact.model_validate_json(json.dumps({name: value for name, value in item.items() if name in fields}))
        for item in lock["artifact"]
        if item["kind"] == "deb" and "image" in item["roles"] and host_platform() in item["platforms"]
    ]
    store = Store(small.store)
    action = Action(
        name="fetch", platform=host_platform(), root=tuple(item.sha256 for item in debs),
        inputs=(InputFile("/in/connect.py", store.add(CONNECT.encode())),),
        argv=("/usr/bin/python3", "-S", "/in/connect.py"), env=(), epoch=0,
    )  # fmt: skip
    made = backend_of(backend, store)(debs, PackageReader(store, 1), ())
    output = made.run(action, Silent())
    assert b"Network is unreachable" in store.path(output).read_bytes()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_random_moments(small: Built, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1"}
    killed = 0
    for _ in range(4):
        build = subprocess.Popen(
            [sys.executable, "-m", "builder", str(spec), "-q", "--locked", "--backend", "docker"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(chance.choice((0.4, 1.0, 2.0, 3.5)) * chance.uniform(0.5, 1.5))
        if build.poll() is None:
            os.kill(build.pid, signal.SIGKILL)
            killed += 1
        build.communicate()
    assert killed, "at least one round died in the middle"
    assert kbuild(spec, "--locked", "--backend", "docker", env=env).digest == small.digest
    checked = kbuild("store", "verify", env=env)
    assert checked.code == 0, checked.stderr
    assert not outliving()


def outliving() -> set[str]:
    """Of the containers that run now, those that still do a while later; others may build beside us."""
    client = docker.from_env()
    found = {item.id for item in client.containers.list(filters={"label": LABEL})}
    deadline = time.monotonic() + 40
    while found and time.monotonic() < deadline:
        time.sleep(0.2)
        found &= {item.id for item in client.containers.list(filters={"label": LABEL})}
    client.close()
    return found


def test_all_takes_two(small: Built) -> None:
    env = {"KBUILD_STORE": str(small.store), "DOCKER_HOST": "unix:///nowhere", "PATH": "/nowhere"}
    found = kbuild(small.spec, "--backend", "all", env=env)
    assert found.code == 3, found.stderr
    assert "comparing takes two" in found.stderr
    assert "no Docker engine answers" in found.stderr


def test_an_absent_engine_is_one_clear_error(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    found = kbuild(spec, "--locked", "--backend", "docker", env=env)
    assert found.code == 3, found.stderr
    assert "unix:///nowhere/docker.sock: no Docker engine answers" in found.stderr
    assert "Traceback" not in found.stderr


def test_there_is_no_such_backend(small: Built) -> None:
    found = kbuild(small.spec, "--backend", "podman")
    assert found.code == 2
    assert "embedded" in found.stderr


@pytest.mark.nix
def test_both_platforms_from_one_machine(both: Built) -> None:
    """Native C++, for this platform and for the other, by all three builders."""
    found = kbuild(both.spec, "--locked", "--backend", "all", env={"KBUILD_STORE": str(both.store)})
    assert found.digest == both.digest
    assert "embedded, docker, nix agree on every byte" in found.stderr


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_each_platform_alone_compiles_nothing_again(both: Built, tmp_path: Path, platform: str) -> None:
    """What its objects follow from is the same whether or not the image has the other platform."""
    spec = write_kernel(tmp_path, SPEC.replace(f'["{HOST}"]', f'["{platform}"]'))
    env = {"KBUILD_STORE": str(both.store)}
    assert kbuild("lock", spec, env=env).code == 0
    alone = kbuild(spec, "--json", env=env)
    assert alone.code == 0, alone.stderr
    (native,) = (item for item in json.loads(alone.stdout)["layers"][platform] if item["name"] == "native")
    assert native["cached"]


@pytest.mark.slow
def test_an_image_for_another_platform_alone(tmp_path: Path) -> None:
    """Its bytecode is compiled by its own interpreter, under the lock's emulator, inside the engine."""
    other = "linux/amd64" if HOST == "linux/arm64" else "linux/arm64"
    built = build_once(tmp_path, SPEC.replace(HOST, other))
    found = kbuild(built.spec, "--locked", "--backend", "docker", env={"KBUILD_STORE": str(built.store)})
    assert found.digest == built.digest
    assert "(docker, emulated)" in found.stderr


# Differences put in on purpose: the embedded backend, as another builder that does one thing otherwise


class Bent:
    """Runs every action as the embedded backend does, but native ones changed."""

    name = "bent"

    def __init__(self, straight: EmbeddedBackend, change: Callable[[Action], Action]) -> None:
        self._straight = straight
        self._change = change

    def check(self) -> None:
        self._straight.check()

    def run(self, action: Action, progress: Progress) -> str:
        return self._straight.run(self._change(action) if action.name.startswith("native") else action, progress)


CLOCKS = """
const char *built() { return __DATE__ " " __TIME__; }
"""
OTHER = """
extern "C" int other() { return 7; }
"""


@pytest.fixture(scope="module")
def two_sources(small: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel of two sources, one of which asks for the time; returns its locked spec."""
    spec = small.copy(tmp_path_factory.mktemp("bent") / "kernel")
    (spec.parent / "scale.cc").write_text((spec.parent / "scale.cc").read_text() + CLOCKS)
    (spec.parent / "other.cc").write_text(OTHER)
    spec.write_text(spec.read_text().replace('["scale.cc"]', '["scale.cc", "other.cc"]'))
    assert kbuild("lock", spec, "-q", env={"KBUILD_STORE": str(small.store)}).code == 0
    return spec


@pytest.fixture
def bent(small: Built, two_sources: Path) -> Callable[[Callable[[Action], Action]], NotReproducible | None]:
    """A function that builds a kernel with the embedded backend and a bent one, and returns how they part."""
    store = Store(small.store)

    def build_bent(change: Callable[[Action], Action]) -> NotReproducible | None:
        for record in (store.root / "records").glob("layers-bent/*"):
            record.unlink()
        try:
            build(
                two_sources, two_sources.with_suffix(".lock"), backend=backend_of("embedded", store),
                machine=from_environment({"KBUILD_STORE": str(store.root)}), store=store, progress=Silent(),
                locked=False, others=[lambda *given: Bent(backend_of("embedded", store)(*given), change)],
            )  # fmt: skip
        except NotReproducible as parted:
            return parted
        return None

    return build_bent


def argv(change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[[Action], Action]:
    return lambda action: replace(action, argv=change(action.argv))


def test_builders_that_do_the_same_agree(bent) -> None:
    assert bent(lambda action: action) is None


BYTES = "scale.so differs in its byte"
INJECTED = {
    "clock": (lambda action: replace(action, env=(*action.env, ("SOURCE_DATE_EPOCH", "1"))), BYTES),
    "flag": (argv(lambda words: (*words, "-O1")), BYTES),
    "order": (argv(lambda words: (*words[:-2], words[-1], words[-2])), BYTES),
    "strip": (argv(lambda words: (*words, "-Wl,-s")), BYTES),
    "file": (
        argv(lambda words: (*words, "-Wl,-Map=/out/scale.map")),
        "scale.map is missing in what embedded made and a file of",
    ),
    "name": (
        argv(lambda words: tuple(word.replace("scale.so", "named.so") for word in words)),
        "named.so is missing in what embedded made and a file of",
    ),
}


@pytest.mark.parametrize(("change", "said"), INJECTED.values(), ids=INJECTED)
def test_an_injected_difference_is_named(bent, small: Built, change: Callable[[Action], Action], said: str) -> None:
    parted = bent(change)
    assert parted is not None, "the change does not reach the output"
    assert parted.exit_code == 5
    assert parted.where.endswith("layer native")
    assert f"embedded and bent do not build the same: opt/kernel/lib/{said}" in parted.message
    paths = [Path(word) for word in parted.hint.split() if word.startswith("/")]
    assert len(paths) == 2
    assert all(path.is_file() for path in paths)
