"""Engines that are absent, too old, strange, closed, full or gone: one clear error each, and nothing that hangs."""

from __future__ import annotations

import errno
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_roots import shell_action

from builder.backends import docker_engine
from builder.backends.docker import DockerBackend
from builder.errors import EnvironmentFault
from builder.layers.packages import PackageReader
from builder.progress import Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever engine this user has configured is none of these tests' business."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_BUILDKIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
def backend(store: Store, shell: Artifact) -> DockerBackend:
    return DockerBackend(store, [shell], PackageReader(store, 2))


def refused(call: Callable[[], object]) -> EnvironmentFault:
    with pytest.raises(EnvironmentFault) as caught:
        call()
    assert caught.value.hint
    assert "Traceback" not in caught.value.diagnostics()
    return caught.value


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine(backend, monkeypatch, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    fault = refused(backend.check)
    assert fault.message.startswith("no Docker engine answers (")
    assert fault.where == host
    assert "systemctl start docker" in fault.hint
    assert "--backend embedded" in fault.hint


@pytest.mark.parametrize("host", ["nonsense", "ftp://127.0.0.1", "ssh://", "ssh://-oProxyCommand=evil/"])
def test_an_address_that_is_none(backend, monkeypatch, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    refused(backend.check)


def test_a_context_that_is_not_there(backend, monkeypatch):
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    assert "there is no Docker context elsewhere" in refused(backend.check).message


def test_a_context_names_the_engine(backend, monkeypatch, tmp_path):
    """As `docker context create` and `docker context use` leave it."""
    import hashlib

    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://127.0.0.1:1"}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    assert refused(backend.check).where == "tcp://127.0.0.1:1"


def test_tls_without_certificates(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "none"))
    refused(backend.check)


# Something that answers like an engine, for what no engine at hand would say


@contextmanager
def answering(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def says(handler: http.server.BaseHTTPRequestHandler, status: int, body: object) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


ENGINE = {"ApiVersion": "1.41", "Version": "20.10.24", "Os": "linux", "Arch": "amd64"}


@pytest.mark.parametrize("version", ["1.40", "1.30", "1.9"])
def test_an_engine_that_is_too_old(backend, monkeypatch, version):
    with answering(lambda handler: says(handler, 200, ENGINE | {"ApiVersion": version, "Version": "19.03"})) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        fault = refused(backend.check)
    assert "too old" in fault.diagnostics() or "no longer supported" in fault.diagnostics()


def test_the_versions_are_named(backend, monkeypatch):
    with answering(lambda handler: says(handler, 200, ENGINE | {"ApiVersion": "1.40", "Version": "19.03"})) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        fault = refused(backend.check)
    assert "19.03 speaks API 1.40, and 1.41 is needed" in fault.message
    assert "Docker 20.10 or newer" in fault.hint


@pytest.mark.parametrize("changes", [{"Os": "windows"}, {"Arch": "riscv64"}, {"Os": None, "Arch": None}])
def test_an_engine_of_another_kind(backend, monkeypatch, changes):
    with answering(lambda handler: says(handler, 200, ENGINE | changes)) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert "kbuild needs Linux on amd64 or arm64" in refused(backend.check).message


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler: says(handler, 200, {}),
        lambda handler: says(handler, 200, []),
        lambda handler: says(handler, 500, {"message": "it is broken"}),
        lambda handler: says(handler, 200, ENGINE | {"ApiVersion": "x"}),
        lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"),
        lambda handler: handler.connection.close(),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    ],
)
def test_something_that_is_no_engine(backend, monkeypatch, answer):
    with answering(answer) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert refused(backend.check).where == host


def test_an_engine_that_never_answers(backend, monkeypatch):
    monkeypatch.setattr(docker_engine, "_PATIENCE", 0.3)
    with answering(lambda _: time.sleep(60)) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        began = time.monotonic()
        refused(backend.check)
        assert time.monotonic() - began < 50, "less than the engine takes"


def test_an_engine_that_refuses(backend, monkeypatch, shell):
    """As one with an authorisation plugin does."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/version"):
            says(handler, 200, ENGINE)
        else:
            says(handler, 403, {"message": "authorization denied by plugin example: not today"})

    with answering(answer) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        fault = refused(lambda: backend.run(shell_action(shell, "true"), Silent()))
    assert "the Docker engine refuses to look for an image: authorization denied by plugin" in fault.message


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_permission_denied_is_found_however_deep_it_lies(number):
    import docker
    import requests
    import urllib3

    inner = urllib3.exceptions.ProtocolError("Connection aborted.", PermissionError(number, os.strerror(number)))
    outer = docker.errors.DockerException("Error while fetching server API version")
    outer.__cause__ = requests.ConnectionError(inner)
    assert "may not speak to" in docker_engine.fault(outer, "answer", "unix:///x").message


@pytest.mark.parametrize("said", ["write /var/lib/docker/x: no space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_recognised(said):
    fault = docker_engine.exhausted(said, "unix:///x")
    assert "disk is full" in fault.message
    assert "docker system prune" in fault.hint
    assert docker_engine.exhausted("anything else", "unix:///x") is None


# Real engines


CHECK = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}, {str(HERE)!r}]
from pathlib import Path
from small_roots import shell_action, shell_artifact
from builder.backends.docker import DockerBackend
from builder.errors import KbuildError
from builder.layers.packages import PackageReader
from builder.progress import Silent
from builder.store.blobs import Store
store = Store(Path(sys.argv[1]))
try:
    shell = shell_artifact(store)
    backend = DockerBackend(store, [shell], PackageReader(store, 1))
    backend.check()
    print(backend.run(shell_action(shell, sys.argv[2]), Silent()))
except KbuildError as error:
    sys.exit(error.diagnostics())
"""


@pytest.mark.docker
@pytest.mark.root
def test_a_user_who_may_not(tmp_path):
    home = tmp_path / "theirs"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for parent in [tmp_path, *tmp_path.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's own folders are closed to others
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
    run = subprocess.run(
        [*user, sys.executable, "-c", CHECK, home / "store", "true"], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )  # fmt: skip
    assert run.returncode == 1
    assert "this user may not speak to the Docker engine" in run.stderr
    assert "usermod -aG docker" in run.stderr


@pytest.mark.docker
def test_an_engine_that_goes_away_in_the_middle(backend, shell, store, monkeypatch):
    """The link to a real engine is cut while the command runs; the next build is whole."""
    cut = threading.Event()
    mark = f"mark-{os.getpid()}-cut"
    script = f"echo {mark} > /out/x; sleep 1; echo done >> /out/x"
    with relayed(cut) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        threading.Thread(target=lambda: (_wait_for_process(mark), cut.set()), daemon=True).start()
        fault = refused(lambda: backend.run(shell_action(shell, script), Silent()))
    assert "the Docker engine broke off when asked to" in fault.message or "no Docker engine answers" in fault.message
    assert "what was finished is kept" in fault.hint or "start Docker" in fault.hint
    monkeypatch.delenv("DOCKER_HOST")
    assert store.has(backend.run(shell_action(shell, script), Silent()))


def _wait_for_process(mark: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"/usr/bin/sh" and mark.encode() in b" ".join(words):
                return
        time.sleep(0.02)


@contextmanager
def relayed(cut: threading.Event) -> Iterator[str]:
    """A TCP port that leads to the engine's socket until it is cut."""
    server = socket.create_server(("127.0.0.1", 0))
    open_ends: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect("/var/run/docker.sock")
            open_ends.extend((near, far))
            threading.Thread(target=pump, args=(near, far), daemon=True).start()
            threading.Thread(target=pump, args=(far, near), daemon=True).start()

    def cutting() -> None:
        cut.wait()
        server.close()
        for end in open_ends:
            end.close() if end.fileno() < 0 else (end.shutdown(socket.SHUT_RDWR), end.close())

    threading.Thread(target=serve, daemon=True).start()
    threading.Thread(target=cutting, daemon=True).start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    cut.set()


@pytest.fixture
def small_engine(tmp_path: Path) -> Iterator[str]:
    """An engine of its own whose disk has 24 MB.

    It stands in a network namespace of its own: an engine that starts without a bridge removes `docker0`, whose ever
    it is.
    """
    disk, state = tmp_path / "disk", Path("/tmp") / f"kbuild-test-engine-{os.getpid()}"
    disk.mkdir()
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    address = f"unix://{state}/engine.sock"
    log = (tmp_path / "engine.log").open("wb")
    engine = subprocess.Popen(
        ["unshare", "--net", "dockerd", "--data-root", disk, "--exec-root", state / "exec",
         "--pidfile", state / "pid", "-H", address, "--bridge", "none", "--iptables=false", "--ip6tables=false"],
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while (
            not (state / "engine.sock").exists()
            or subprocess.run(["docker", "-H", address, "version"], capture_output=True, check=False).returncode
        ):
            if engine.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"no second engine starts here: {(tmp_path / 'engine.log').read_text()[-300:]}")
            time.sleep(0.1)
        yield address
    finally:
        engine.terminate()
        engine.wait(60)
        log.close()
        subprocess.run(["umount", "-R", "-l", disk], check=False, capture_output=True)
        shutil.rmtree(state, ignore_errors=True)


@pytest.mark.docker
@pytest.mark.root
@pytest.mark.skipif(shutil.which("dockerd") is None, reason="no dockerd to start a second engine with")
def test_an_engine_whose_disk_is_full(small_engine, backend, shell, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", small_engine)
    backend.check()
    fault = refused(lambda: backend.run(shell_action(shell, "cat /dev/zero > /out/x"), Silent()))
    assert "the Docker engine's disk is full" in fault.message
    assert "docker system df" in fault.hint


# Behind ssh


@pytest.fixture
def sshd(tmp_path: Path, free_port: int) -> Iterator[dict[str, str]]:
    """An OpenSSH server on loopback that knows one key, and the environment of a user who has it."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert server is not None, "the marker `ssh` looks for it"
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    (tmp_path / "sshd_config").write_text(
        f"Port {free_port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\nPidFile {tmp_path}/sshd.pid\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    (tmp_path / "ssh_config").write_text(
        f"Host *\nIdentityFile {tmp_path}/user\nIdentitiesOnly yes\nUserKnownHostsFile {tmp_path}/known\n"
        "StrictHostKeyChecking accept-new\n"
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/ssh_config "$@"\n')
    (programs / "ssh").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", free_port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    yield {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
        "DOCKER_HOST": f"ssh://root@127.0.0.1:{free_port}", "TMPDIR": str(tmp_path),
    }  # fmt: skip
    process.terminate()
    process.wait(20)


def checked(store: Path, script: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHECK, store, script], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.docker
@pytest.mark.ssh
@pytest.mark.root
def test_an_engine_behind_ssh(sshd, tmp_path, backend, shell):
    run = checked(tmp_path / "store", "echo far > /out/x", sshd)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == backend.run(shell_action(shell, "echo far > /out/x"), Silent())
    assert not list(tmp_path.glob("kbuild-ssh-*"))


@pytest.mark.docker
@pytest.mark.ssh
@pytest.mark.root
def test_a_connection_ends_with_kbuild_however_that_ends(sshd, tmp_path):
    victim = subprocess.Popen(
        [sys.executable, "-c", CHECK, tmp_path / "store", "sleep 30"], env=sshd, stderr=subprocess.DEVNULL
    )
    config = f"{tmp_path}/ssh_config".encode()
    deadline = time.monotonic() + 60

    def connections() -> list[Path]:
        return [path for path in Path("/proc").glob("[0-9]*/cmdline") if config in _line(path)]

    while not connections():
        assert time.monotonic() < deadline
        assert victim.poll() is None
        time.sleep(0.05)
    victim.kill()
    victim.wait(20)
    while connections():
        assert time.monotonic() < deadline, "ssh outlived kbuild"
        time.sleep(0.05)


def _line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.ssh
@pytest.mark.root
def test_an_engine_behind_a_closed_door(sshd, tmp_path):
    (tmp_path / "authorized").write_text("")
    run = checked(tmp_path / "store", "true", sshd)
    assert run.returncode == 1
    assert "ssh cannot connect" in run.stderr
    assert "Permission denied" in run.stderr
    assert "work without a password first" in run.stderr


@pytest.mark.ssh
@pytest.mark.root
def test_a_host_behind_ssh_without_an_engine(sshd, tmp_path):
    run = checked(tmp_path / "store", "true", sshd | {"DOCKER_HOST": f"{sshd['DOCKER_HOST']}/nowhere/docker.sock"})
    assert run.returncode == 1
    assert "no Docker engine answers" in run.stderr
