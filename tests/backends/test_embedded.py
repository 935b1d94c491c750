"""The embedded backend on a real shell in a real sandbox."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_roots import EPOCH, backend_of, shell_action, shell_artifact

from builder.backends.action import Action, InputFile
from builder.backends.embedded import EmbeddedBackend
from builder.errors import EnvironmentFault, IntegrityError, KernelError
from builder.layers.entry import Kind
from builder.layers.tar import tar_entries, write_tar
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.artifact import Artifact
from builder.store.blobs import Store

pytestmark = pytest.mark.sandbox
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def output(store: Store, sha256: str) -> dict[str, tuple[int, bytes | None]]:
    found: dict[str, tuple[int, bytes | None]] = {}
    for entry in tar_entries(store.verified(sha256)):
        assert entry.mtime == EPOCH
        assert entry.uid == entry.gid == 0
        found[entry.path] = (entry.mode, entry.source().read() if entry.kind is Kind.FILE else None)
    return found


@pytest.fixture
def run(store: Store, shell: Artifact, backend: EmbeddedBackend):
    def call(script: str, **more: object) -> dict[str, tuple[int, bytes | None]]:
        return output(store, backend.run(shell_action(shell, script, **more), Silent()))

    return call


def leftovers(store: Store) -> list[Path]:
    folder = store.root / "tmp"
    return list(folder.iterdir()) if folder.exists() else []


def test_what_is_in_out_is_the_output(run, store):
    found = run("cd /out; mkdir -p a/empty; echo 1 > a/z; echo 2 > b; chmod 4711 b; umask 0; echo 3 > c; chmod 600 c")
    assert found == {
        "a": (0o755, None),
        "a/empty": (0o755, None),
        "a/z": (0o644, b"1\n"),
        "b": (0o755, b"2\n"),
        "c": (0o644, b"3\n"),
    }
    assert not leftovers(store)


def test_no_output_is_an_output(run):
    assert run("true") == {}


def test_the_environment_is_the_actions_and_the_epoch(run, monkeypatch):
    monkeypatch.setenv("LEAK", "yes")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    found = run("export -p > /out/env", env={"A": "b c"})
    assert found["env"][1].decode().splitlines() == [
        "export A='b c'", "export PWD='/'", f"export SOURCE_DATE_EPOCH='{EPOCH}'",
    ]  # fmt: skip


def test_inputs_are_copies_with_the_epoch_for_a_time(run, store):
    inputs = [
        InputFile("/in/data", store.add(b"data")),
        InputFile("/in/deep/er/tool", store.add(b"#!/usr/bin/sh\necho ran > /out/ran\n"), executable=True),
        InputFile("/src/x", store.add(b"source")),
    ]
    script = """
        cat /in/data /src/x > /out/all; /in/deep/er/tool
        [ ! /in/data -nt /src/x ] && [ ! /src/x -nt /in ] && [ ! /in -nt /src/x ]
        for file in /in/data /in/new /src/x /in/deep/new; do (echo x >> $file) 2>/dev/null && exit 5; done
        [ -x /in/deep/er/tool ] && [ ! -x /in/data ]
    """
    assert run(script, inputs=inputs) == {"all": (0o644, b"datasource"), "ran": (0o644, b"ran\n")}


def test_neither_network_nor_host_is_there(run, tmp_path):
    (tmp_path / "secret").write_text("x")
    script = f"""
        [ ! -e {tmp_path} ] && [ ! -e {REPOSITORY} ] && [ ! -e /root ] && [ ! -e /sys/class ]
        while read line; do case $line in *:*) echo "${{line%%:*}}";; esac; done < /proc/net/dev > /out/devices
        cat /proc/sys/kernel/hostname > /out/name
    """
    assert run(script) == {"devices": (0o644, b"lo\n"), "name": (0o644, b"kbuild\n")}


def test_a_failed_command_says_why(run, store):
    with pytest.raises(KernelError) as caught:
        run("i=0; while [ $i -lt 99 ]; do echo noise $i; i=$((i+1)); done; echo 'no such thing' >&2; exit 3")
    assert caught.value.where == "demo"
    assert "/usr/bin/sh ended with status 3:" in caught.value.message
    assert caught.value.message.splitlines()[-1].strip() == "no such thing"
    assert "noise 0\n" not in caught.value.message
    assert not leftovers(store)


def test_a_killed_command_says_so(run):
    with pytest.raises(KernelError, match="was killed by signal 11"):
        run("kill -11 $$")


@pytest.mark.parametrize("script", ["ln -s /etc/passwd /out/link", "mkfifo /out/pipe"])
def test_links_and_pipes_are_no_output(run, store, script):
    with pytest.raises(KernelError, match="neither a file nor a folder"):
        run(script)
    assert not leftovers(store)


def test_a_link_out_of_the_sandbox_is_never_followed(run, tmp_path):
    with pytest.raises(KernelError):
        run(f"mkdir /out/d; ln -s {tmp_path} /out/d/link")


RANDOM = "cat /proc/sys/kernel/random/uuid > /out/id"


def test_an_action_runs_once(run, store, shell, backend):
    first = backend.run(shell_action(shell, RANDOM), Silent())
    assert backend.run(shell_action(shell, RANDOM, name="another name"), Silent()) == first
    assert backend_of(store, [shell]).run(shell_action(shell, RANDOM), Silent()) == first
    assert backend.run(shell_action(shell, RANDOM, env={"OTHER": "1", "PATH": "/usr/bin"}), Silent()) != first


def test_an_action_runs_once_for_many_at_the_same_time(store, shell, backend):
    action = shell_action(shell, f"sleep 0.2; {RANDOM}")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(backend.run(action, Silent()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_lost_output_is_made_again(store, shell, backend):
    action = shell_action(shell, "echo again > /out/x")
    first = backend.run(action, Silent())
    store.blob_path(first).unlink()
    assert backend.run(action, Silent()) == first
    assert store.has(first)


def test_a_corrupt_input_is_not_used(store, shell, backend):
    sha256 = store.add(b"right")
    store.blob_path(sha256).chmod(0o644)
    store.blob_path(sha256).write_bytes(b"wrong")
    action = shell_action(shell, "cat /in/x > /out/x", inputs=[InputFile("/in/x", sha256)])
    fresh = Store(store.root)
    with pytest.raises(IntegrityError, match="corrupt"):
        backend_of(fresh, [shell]).run(action, Silent())


def test_an_unknown_deb_is_a_bug(store, shell):
    with pytest.raises(KeyError, match="not told of"):
        backend_of(store, []).run(shell_action(shell, "echo never made before"), Silent())


@pytest.mark.parametrize("path", ["in/x", "/x", "/in/../etc/x"])
def test_an_input_has_to_be_below_a_folder(store, shell, backend, path):
    with pytest.raises(ValueError, match="an input at"):
        backend.run(shell_action(shell, "true", inputs=[InputFile(path, store.add(b""))]), Silent())


def test_a_foreign_action_needs_an_emulator(store, shell, backend):
    other = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
    with pytest.raises(EnvironmentFault, match="no emulator"):
        backend.run(replace(shell_action(shell, "true"), platform=other), Silent())


PROGRAM = f"""
import sys
sys.path[:0] = [{str(REPOSITORY)!r}, {str(HERE)!r}]
from pathlib import Path
from small_roots import backend_of, shell_action, shell_artifact
from builder.progress import Silent
from builder.store.blobs import Store
store = Store(Path(sys.argv[1]))
shell = shell_artifact(store)
print(backend_of(store, [shell]).run(shell_action(shell, sys.argv[2]), Silent()))
"""


def started(store: Path, script: str, *prefix: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM, str(store), script],
        stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], **env},
    )  # fmt: skip


def alive(mark: str) -> list[int]:
    """Processes on this machine whose command line holds `mark`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle_then_the_same_result(tmp_path, by):
    store = Store(tmp_path / "store")
    mark = f"mark-{os.getpid()}-{by}"
    script = f"echo {mark} > /out/x; sleep 8; echo done >> /out/x"
    victim = started(store.root, script)
    deadline = time.monotonic() + 60
    while not any((store.root / "tmp").glob("*/out/x")):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert alive(mark)
    victim.send_signal(by)
    victim.wait(30)
    deadline = time.monotonic() + 5  # it would end by itself three seconds later
    while alive(mark):
        assert time.monotonic() < deadline, "the sandbox outlived kbuild"
        time.sleep(0.05)
    again = started(store.root, script)
    again.wait(60)
    sha256 = again.stdout.read().strip()
    assert output(store, sha256) == {"x": (0o644, f"{mark}\ndone\n".encode())}


@pytest.mark.root
def test_an_ordinary_user_gets_the_same_bytes(tmp_path, store, shell, backend):
    script = "id=$(cat /proc/self/status); echo hello > /out/x; chmod 700 /out/x; mkdir /out/d; echo y > /out/d/y"
    expected = backend.run(shell_action(shell, script), Silent())
    home = tmp_path / "theirs"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for parent in [tmp_path, *tmp_path.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's own folders are closed to others
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
    run = started(home / "store", script, *user, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="9")
    assert run.wait(120) == 0
    assert run.stdout.read().strip() == expected


def test_the_same_bytes_whatever_the_umask(tmp_path, store, shell, backend):
    script = "echo hello > /out/x; mkdir /out/d; echo y > /out/d/y"
    expected = backend.run(shell_action(shell, script), Silent())
    other = Store(tmp_path / "store")
    old = os.umask(0o077)
    try:
        item = shell_artifact(other)
        assert backend_of(other, [item]).run(shell_action(item, script), Silent()) == expected
    finally:
        os.umask(old)


def test_the_output_is_a_canonical_tar(store, shell, backend):
    sha256 = backend.run(shell_action(shell, "mkdir /out/b; echo x > /out/b/c; echo y > /out/b-a"), Silent())
    out = io.BytesIO()
    write_tar(tar_entries(store.path(sha256)), out.write)
    assert hashlib.sha256(out.getvalue()).hexdigest() == sha256


def test_an_actions_key_covers_everything_but_its_name(shell):
    one = shell_action(shell, "true")
    assert replace(one, name="x").key() == one.key()
    others = [
        replace(one, argv=("/usr/bin/true",)),
        replace(one, env=()),
        replace(one, epoch=1),
        replace(one, root=()),
        replace(one, platform="linux/arm64" if one.platform == "linux/amd64" else "linux/amd64"),
        replace(one, inputs=(InputFile("/in/x", "0" * 64),)),
        replace(one, inputs=(InputFile("/in/x", "0" * 64, executable=True),)),
    ]
    assert len({action.key() for action in (one, *others)}) == len(others) + 1
    assert isinstance(one, Action)
