"""BuildKit, through a real `docker buildx`: Debian's own, fetched and unpacked by kbuild where none is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_roots import EPOCH, backend_of, shell_action
from test_docker import PROGRAM, running, wait_for

from builder.backends import docker_buildkit
from builder.backends.action import InputFile
from builder.backends.docker import DockerBackend
from builder.errors import EnvironmentFault, KernelError
from builder.layers.deb import read_deb
from builder.layers.packages import PackageReader
from builder.layers.tar import tar_entries
from builder.lock.resolve import resolve
from builder.machine import from_environment
from builder.pipeline.fetching import bring
from builder.platforms import host_platform
from builder.progress import Silent
from builder.spec.load import load
from builder.store.artifact import Artifact
from builder.store.blobs import Store

pytestmark = [pytest.mark.docker, pytest.mark.sandbox]

SPEC = """\
schema = 1
[kernel]
name = "tools"
version = "1.0.0"
entry = "model:f"
platforms = ["{platform}"]
[os]
packages = ["python3", "docker-buildx"]
[inputs.x]
dtype = "float32"
[outputs.y]
dtype = "float32"
"""


def installed() -> bool:
    return subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration folder of Docker's command line that has buildx."""
    folder = tmp_path_factory.mktemp("config")
    if installed():
        return folder
    (folder / "spec.toml").write_text(SPEC.format(platform=host_platform()))
    store, machine = Store(folder / "store"), from_environment(os.environ)
    lock = resolve(
        load(folder / "spec.toml"), folder, machine=machine, store=store, progress=Silent(),
        previous=None, upgrade=None, now=datetime.now(UTC),
    )  # fmt: skip
    (deb,) = (item for item in lock.artifact if item.name == "docker-buildx")
    bring([deb], lock, machine, store, Silent())
    plugin = folder / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir()
    for entry in read_deb(store.verified(deb.sha256, deb.size), deb).entries:
        if entry.path.endswith("cli-plugins/docker-buildx"):
            plugin.write_bytes(entry.source().read())
            plugin.chmod(0o755)
    return folder


@pytest.fixture
def backend(
    store: Store, shell: Artifact, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DockerBackend:
    """With records of its own: what the engine's own builder made does not count."""
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    from plumbum import local

    with local.env(DOCKER_CONFIG=str(config)):
        own = Store(tmp_path / "store")
        own.add(store.path(shell.sha256).read_bytes())
        yield DockerBackend(own, [shell], PackageReader(own, 2))


def test_buildx_is_wanted_but_not_there(monkeypatch, tmp_path):
    if installed():
        pytest.skip("buildx is installed for everybody")
    from plumbum import local

    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    with local.env(DOCKER_CONFIG=str(tmp_path)), pytest.raises(EnvironmentFault, match="no `docker buildx`") as caught:
        docker_buildkit.check()
    assert "unset DOCKER_BUILDKIT" in caught.value.hint


@pytest.mark.parametrize("value", [None, "", "0", "false"])
def test_it_is_not_wanted(monkeypatch, value):
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    if value is not None:
        monkeypatch.setenv("DOCKER_BUILDKIT", value)
    assert not docker_buildkit.wanted()
    docker_buildkit.check()


@pytest.mark.network
def test_the_output_is_the_embedded_backends(store, shell, backend):
    backend.check()
    script = """
        cd /out; mkdir -p a/empty; echo 1 > a/z; echo 2 > b; chmod 4711 b; ln b c; cat /in/data > all
        [ ! /in/data -nt /in ] && [ ! /in -nt /in/data ]; export -p > /dev/null; echo "$SOURCE_DATE_EPOCH $A" > env
        while read line; do case $line in *:*) echo "${line%%:*}";; esac; done < /proc/net/dev > devices
    """
    data = os.urandom(8)  # so that no cache has it
    inputs = [InputFile("/in/data", store.add(data))]
    backend._store.add(data)
    action = shell_action(shell, script, inputs=inputs, env={"A": '$HOME "\\', "PATH": "/usr/bin"})
    sha256 = backend.run(action, Silent())
    found = {entry.path: entry for entry in tar_entries(backend._store.path(sha256))}
    assert found["env"].source().read() == f'{EPOCH} $HOME "\\\n'.encode()
    assert found["devices"].source().read() == b"lo\n"
    assert backend_of(store, [shell]).run(action, Silent()) == sha256


@pytest.mark.network
def test_a_failed_command_says_why(shell, backend):
    with pytest.raises(KernelError) as caught:
        backend.run(shell_action(shell, "echo before; echo 'no such thing' >&2; exit 3"), Silent())
    assert "/usr/bin/sh ended with status 3:" in caught.value.message
    said = {line.strip() for line in caught.value.message.splitlines()}  # of two pipes, in whatever order
    assert {"before", "no such thing"} <= said


@pytest.mark.network
def test_what_a_command_prints_is_not_taken_for_buildkits_own_words(shell, backend):
    script = "echo 'ERROR: x: exit code: 7'; echo 'context canceled' >&2; echo '#1 ERROR: y: exit code: 9'; exit 3"
    with pytest.raises(KernelError, match="ended with status 3:") as caught:
        backend.run(shell_action(shell, script), Silent())
    assert "context canceled" in caught.value.message


@pytest.mark.network
def test_ten_thousand_lines_do_not_hold_it_up(shell, backend):
    script = "i=0; while [ $i -lt 10000 ]; do echo $i; i=$((i + 1)); done; exit 4"
    with pytest.raises(KernelError, match="ended with status 4:") as caught:
        backend.run(shell_action(shell, script), Silent())
    assert len(caught.value.message) < 10_000


@pytest.mark.network
def test_a_killed_build_takes_its_command_with_it_and_the_next_one_is_whole(shell, backend, config):
    mark = f"mark-{os.getpid()}-buildkit"
    script = f"echo {mark} > /out/x; sleep 30; echo done >> /out/x"
    env = os.environ | {"DOCKER_CONFIG": str(config), "DOCKER_BUILDKIT": "1"}
    line = [sys.executable, "-c", PROGRAM, str(backend._store.root), script]
    with subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as victim:
        wait_for(lambda: running(mark) or victim.poll() is not None, "the command has begun")
        assert victim.poll() is None, victim.stderr.read()
        victim.kill()
        victim.communicate()
    wait_for(lambda: not running(mark), "the command outlived kbuild", 20)
    again = backend.run(shell_action(shell, script.replace("sleep 30", "sleep 0")), Silent())
    (entry,) = tar_entries(backend._store.path(again))
    assert entry.source().read() == f"{mark}\ndone\n".encode()


@pytest.mark.network
def test_an_action_really_runs_each_time(shell, backend, tmp_path):
    """BuildKit may keep the root of a build, but never the output of a command."""
    action = shell_action(shell, "cat /proc/sys/kernel/random/uuid > /out/id")
    first = backend.run(action, Silent())
    for record in (backend._store.root / "records" / "actions-docker").iterdir():
        record.unlink()
    assert backend.run(action, Silent()) != first
