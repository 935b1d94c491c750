"""A root file system of a few megabytes, packaged from this machine's own shell and what it needs; no network."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from builder.backends.action import Action, InputFile
from builder.backends.embedded import EmbeddedBackend
from builder.layers.packages import PackageReader
from builder.platforms import NAMES, host_platform
from builder.store.artifact import Artifact
from builder.store.blobs import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
import debs

PROGRAMS = ("sh", "cat", "chmod", "ln", "mkdir", "mkfifo", "sleep", "sha256sum")
EPOCH = 1_700_000_000


@cache
def shell_deb() -> tuple[bytes, dict[str, str]]:
    """A package with a shell, a few programs and their libraries at their Debian paths."""
    files: dict[str, bytes | str] = {}
    for name in PROGRAMS:
        program = Path(shutil.which(name, path="/usr/bin:/bin")).resolve()
        files[f"usr/bin/{name}"] = program.read_bytes()
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", listed):
            inside = library if library.startswith("/usr/") else f"/usr{library}"
            files[inside[1:]] = Path(library).read_bytes()
    control = debs.CONTROL | {"Package": "shell", "Architecture": NAMES[host_platform()].debian}
    return debs.deb(debs.tree(dict(sorted(files.items()))), control=control, suffix=""), control


def backend_of(store: Store, artifacts: Sequence[Artifact]) -> EmbeddedBackend:
    return EmbeddedBackend(store, artifacts, PackageReader(store, 2))


def shell_artifact(store: Store) -> Artifact:
    data, control = shell_deb()
    store.add(data)
    return debs.artifact(data, control).model_copy(update={"platforms": (host_platform(),)})


def shell_action(
    artifact: Artifact,
    script: str,
    *,
    inputs: Sequence[InputFile] = (),
    env: Mapping[str, str] | None = None,
    name: str = "demo",
) -> Action:
    return Action(
        name=name,
        platform=host_platform(),
        root=(artifact.sha256,),
        inputs=tuple(inputs),
        argv=("/usr/bin/sh", "-euc", script),
        env=tuple(sorted((env or {"PATH": "/usr/bin"}).items())),
        epoch=EPOCH,
    )


def tool_artifact(store: Store, files: Mapping[str, bytes | str], **changes: object) -> Artifact:
    control = debs.CONTROL | {"Package": "qemu-user"}
    data = debs.deb(debs.tree(files), control=control)
    assert store.add(data) == hashlib.sha256(data).hexdigest()
    item = debs.artifact(data, control)
    return item.model_copy(update={"roles": ("tools",), "platforms": (host_platform(),), **changes})


@dataclass(frozen=True)
class Real:
    """Debian's own Python and GCC for this machine, locked and fetched once per test run."""

    store: Store
    image: tuple[Artifact, ...]
    toolchain: tuple[Artifact, ...]

    def backend(self, store: Store | None = None) -> EmbeddedBackend:
        return backend_of(store or self.store, [*self.image, *self.toolchain])
