"""Running images in a Docker engine, here or behind `ssh://`, by their digest.

The engine needs to know nothing of kbuild. The image is sent once and known again by its configuration's digest; inputs
and results travel through two volumes, so that nothing of the engine's machine is mounted. The container has no
network, no capability, a read-only root and a user of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from builder.backends.bwrap import Ended
from builder.backends.docker_engine import Engine, connected
from builder.backends.limit import Limit
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault
from builder.hosts.docker_files import put, take
from builder.hosts.docker_image import present
from builder.hosts.exchange import given
from builder.hosts.host import HERE, NOTHING, Conditions, Runnable, RunResult
from builder.hosts.local import taken
from builder.platforms import Platform
from builder.progress import Progress
from builder.store.blobs import Store

LABEL = "org.kbuild.run"
"""On every container and volume of a run: `docker container ls -a --filter label=org.kbuild.run`."""

_INPUT, _OUTPUT = "/io/in", "/io/out"
_USER = "65534:65534"
_TAIL = 200
"""Lines of what a container printed that are fetched."""
_LEFT_OVER = 24
"""Hours after which a run is over, whatever became of it."""


@dataclass(frozen=True, slots=True)
class Docker:
    """An engine; `url` is `unix://` or `ssh://`, None for the one that Docker's own configuration names."""

    name: str
    platform: Platform
    store: Store
    url: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def kind(self) -> str:
        """As `hosts.toml` calls it."""
        return "docker"

    @property
    def machine(self) -> str:
        """This one for a socket, else the address."""
        return self.url if self.url and self.url.startswith("ssh://") else HERE

    def identity(self) -> Mapping[str, Any]:
        """What the engine says of itself and its machine."""
        with connected(self.url) as engine, engine.speaking("say what it is") as client:
            told = client.info()
        return {
            "engine": str(told.get("ID", "")),
            "version": str(told.get("ServerVersion", "")),
            "kernel": str(told.get("KernelVersion", "")),
            "cores": int(told.get("NCPU", 0)),
            "machine": str(told.get("Architecture", "")),
        }

    def run(
        self,
        image: Runnable,
        inputs: Sequence[Path],
        output: Path,
        *,
        conditions: Conditions,
        requests: Mapping[str, bytes] = NOTHING,
        timeout: float,
        progress: Progress,
    ) -> RunResult:
        """Run an image once; see `builder.hosts.host.Host`."""
        limit = Limit(timeout, self._stop)
        with connected(self.url) as engine, workplace(self.store) as place:
            if engine.platform != image.platform:
                raise EnvironmentFault(
                    f"the engine is of {engine.platform}", where=engine.address,
                    hint=f'write platform = "{engine.platform}" for this host in the file of hosts',
                )  # fmt: skip
            sweep(engine)
            reference = present(engine, self.store, image, progress)
            sent = given(inputs, requests, place / "in")
            results = place / "out"
            results.mkdir()
            with progress.step(f"run {image.name}") as step:
                step.note(f"docker {engine.address}")
                ended = _contained(engine, image, conditions, _Folders(reference, sent, results), limit)
            for line in ended.output.splitlines():
                progress.detail(line)
            return taken(self.store, image, ended, results, output)

    def close(self) -> None:
        """End what still runs."""
        self._stop.set()


@dataclass(frozen=True, slots=True)
class _Folders:
    """What a container is made from: the image by the engine's name, and folders of this machine."""

    image: str
    inputs: Path
    results: Path


def _contained(engine: Engine, image: Runnable, conditions: Conditions, folders: _Folders, limit: Limit) -> Ended:
    """Run a container to its end and fetch its results; whatever happens, nothing of it stays in the engine."""
    with _volume(engine) as source, _volume(engine) as target:
        # A container that is never started: a read-only one takes no files, and a running one must not change inputs.
        with _container(engine, folders.image, _carrier(source, target)) as carrier:
            put(engine, carrier, folders.inputs, _INPUT)
            put(engine, carrier, folders.results, _OUTPUT)  # empty: whose the folder is, and who may write to it
        with _container(engine, folders.image, options(image, conditions, source, target)) as container:
            with engine.speaking("start a container") as client:
                client.start(container)
            status = _wait(engine, container, limit)
            with engine.speaking("hand out what a container printed") as client:
                printed = client.logs(container, tail=_TAIL).decode(errors="replace")
            take(engine, container, _OUTPUT, folders.results)
    return Ended(status, printed)


def options(image: Runnable, conditions: Conditions, source: str, target: str) -> dict[str, Any]:
    """How the container of a run is made: the engine's API in its own words. Pure.

    Args:
        image: what to run.
        conditions: what to put the run under.
        source: the volume with the inputs.
        target: the volume for the results.

    Raises:
        EnvironmentFault: an engine has no way to put a run under these conditions.
    """
    possible = Conditions(cores=conditions.cores, memory=conditions.memory, environment=conditions.environment)
    if conditions != possible:
        raise EnvironmentFault("a Docker host varies cores, memory and environment, and nothing else")
    limits: dict[str, Any] = {}
    if conditions.cores is not None:
        cores = range(conditions.cores) if isinstance(conditions.cores, int) else conditions.cores
        limits["CpusetCpus"] = ",".join(map(str, cores))
    if conditions.memory is not None:
        limits |= {"Memory": conditions.memory, "MemorySwap": conditions.memory}
    return {
        "Entrypoint": list(image.entrypoint),
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in sorted({**image.stated(), **conditions.environment}.items())],
        "WorkingDir": image.working_dir,
        "User": _USER,
        "Hostname": "kbuild",
        "NetworkDisabled": True,
        "Labels": {LABEL: "run"},
        "HostConfig": {
            "Binds": [f"{source}:{_INPUT}:ro,nocopy", f"{target}:{_OUTPUT}:rw,nocopy"],
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Tmpfs": {"/tmp": "rw,nosuid,nodev,exec,mode=1777"},  # noqa: S108 - the container's own
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
            "RestartPolicy": {"Name": "no"},
            **limits,
        },
    }


def _carrier(source: str, target: str) -> dict[str, Any]:
    return {
        "Entrypoint": ["-"],
        "Cmd": [],
        "NetworkDisabled": True,
        "Labels": {LABEL: "carrier"},
        "HostConfig": {
            "Binds": [f"{source}:{_INPUT}:rw,nocopy", f"{target}:{_OUTPUT}:rw,nocopy"],
            "NetworkMode": "none",
        },
    }


def _wait(engine: Engine, container: str, limit: Limit) -> int:
    """Wait for a container's end; its exit status, 128 + n for signal n.

    Raises:
        TimedOut: the limit came before that.
    """
    for _ in limit.looks():
        with engine.speaking("say how a container is") as client:
            state = client.inspect_container(container)["State"]
        if state.get("Status") not in ("created", "running", "paused", "restarting"):
            return int(state.get("ExitCode", 1))
    raise AssertionError("looks never end by themselves")


@contextmanager
def _volume(engine: Engine) -> Iterator[str]:
    with engine.speaking("make a volume") as client:
        name = str(client.create_volume(labels={LABEL: "files"})["Name"])
    try:
        yield name
    finally:
        with engine.speaking("remove a volume") as client:
            client.remove_volume(name, force=True)


@contextmanager
def _container(engine: Engine, image: str, config: dict[str, Any]) -> Iterator[str]:
    with engine.speaking("make a container") as client:
        identity = str(client.create_container_from_config({"Image": image, **config})["Id"])
    try:
        yield identity
    finally:
        with engine.speaking("remove a container") as client:
            client.remove_container(identity, force=True, v=True)


def sweep(engine: Engine) -> None:
    """Remove what runs left whose kbuild was killed: containers and volumes with our label, a day old."""
    with engine.speaking("remove what killed runs left") as client:
        client.prune_containers(filters={"label": [LABEL], "until": f"{_LEFT_OVER}h"})
        now = datetime.fromisoformat(client.info()["SystemTime"])
        for volume in client.volumes(filters={"label": [LABEL]}).get("Volumes") or ():
            if now - datetime.fromisoformat(volume["CreatedAt"]) > timedelta(hours=_LEFT_OVER):
                client.remove_volume(volume["Name"], force=True)
