"""Engines behind `ssh://`: one connection per process, with the engine's socket forwarded to this machine.

docker-py's own way starts an ssh process per request and needs Paramiko even for that. Here the user's own `ssh` does
it all, with keys, agents and jump hosts as configured.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plumbum import CommandNotFound, local

from builder.errors import EnvironmentFault

_SOCKET = "/var/run/docker.sock"
_READY = b"ready\n"


def forwarded(address: str) -> str:
    """Where to reach an engine: the address itself, or a local socket that leads there if it is `ssh://`.

    Raises:
        EnvironmentFault: there is no ssh here, or it cannot connect; its own words say why.
    """
    if not address.startswith("ssh://"):
        return address
    with _opening:
        tunnel = _tunnels.get(address)
        if tunnel is None or tunnel.process.poll() is not None:
            tunnel = _tunnels[address] = _open(address)
    return f"unix://{tunnel.socket}"


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """A running ssh, whose input stays open as long as this object lives, and the socket that it forwards."""

    process: Any
    socket: Path


_tunnels: dict[str, _Tunnel] = {}
_opening = threading.Lock()


def _open(address: str) -> _Tunnel:
    url = urlsplit(address)
    try:
        port = url.port
    except ValueError:
        port = None
    if not url.hostname or url.hostname.startswith("-"):
        raise EnvironmentFault("this is no address of an engine", where=address, hint="ssh://USER@HOST[:PORT]")
    try:
        ssh = local["ssh"]
    except CommandNotFound as error:
        raise EnvironmentFault("ssh is not installed", where=address, hint="install OpenSSH's client") from error
    folder = tempfile.mkdtemp(prefix="kbuild-ssh-")  # 0700, so that no one else speaks through it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    socket = Path(folder, "engine.sock")
    line = ssh["-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
    line = line["-L", f"{socket}:{url.path if url.path not in ('', '/') else _SOCKET}"]
    line = line["-p", str(port)] if port else line
    line = line["-l", url.username] if url.username else line
    # The remote `cat` ends when this process does, however it ends, and the connection with it.
    process: Any = line["--", url.hostname, "cat"].popen(
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    atexit.register(process.kill)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(_READY)
        process.stdin.flush()
    if process.stdout.readline() != _READY:
        said = process.communicate()[1].decode(errors="replace").strip()
        raise EnvironmentFault(
            f"ssh cannot connect: {said or 'it ended without a word'}",
            where=address,
            hint=f"make `ssh {url.hostname} docker version` work without a password first",
        )
    return _Tunnel(process, socket)
