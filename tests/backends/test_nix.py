"""The Nix backend: the same outputs as the embedded one, out of a real Nix store."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from nix_daemons import daemons, no_build_users
from nix_stores import NixStore, busybox_program, nix_backend, remove
from small_roots import backend_of, shell_action

from builder.backends.action import InputFile
from builder.backends.nix import NixBackend
from builder.errors import EnvironmentFault, KernelError
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

pytestmark = [
    pytest.mark.nix,
    pytest.mark.sandbox,
    pytest.mark.skipif(busybox_program() is None, reason="no static BusyBox"),
]
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(scope="session")
def nix_store(tmp_path_factory: pytest.TempPathFactory):
    """A Nix store whose root folder of the shell is made once for all tests."""
    found = NixStore(tmp_path_factory.mktemp("nix"))
    yield found
    remove(found.folder)


@pytest.fixture
def nix(nix_store: NixStore, store: Store, shell: Artifact, monkeypatch) -> NixBackend:
    for name, value in nix_store.environment().items():
        monkeypatch.setenv(name, value)
    return nix_backend(store, [shell])


SCRIPTS = {
    "files": "cd /out; mkdir -p a/empty; echo 1 > a/z; echo 2 > b; chmod 711 b; umask 0; echo 3 > c; chmod 600 c",
    "nothing": "true",
    "environment": "export -p > /out/env; pwd > /out/pwd",
    "words": """printf '%s\\n' 'it'\\''s "$HOME" ${x} \\ %d' > '/out/a b'; echo "$A" > /out/a""",
    "names": "echo ü > /out/ü; echo x > '/out/ leading'; echo y > /out/-n",
    "root": """
        [ ! -e /root ] && [ ! -e /nix ] && [ ! -e /build ] && [ ! -e /sys/class ] && [ ! -e /etc/shadow ]
        cat /proc/sys/kernel/hostname > /out/name
        while read line; do case $line in *:*) echo "${line%%:*}";; esac; done < /proc/net/dev > /out/devices
        for file in /usr/bin/sh /usr/new /new /in/new /proc/sys/kernel/hostname; do
            (echo x >> $file) 2>/dev/null && exit 5
        done
        echo x > /tmp/x; echo x > /dev/null; cat /dev/null; echo done > /out/done
    """,
    "inputs": """
        cat /in/data /src/x '/src/a b$c' > /out/all; /in/deep/er/tool
        [ ! /in/data -nt /src/x ] && [ ! /src/x -nt /in ] && [ ! /in -nt /src/x ]
        [ -x /in/deep/er/tool ] && [ ! -x /in/data ]
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_makes_what_the_embedded_backend_makes(name, nix, store, shell):
    inputs = [
        InputFile("/in/data", store.add(b"data")),
        InputFile("/in/deep/er/tool", store.add(b"#!/usr/bin/sh\necho ran > /out/ran\n"), executable=True),
        InputFile("/src/x", store.add(b"source")),
        InputFile("/src/a b$c", store.add(b"strange")),
    ]
    action = shell_action(shell, SCRIPTS[name], inputs=inputs, env={"A": "b  'c'\n${d}", "PATH": "/usr/bin"}, name=name)
    assert nix.run(action, Silent()) == backend_of(store, [shell]).run(action, Silent())


@pytest.mark.parametrize(
    "script", ["echo 'no such thing' >&2; exit 3", "kill -11 $$", "ln -s /etc/passwd /out/link", "mkfifo /out/pipe"]
)
def test_a_failure_is_told_as_the_embedded_backend_tells_it(script, nix, store, shell):
    told = []
    for backend in (nix, backend_of(store, [shell])):
        with pytest.raises(KernelError) as caught:
            backend.run(shell_action(shell, script), Silent())
        told.append((caught.value.where, caught.value.message))
    assert told[0] == told[1]
    assert not any((store.root / "tmp").iterdir())


def test_an_action_runs_once_and_never_on_another_backends_word(nix, store, shell):
    action = shell_action(shell, "cat /proc/sys/kernel/random/uuid > /out/id")
    other = backend_of(store, [shell]).run(action, Silent())
    first = nix.run(action, Silent())
    assert first != other
    assert nix.run(replace(action, name="another"), Silent()) == first
    assert nix_backend(store, [shell]).run(action, Silent()) == first


class Seen(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Seen.asked += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_there_is_no_network(nix, shell):
    server = HTTPServer(("127.0.0.1", 0), Seen)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    subprocess.run(["busybox", "wget", "-q", "-O", "/dev/null", url], check=True)
    with pytest.raises(KernelError, match="wget: can't connect"):
        nix.run(shell_action(shell, f"/.kbuild/busybox wget -O /out/x {url}"), Silent())
    server.shutdown()
    assert Seen.asked == 1


def test_every_derivation_builds_again_to_the_same(nix, nix_store, shell):
    nix.run(shell_action(shell, "echo checked > /out/x; mkdir /out/y", name="checked"), Silent())
    drv = next(nix_store.store.glob("*-checked.drv"))
    needed = nix_store.run("nix-store", "--query", "--requisites", drv).stdout.split()
    ours = [path for path in needed if path.endswith(("-root.drv", "-checked.drv"))]
    assert len(ours) == 2
    for path in ours:
        assert "checking outputs" in nix_store.run("nix-store", "--realise", "--check", path).stderr


def test_nothing_is_left_that_the_garbage_collector_would_keep(store, shell, tmp_path, monkeypatch):
    own = NixStore(tmp_path / "nix")
    for name, value in own.environment().items():
        monkeypatch.setenv(name, value)
    backend = nix_backend(store, [shell])
    backend.run(shell_action(shell, "echo a > /out/gc"), Silent())
    assert list(own.store.glob("*-demo"))
    own.run("nix-store", "--gc")
    assert [path for path in own.store.iterdir() if not path.name.startswith(".")] == []
    backend.run(shell_action(shell, "echo b > /out/gc"), Silent())  # what it gave to Nix before is gone
    nix_backend(store, [shell]).run(shell_action(shell, "echo c > /out/gc"), Silent())
    remove(own.folder)


def test_without_its_sandbox_nix_is_refused(nix, nix_store, shell, monkeypatch):
    """A daemon ignores `--option sandbox` of users that it does not trust; this stands for such a one."""
    import builder.backends.nix_tools

    options = ("--option", "sandbox", "false", "--option", "substitute", "false")
    monkeypatch.setattr(builder.backends.nix_tools, "OPTIONS", options)
    with pytest.raises(EnvironmentFault, match="without its sandbox") as caught:
        nix.run(shell_action(shell, "echo unsafe > /out/x"), Silent())
    assert "sandbox = true" in caught.value.hint


def test_a_foreign_action_needs_an_emulator(nix, shell):
    other = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
    with pytest.raises(EnvironmentFault, match="no emulator"):
        nix.run(replace(shell_action(shell, "true"), platform=other), Silent())


def test_a_lock_without_busybox_is_told_so(nix, store, shell):
    from builder.layers.packages import PackageReader

    backend = NixBackend(store, [shell], PackageReader(store, 1))
    backend.check()
    with pytest.raises(EnvironmentFault, match="busybox-static") as caught:
        backend.run(shell_action(shell, "echo no busybox"), Silent())
    assert "kbuild lock" in caught.value.hint


PROGRAM = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}, {str(HERE)!r}]
from pathlib import Path
from nix_stores import nix_backend
from small_roots import shell_action, shell_artifact
from builder.progress import Silent
from builder.store.blobs import Store
store = Store(Path(sys.argv[1]))
shell = shell_artifact(store)
print(nix_backend(store, [shell]).run(shell_action(shell, sys.argv[2]), Silent()))
"""


def start(store: Path, script: str, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(store), script], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip


def running(*marks: Path) -> list[str]:
    """The command lines of processes that name a path."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if any(str(mark) in line for mark in marks)]


def left(*marks: Path) -> list[str]:
    """Those that still do after a while."""
    deadline = time.monotonic() + 20
    while (found := running(*marks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.usefixtures("nix")
@pytest.mark.parametrize("whole", [True, False], ids=["with Nix", "alone"])
def test_killed_at_any_moment_then_the_same(whole, nix_store, store, shell, tmp_path):
    """The more often it is killed, the later, until it comes to its end. Nothing runs on, nothing lies in /tmp."""
    script = f"echo {whole} > /out/x; sleep 0.2; echo done >> /out/x"
    own = Store(tmp_path / "store")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    wait, killed = 0.3, 0
    while True:
        victim = start(own.root, script, temporary)
        try:
            out, _ = victim.communicate(timeout=wait)
            break
        except subprocess.TimeoutExpired:
            killed += 1
            wait *= 2
            if whole:
                os.killpg(victim.pid, signal.SIGKILL)
            else:
                victim.kill()
            victim.communicate()
            assert not left(own.root, nix_store.folder)
    assert victim.returncode == 0
    assert killed >= 2
    assert out.strip() == backend_of(store, [shell]).run(shell_action(shell, script), Silent())
    assert not list(temporary.iterdir())


@pytest.mark.usefixtures("nix")
def test_a_build_ends_with_kbuild(tmp_path, nix_store):
    (tmp_path / "tmp").mkdir()
    victim = start(tmp_path / "store", f"echo {tmp_path}; sleep 600", tmp_path / "tmp")
    try:
        deadline = time.monotonic() + 60
        while not any(line.startswith("/usr/bin/sh") for line in running(tmp_path)) and time.monotonic() < deadline:
            assert victim.poll() is None
            time.sleep(0.05)
        assert running(tmp_path / "store"), "it came to the command"
    finally:
        victim.kill()
        victim.communicate()
    assert not left(tmp_path, nix_store.folder)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.root
@pytest.mark.skipif(no_build_users(), reason="no build users")
def test_with_a_daemon_that_does_not_trust_this_user(store, shell, monkeypatch):
    def run(script: str) -> str:
        return nix_backend(store, [shell]).run(shell_action(shell, script), Silent())

    with daemons() as nix:
        for name, value in nix.environment().items():
            monkeypatch.setenv(name, value)
        with nix.running("sandbox = true\n"):
            script = "echo daemon > /out/x; export -p > /out/env; chmod 700 /out/x"
            assert run(script) == backend_of(store, [shell]).run(shell_action(shell, script), Silent())
            with pytest.raises(KernelError, match="ended with status 3"):
                run("echo daemon; exit 3")
        with nix.running("sandbox = false\n"), pytest.raises(EnvironmentFault, match="without its sandbox"):
            run("echo no sandbox > /out/x")
        with nix.running("allowed-users = nobody\n"), pytest.raises(EnvironmentFault, match="Nix's daemon hangs up"):
            run("echo not allowed > /out/x")
        with pytest.raises(EnvironmentFault, match="Nix's daemon does not answer"):
            run("echo nobody there > /out/x")
