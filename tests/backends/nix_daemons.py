"""Daemons of a Nix store of a test's own, which trust nobody."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nix_stores import NixStore, remove

TRUSTING_NO_ONE = "build-users-group = nixbld\ntrusted-users =\nsubstituters =\nsandbox-paths =\n"


def no_build_users() -> bool:
    return subprocess.run(["getent", "group", "nixbld"], capture_output=True, check=False).returncode != 0


@dataclass(frozen=True)
class Daemons:
    """A store below `folder`, for one daemon at a time."""

    folder: Path

    @property
    def store(self) -> NixStore:
        return NixStore(self.folder / "nix")

    def environment(self) -> dict[str, str]:
        """A user's."""
        return self.store.environment("substituters =\n") | {"NIX_REMOTE": f"unix://{self.folder}/socket"}

    @contextlib.contextmanager
    def running(self, config: str) -> Iterator[None]:
        """While a daemon runs with these settings, beside those that make it trust nobody."""
        socket = self.folder / "socket"
        # Local, said outright: a daemon that has to find its store by itself may find its own socket.
        own = self.store.environment(TRUSTING_NO_ONE + config)
        env = os.environ | own | {"NIX_DAEMON_SOCKET_PATH": str(socket), "NIX_REMOTE": "local"}
        process = subprocess.Popen(["nix-daemon"], env=env, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not socket.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            process.kill()
            process.wait()
            socket.unlink(missing_ok=True)


@contextlib.contextmanager
def daemons() -> Iterator[Daemons]:
    """In a folder that build users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="kbuild-nix-"))
    folder.chmod(0o755)
    try:
        yield Daemons(folder)
    finally:
        remove(folder)
