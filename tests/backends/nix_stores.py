"""A Nix store of a test's own, and a BusyBox package made of this machine's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.backends.nix import NixBackend
from builder.layers.packages import PackageReader
from builder.platforms import NAMES, host_platform
from builder.store.artifact import Artifact
from builder.store.blobs import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
import debs

CONFIG = "build-users-group =\nsandbox = true\nsubstituters =\nsandbox-paths =\n"


@dataclass(frozen=True)
class NixStore:
    """A single-user Nix store below `folder`, whatever else this machine has."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def environment(self, config: str = CONFIG) -> dict[str, str]:
        return {
            "NIX_STORE_DIR": str(self.store),
            "NIX_STATE_DIR": str(self.folder / "state"),
            "NIX_LOG_DIR": str(self.folder / "log"),
            "NIX_CONF_DIR": str(self.folder / "etc"),
            "NIX_CONFIG": config,
            "NIX_REMOTE": "",
        }

    def run(self, *line: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [*map(str, line)], capture_output=True, text=True, check=False, env=os.environ | self.environment()
        )
        assert not check or found.returncode == 0, found.stderr
        return found


@cache
def busybox_program() -> bytes | None:
    """This machine's BusyBox, if it is a static one."""
    found = shutil.which("busybox", path="/usr/bin:/bin")
    data = Path(found).read_bytes() if found else b""
    return data if data and b"/ld-linux" not in data else None


def busybox_artifact(store: Store) -> Artifact:
    data = busybox_program()
    assert data is not None
    control = debs.CONTROL | {"Package": "busybox-static", "Architecture": NAMES[host_platform()].debian}
    members = {"usr/bin/busybox": data}
    package = debs.deb(debs.tree(members), control=control)
    assert store.add(package) == hashlib.sha256(package).hexdigest()
    item = debs.artifact(package, control)
    return item.model_copy(update={"roles": ("tools",), "platforms": (host_platform(),)})


def nix_backend(store: Store, artifacts: Sequence[Artifact]) -> NixBackend:
    return NixBackend(store, [*artifacts, busybox_artifact(store)], PackageReader(store, 2))


def remove(folder: Path) -> None:
    """Remove a Nix store, which has some hundred thousand files in read-only folders: a minute's work in Python."""
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    subprocess.run(["rm", "-rf", folder], check=True)


def expressions(mapping: Mapping[str, str]) -> str:
    return " ".join(f"{key} = {value};" for key, value in mapping.items())
