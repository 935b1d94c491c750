"""Docker engines as hosts: a real one, here and behind ssh, with a shell that stands in for the runtime."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import pytest
import scripted

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
from test_docker_faults import sshd  # noqa: F401 - a fixture

from builder.errors import EnvironmentFault, KernelError, TimedOut, UsageError
from builder.hosts.docker import LABEL, Docker, options
from builder.hosts.exchange import RECEIPT
from builder.hosts.host import HERE, Conditions, Runnable
from builder.oci.config import ImageConfig
from builder.oci.image import TITLE, VERSION, PlatformImage, assemble
from builder.pipeline.run import runnable
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

REPOSITORY = Path(__file__).parents[2]
OTHER = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
OK = "cat /io/in/receipt.json > /io/out/receipt.json; cat /io/in/x.safetensors > /io/out/outputs.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("engines") / "store")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    for image in client.images.list(filters={"label": "org.kbuild.test=hosts"}):
        client.images.remove(image.id, force=True)
    client.close()


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    client = request.getfixturevalue("client") if request.node.get_closest_marker("docker") else None
    yield
    if client is not None:
        assert not client.containers.list(all=True, filters={"label": LABEL})
        assert not client.volumes.list(filters={"label": LABEL})


def image_of(store: Store, script: str) -> Runnable:
    """A whole image in the store, that runs a script: engines take nothing less."""
    config = ImageConfig(
        epoch=scripted.EPOCH, environment={"PATH": "/usr/bin", "PIN": "1"}, labels={"org.kbuild.test": "hosts"},
        entrypoint=("/usr/bin/sh", "-u", "/opt/run"),
    )  # fmt: skip
    platforms = {host_platform(): PlatformImage(scripted.layers(store, script), config)}
    image = assemble(store, platforms, {TITLE: "scripted", VERSION: "1.0.0"})
    return dataclasses.replace(runnable(image.manifest(host_platform())), index=image.digest)


def inputs_of(image: Runnable, folder: Path) -> list[Path]:
    """What the script is to put out: its image cannot hold a receipt that names the image."""
    (folder / RECEIPT).write_bytes(scripted.receipt(image=image.digest, changes={"index": image.index}, y=[1.0, -0.0]))
    (folder / "x.safetensors").write_bytes(scripted.outputs(y=[1.0, -0.0]))
    return [folder / RECEIPT, folder / "x.safetensors"]


@pytest.fixture
def start(store: Store, client: docker.DockerClient, tmp_path: Path):
    def call(script: str, host: Docker | None = None, *, timeout: float = 60, conditions=None, progress=None, **how):
        image = image_of(store, script)
        (host or Docker("engine", host_platform(), store)).run(
            image, inputs_of(image, tmp_path), tmp_path / "out", timeout=timeout, progress=progress or Silent(),
            conditions=conditions or Conditions(), **how,
        )  # fmt: skip
        return tmp_path / "out"

    return call


@pytest.mark.docker
class TestOneEngine:
    def test_inputs_in_results_out(self, start, store):
        out = start(f"{OK}; echo junk > /io/out/junk; echo '{{}}' > /io/out/trace.json")
        assert sorted(path.name for path in out.iterdir()) == ["outputs.safetensors", RECEIPT, "trace.json"]
        assert (out / "outputs.safetensors").read_bytes() == scripted.outputs(y=[1.0, -0.0])
        assert (out / RECEIPT).stat().st_uid == os.getuid()

    def test_the_world_inside(self, start):
        script = f"""
            for file in /x /usr/x /opt/x /io/x /io/in/x /sys/x; do (echo x > $file) 2>/dev/null && exit 6; done
            (echo x > /tmp/x) && [ -e /sys/devices/system/cpu ] && [ ! -e /root/.ssh ] || exit 5
            {{ export -p
               while read -r name value; do
                   case $name in Uid:|CapEff:|CapBnd:|NoNewPrivs:) echo $name $value;; esac
               done < /proc/self/status
               while read -r name rest; do echo net $name; done < /proc/net/dev
            }} > /io/out/trace.json; {OK}
        """
        told = (start(script) / "trace.json").read_text().splitlines()
        variables = {line.split("=")[0].split()[1] for line in told if line.startswith("export")}
        assert variables == {"HOME", "HOSTNAME", "KBUILD_IMAGE", "KBUILD_INDEX", "PATH", "PIN", "PWD"}
        assert {line for line in told if line.startswith(("Uid", "Cap", "NoNew"))} == {
            "Uid: 65534 65534 65534 65534", f"CapEff: {'0' * 16}", f"CapBnd: {'0' * 16}", "NoNewPrivs: 1",
        }  # fmt: skip
        assert {line for line in told if line.startswith("net") and ":" in line} == {"net lo:"}

    def test_conditions_and_requests(self, start):
        script = f"""
            {{ echo $LANGUAGE; cat /io/in/.trace.json
               while read -r name value; do [ $name = Cpus_allowed_list: ] && echo $value; done < /proc/self/status
            }} > /io/out/trace.json; {OK}
        """
        conditions = Conditions(cores=1, memory=256 << 20, environment={"LANGUAGE": "tr"})
        out = start(script, conditions=conditions, requests={".trace.json": b"{}\n"})
        assert (out / "trace.json").read_text().split() == ["tr", "{}", "0"]

    def test_an_image_is_sent_once(self, start, store, client):
        class Steps(Silent):
            def __init__(self) -> None:
                self.names: list[str] = []

            def step(self, name, total=None, unit="bytes"):
                self.names.append(name)
                return super().step(name, total, unit)

        steps = Steps()
        script = f"echo {time.time_ns()} > /dev/null; {OK}"
        for _ in range(2):
            start(script, progress=steps)
        assert [name.split()[0] for name in steps.names] == ["send", "run", "run"]

    @pytest.mark.parametrize(
        ("script", "kind", "said"),
        [
            ("echo oh dear >&2; exit 70", Exception, "oh dear"),
            ("exit 137", EnvironmentFault, "killed"),
            ("exit 1", KernelError, "ended with status 1"),
            ("exit 0", KernelError, "no receipt"),
            (f"{OK}; rm() {{ :; }}; ln -sf /etc/passwd /io/out/receipt.json", KernelError, "no receipt"),
            ("mkfifo /io/out/receipt.json", KernelError, "no receipt"),
            ("mkdir /io/out/receipt.json", KernelError, "no receipt"),
        ],
    )
    def test_how_a_run_fails(self, start, script, kind, said):
        with pytest.raises(kind, match=said):
            start(script)

    def test_a_failed_run_leaves_its_receipt(self, store, client, tmp_path):
        image = image_of(store, "cat /io/in/receipt.json > /io/out/receipt.json; exit 3")
        (tmp_path / RECEIPT).write_bytes(scripted.receipt(golden="refused", image=image.digest))
        with pytest.raises(EnvironmentFault):
            Docker("engine", host_platform(), store).run(
                image, [tmp_path / RECEIPT], tmp_path / "out", conditions=Conditions(), timeout=60, progress=Silent()
            )
        assert json.loads((tmp_path / "out" / RECEIPT).read_bytes())["result"]["error"]["unmet"]

    @pytest.mark.parametrize("script", ["sleep 600", "while :; do :; done", "trap '' TERM; sleep 600"])
    def test_a_run_that_hangs_is_ended(self, start, script):
        began = time.monotonic()
        with pytest.raises(TimedOut):
            start(script, timeout=1)
        assert time.monotonic() - began < 120

    def test_another_thread_can_end_a_run(self, start, store):
        host = Docker("engine", host_platform(), store)
        threading.Timer(1, host.close).start()
        began = time.monotonic()
        with pytest.raises(TimedOut, match="stopped"):
            start("sleep 600", host, timeout=600)
        assert time.monotonic() - began < 120

    def test_an_engine_is_known_by_itself(self, store):
        host = Docker("engine", host_platform(), store)
        assert host.identity() == host.identity()
        assert host.identity()["version"]
        assert host.machine == HERE

    def test_an_input_that_is_none(self, store, client, tmp_path):
        with pytest.raises(UsageError):
            Docker("engine", host_platform(), store).run(
                image_of(store, OK), [tmp_path / "x"], tmp_path / "out", conditions=Conditions(), timeout=60,
                progress=Silent(),
            )  # fmt: skip

    def test_an_image_of_another_platform(self, store, client, tmp_path):
        image = dataclasses.replace(image_of(store, OK), platform=OTHER)
        with pytest.raises(EnvironmentFault, match="the engine is of") as caught:
            Docker("engine", OTHER, store).run(
                image, [], tmp_path / "out", conditions=Conditions(), timeout=60, progress=Silent()
            )
        assert "platform = " in caught.value.hint


def test_an_engine_that_is_not_there(store, tmp_path):
    host = Docker("engine", host_platform(), store, f"unix://{tmp_path}/absent.sock")
    with pytest.raises(EnvironmentFault, match="no Docker engine answers"):
        host.identity()


@pytest.mark.parametrize(
    "conditions",
    [Conditions(cpu="max"), Conditions(load=1), Conditions(shift=1), Conditions(randomised=False), Conditions(umask=0),
     Conditions(starter={"TZ": "UTC"})],
)  # fmt: skip
def test_conditions_that_an_engine_cannot_make(conditions):
    image = Runnable("demo", host_platform(), scripted.DIGEST, (), ("/x",), {})
    with pytest.raises(EnvironmentFault, match="varies cores, memory and environment"):
        options(image, conditions, "a", "b")


@pytest.mark.parametrize(("cores", "expected"), [(2, "0,1"), ((3, 1), "3,1"), (None, None)])
def test_cores_and_memory_as_the_engine_is_told(cores: int | Sequence[int] | None, expected: str | None):
    image = Runnable("demo", host_platform(), scripted.DIGEST, (), ("/x",), {"B": "2", "A": "1"})
    made = options(image, Conditions(cores=cores, memory=1 << 30), "a", "b")
    assert made["HostConfig"].get("CpusetCpus") == expected
    assert made["HostConfig"]["Memory"] == made["HostConfig"]["MemorySwap"] == 1 << 30
    assert made["Env"] == ["A=1", "B=2", f"KBUILD_IMAGE={scripted.DIGEST}"]


FAR = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:4]
import test_docker_host as here
from builder.hosts.docker import Docker
from builder.hosts.host import Conditions
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store
folder = Path(sys.argv[1])
store = Store(folder / "store")
image = here.image_of(store, here.OK)
host = Docker("far", host_platform(), store, sys.argv[4])
assert host.machine == sys.argv[4]
host.run(image, here.inputs_of(image, folder), folder / "out", conditions=Conditions(), timeout=60, progress=Silent())
"""


@pytest.mark.docker
@pytest.mark.ssh
@pytest.mark.root
def test_an_engine_behind_ssh(sshd, client, tmp_path):  # noqa: F811
    folder = tmp_path / "far"
    folder.mkdir()
    line = [sys.executable, "-c", FAR, folder, Path(__file__).parent, REPOSITORY, sshd["DOCKER_HOST"]]
    environ = {name: value for name, value in sshd.items() if name != "DOCKER_HOST"}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / "out/outputs.safetensors").read_bytes() == scripted.outputs(y=[1.0, -0.0])


@pytest.mark.ssh
@pytest.mark.root
def test_a_server_that_does_not_know_us(sshd, store):  # noqa: F811
    host = Docker("far", host_platform(), store, sshd["DOCKER_HOST"])  # without the key that `sshd` would bring along
    with pytest.raises(EnvironmentFault, match="ssh cannot connect"):
        host.identity()
