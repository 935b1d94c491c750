"""The Docker backend on a real engine, with a real shell, held against the embedded backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from small_roots import EPOCH, backend_of, shell_action, tool_artifact

import builder.backends.docker
from builder.backends import docker_classic
from builder.backends.action import Action, InputFile
from builder.backends.docker import DockerBackend
from builder.backends.docker_context import LABEL
from builder.backends.docker_root import RECORDS as ROOTS
from builder.backends.docker_root import REPOSITORY, root_image
from builder.backends.roots import root_key
from builder.errors import EnvironmentFault, IntegrityError, KernelError
from builder.layers.entry import Kind
from builder.layers.packages import PackageReader
from builder.layers.tar import tar_entries
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

pytestmark = pytest.mark.docker
HERE = Path(__file__).resolve().parent
REPOSITORY_FOLDER = HERE.parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("docker") / "store")


def docker_of(store: Store, artifacts: list[Artifact]) -> DockerBackend:
    return DockerBackend(store, artifacts, PackageReader(store, 2))


@pytest.fixture
def backend(store: Store, shell: Artifact) -> DockerBackend:
    return docker_of(store, [shell])


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


def roots(client: docker.DockerClient) -> set[str]:
    return {image.id for image in client.images.list(filters={"label": LABEL}) if image.tags}


def remains(client: docker.DockerClient, action: Action) -> list[str]:
    """Images and containers of one action, which others may build beside us: by its key, and by its environment."""
    images = client.images.list(all=True, filters={"label": LABEL})
    found = [image.id for image in images if image.labels.get(f"{LABEL}.action") == action.key()]
    mark = f"MARK={dict(action.env)['MARK']}"
    found += [image.id for image in images if mark in (image.attrs["Config"]["Env"] or [])]
    for item in client.api.containers(all=True, filters={"label": LABEL}):
        try:
            if mark in client.api.inspect_container(item["Id"])["Config"]["Env"]:
                found.append(item["Id"])
        except docker.errors.NotFound:
            continue
    return found


def marked(shell: Artifact, script: str, *inputs: InputFile, **env: str) -> Action:
    return shell_action(shell, script, inputs=inputs, env={"PATH": "/usr/bin", "MARK": os.urandom(8).hex(), **env})


def output(store: Store, sha256: str, epoch: int = EPOCH) -> dict[str, tuple[int, bytes | None]]:
    found: dict[str, tuple[int, bytes | None]] = {}
    for entry in tar_entries(store.verified(sha256)):
        assert (entry.mtime, entry.uid, entry.gid) == (epoch, 0, 0)
        found[entry.path] = (entry.mode, entry.source().read() if entry.kind is Kind.FILE else None)
    return found


EVERYTHING = """
    cd /out; mkdir -p a/empty; echo 1 > a/z; echo 2 > b; chmod 4711 b; umask 0; echo 3 > c; chmod 600 c; ln b d
    cat /in/data /src/x > all; /in/deep/er/tool
    [ ! /in/data -nt /src/x ] && [ ! /src/x -nt /in ] && [ ! /in -nt /src/x ]
    echo "$A $SOURCE_DATE_EPOCH" > env
"""


def everything(store: Store, shell: Artifact):
    inputs = [
        InputFile("/in/data", store.add(b"data")),
        InputFile("/in/deep/er/tool", store.add(b"#!/usr/bin/sh\necho ran > /out/ran\n"), executable=True),
        InputFile("/src/x", store.add(b"source")),
    ]
    return marked(shell, EVERYTHING, *inputs, A='b "c" $HOME \\d')


@pytest.mark.sandbox
def test_the_output_is_the_embedded_backends_and_nothing_is_left(store, shell, backend, client):
    action = everything(store, shell)
    sha256 = backend.run(action, Silent())
    assert output(store, sha256) == {
        "a": (0o755, None),
        "a/empty": (0o755, None),
        "a/z": (0o644, b"1\n"),
        "all": (0o644, b"datasource"),
        "b": (0o755, b"2\n"),
        "c": (0o644, b"3\n"),
        "d": (0o755, b"2\n"),
        "env": (0o644, f'b "c" $HOME \\d {EPOCH}\n'.encode()),
        "ran": (0o644, b"ran\n"),
    }
    assert backend_of(store, [shell]).run(action, Silent()) == sha256
    assert not remains(client, action)


def test_no_output_is_an_output(store, shell, backend):
    assert output(store, backend.run(shell_action(shell, "true"), Silent())) == {}


NETWORK = """
    while read line; do case $line in *:*) echo "${line%%:*}";; esac; done < /proc/net/dev
    while read line; do echo "$line"; done < /proc/net/route
"""


def test_there_is_no_network(store, shell, backend, client):
    """No device but loopback and no route, so that nothing but this container can be reached."""
    found = output(store, backend.run(shell_action(shell, f"({NETWORK}) > /out/net"), Silent()))
    lines = found["net"][1].decode().split()
    assert lines[0] == "lo"
    assert not [word for word in lines[1:] if word.startswith(("eth", "docker"))]
    assert found["net"][1].decode().count("\n") == 2, "the device, and the header of an empty table of routes"


def test_a_failed_command_says_why(store, shell, backend, client):
    script = "i=0; while [ $i -lt 99 ]; do echo noise $i; i=$((i+1)); done; echo 'no such thing' >&2; exit 3"
    action = marked(shell, script)
    with pytest.raises(KernelError) as caught:
        backend.run(action, Silent())
    assert caught.value.where == "demo"
    assert "/usr/bin/sh ended with status 3:" in caught.value.message
    assert caught.value.message.splitlines()[-1].strip() == "no such thing"
    assert "noise 0\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert not remains(client, action)


def test_a_link_is_no_output(shell, backend):
    with pytest.raises(KernelError, match="left link behind, which is neither a file nor a folder"):
        backend.run(shell_action(shell, "ln -s /etc/passwd /out/link"), Silent())


RANDOM = "cat /proc/sys/kernel/random/uuid > /out/id"


@pytest.mark.sandbox
def test_an_action_runs_once_for_this_backend_and_not_for_another(store, shell, backend):
    """What the embedded backend remembers is never handed out as what Docker made."""
    embedded = backend_of(store, [shell]).run(shell_action(shell, RANDOM), Silent())
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(backend.run(shell_action(shell, RANDOM), Silent())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert found[0] != embedded
    assert docker_of(Store(store.root), [shell]).run(shell_action(shell, RANDOM), Silent()) == found[0]


def test_a_lost_output_is_made_again(store, shell, backend):
    action = shell_action(shell, "echo again > /out/x")
    first = backend.run(action, Silent())
    store.blob_path(first).unlink()
    assert backend.run(action, Silent()) == first
    assert store.has(first)


def test_a_root_is_sent_once_and_known_by_its_layer_alone(store, shell, backend, client):
    """A tag that leads elsewhere, a lost image and a lost record: each time the root is the right one again.

    It is a root of its own, which no test beside this one builds on.
    """
    epoch = EPOCH + 78

    def said(script: str) -> bytes:
        made = backend.run(replace(shell_action(shell, script), epoch=epoch), Silent())
        return output(store, made, epoch)["x"][1]

    assert said("echo first > /out/x") == b"first\n"
    key = root_key([shell], epoch=epoch)
    tag = f"{REPOSITORY}:{key}"
    image = client.images.get(tag)
    root = store.recall(ROOTS, key)["root"]
    assert image.attrs["RootFS"]["Layers"] == [root]
    assert image.labels == {LABEL: "root"}

    context = subprocess.run(
        ["docker", "build", "-q", "-t", tag, "-"], input=b"FROM scratch\nLABEL evil=1\n", check=True,
        capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    evil = context.stdout.decode().strip()
    assert said("echo second > /out/x") == b"second\n"
    assert client.images.get(tag).attrs["RootFS"]["Layers"] == [root]
    client.images.remove(evil)

    store.record_path(ROOTS, key).unlink()
    assert said("echo third > /out/x") == b"third\n"
    assert store.recall(ROOTS, key)["root"] == root


def test_a_root_that_is_cleared_away_before_the_build_is_sent_again(store, shell, backend, client, monkeypatch):
    looks = []

    def cleared(*arguments, **options):
        found = root_image(*arguments, **options)
        if not looks:
            client.images.remove(found.id, force=True)
        looks.append(found)
        return found

    monkeypatch.setattr(builder.backends.docker, "root_image", cleared)
    # A root of its own, which no test beside this one builds on.
    action = replace(marked(shell, "echo there > /out/it"), epoch=EPOCH + 77)
    output = backend.run(action, Silent())
    assert [entry.path for entry in tar_entries(store.path(output)) if entry.kind is Kind.FILE] == ["it"]
    assert len(looks) == 2
    client.images.remove(looks[1].id, force=True)


@pytest.fixture
def pruned(client, monkeypatch) -> Callable[[int], list[str]]:
    """A function that has the images of the next builds pruned, as `docker image prune` would; returns all images."""
    taken: list[str] = []
    take_out = docker_classic._take_out

    def prune(times: int) -> list[str]:
        def gone(engine, image):
            taken.append(image)
            if len(taken) <= times:
                client.images.remove(image, force=True)
            return take_out(engine, image)

        monkeypatch.setattr(docker_classic, "_take_out", gone)
        return taken

    return prune


def test_an_image_that_is_pruned_on_the_way_is_made_again(store, shell, backend, pruned):
    taken = pruned(1)
    made = backend.run(marked(shell, "echo there > /out/it"), Silent())
    assert output(store, made)["it"][1] == b"there\n"
    assert len(taken) == 2


def test_who_prunes_again_and_again_is_told_so(shell, backend, pruned):
    taken = pruned(3)
    with pytest.raises(EnvironmentFault, match="an image was removed while it was in use") as caught:
        backend.run(marked(shell, "echo there > /out/it"), Silent())
    assert len(taken) == 3
    assert "docker image prune" in caught.value.hint


def test_a_corrupt_input_is_not_used(store, shell):
    sha256 = store.add(b"right")
    store.blob_path(sha256).chmod(0o644)
    store.blob_path(sha256).write_bytes(b"wrong")
    action = shell_action(shell, "cat /in/x > /out/x", inputs=[InputFile("/in/x", sha256)])
    with pytest.raises(IntegrityError, match="corrupt"):
        docker_of(Store(store.root), [shell]).run(action, Silent())


def test_an_unknown_deb_is_a_bug(store, shell):
    with pytest.raises(KeyError, match="not told of"):
        docker_of(store, []).run(shell_action(shell, "echo never made before"), Silent())


OTHER = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"


def test_a_foreign_action_needs_an_emulator(shell, backend):
    with pytest.raises(EnvironmentFault, match="no emulator"):
        backend.run(replace(shell_action(shell, "true"), platform=OTHER), Silent())


def test_a_foreign_action_is_run_by_the_emulator(store, shell):
    """Something that says how it was called stands for QEMU; the real one compiles in the tests of whole builds."""
    name = "aarch64" if OTHER == "linux/arm64" else "x86_64"
    script = b'#!/usr/bin/sh\necho "$@" > /out/called\n'
    tool = tool_artifact(store, {f"usr/bin/qemu-{name}": script})
    action = replace(shell_action(shell, "true"), platform=OTHER, argv=("/usr/bin/g++-14", "-O2"))
    found = output(store, docker_of(store, [shell, tool]).run(action, Silent()))
    assert found["called"][1] == b"/usr/bin/g++-14 -wrapper /.kbuild/emulator -O2\n"


# Killed


PROGRAM = f"""
import sys
sys.path[:0] = [{str(REPOSITORY_FOLDER)!r}, {str(HERE)!r}]
from pathlib import Path
from small_roots import shell_action, shell_artifact
from builder.backends.docker import DockerBackend
from builder.layers.packages import PackageReader
from builder.progress import Silent
from builder.store.blobs import Store
store = Store(Path(sys.argv[1]))
shell = shell_artifact(store)
print(DockerBackend(store, [shell], PackageReader(store, 2)).run(shell_action(shell, sys.argv[2]), Silent()))
"""


def started(store: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(store), script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def running(mark: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"/usr/bin/sh" and mark.encode() in b" ".join(words):
            found.append(int(path.parent.name))
    return found


def wait_for(condition, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_takes_its_container_with_it(tmp_path, store, by):
    mark = f"mark-{os.getpid()}-{by}"
    script = f"echo {mark} > /out/x; sleep 30; echo done >> /out/x"
    victim = started(store.root, script)
    wait_for(lambda: running(mark), "the command has begun")
    victim.send_signal(by)
    victim.wait(30)
    wait_for(lambda: not running(mark), "the container outlived kbuild", 20)


def test_a_killed_container_is_said_and_recovered_from(store):
    mark = f"mark-{os.getpid()}-container"
    script = f"echo {mark} > /out/x; sleep 2; echo done >> /out/x"
    victim = started(store.root, script)
    wait_for(lambda: running(mark), "the command has begun")
    os.kill(running(mark)[0], signal.SIGKILL)
    _, said = victim.communicate(timeout=60)
    assert victim.returncode != 0
    assert "EnvironmentFault" in said
    assert "its container was killed before it was done" in said
    again = started(store.root, script)
    sha256, _ = again.communicate(timeout=60)
    assert output(store, sha256.strip()) == {"x": (0o644, f"{mark}\ndone\n".encode())}


def test_what_killed_builds_leave_is_swept_a_day_later(backend, client, monkeypatch):
    """The engine's clock cannot be moved, so the day is made shorter; under a label of our own: others build too."""
    from builder.backends import docker_classic

    label = f"{LABEL}.test{os.getpid()}"
    monkeypatch.setattr(docker_classic, "LABEL", label)
    text = f'FROM scratch\nLABEL {label}="action"\nLABEL left=1\n'
    image = subprocess.run(
        ["docker", "build", "-q", "-"], input=text, check=True, capture_output=True, text=True,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    ).stdout.strip()  # fmt: skip
    container = client.api.create_container(image, command=["-"], labels={label: "output"})["Id"]

    def there() -> tuple[bool, bool]:
        images = client.images.list(all=True, filters={"label": label})
        containers = client.containers.list(all=True, filters={"label": label})
        return image in {item.id for item in images}, container in {item.id for item in containers}

    backend.check()
    assert there() == (True, True), "a build of today may still need it"
    monkeypatch.setattr(docker_classic, "_LEFT_OVER", "1s")
    time.sleep(2.1)
    before = roots(client)
    backend.check()
    assert there() == (False, False)
    assert before <= roots(client)


def test_nobodys_registry_passwords_are_sent(store, shell, tmp_path, monkeypatch, free_port):
    """docker-py would send all of them with each build; seen by what stands between."""
    (tmp_path / "config.json").write_text('{"auths": {"registry.example.org": {"auth": "dXNlcjpzZWNyZXQ="}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    heard = bytearray()
    relay = _Relay(free_port, heard)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port}")
    with relay:
        found = docker_of(store, [shell]).run(shell_action(shell, "echo over tcp > /out/x"), Silent())
    assert output(store, found)["x"][1] == b"over tcp\n"
    assert b"POST" in heard
    assert b"X-Registry" not in heard


class _Relay:
    """Hands bytes between a TCP port and the engine's socket, and keeps what goes to the engine."""

    def __init__(self, port: int, heard: bytearray) -> None:
        import socketserver

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                import socket

                engine = socket.socket(socket.AF_UNIX)
                engine.connect("/var/run/docker.sock")
                back = threading.Thread(target=self._pump, args=(engine, self.request, None), daemon=True)
                back.start()
                self._pump(self.request, engine, heard)
                back.join(60)

            def _pump(self, source, target, keep) -> None:
                import contextlib
                import socket

                with contextlib.suppress(OSError):
                    while data := source.recv(1 << 16):
                        if keep is not None:
                            keep.extend(data)
                        target.sendall(data)
                    target.shutdown(socket.SHUT_WR)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
