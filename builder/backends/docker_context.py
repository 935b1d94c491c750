"""What a Docker engine is sent: a rendered Dockerfile with its inputs, and a root as an image; pure.

Everything is a stream of bytes that depends on the action alone. Nothing is unpacked on this machine.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from builder.backends.action import OUTPUT, Action
from builder.backends.outputs import input_parts
from builder.backends.sandbox import EMULATOR, Emulator, emulated, environment
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.tar import ordered_size, tar_chunks
from builder.resources import shipped
from builder.store.blobs import Store

LABEL = "org.kbuild.backend"
"""On every image and container that kbuild makes in an engine: `docker image ls --filter label=org.kbuild.backend`."""

_OURS = {"HOME": "/", "HOSTNAME": "kbuild"}
"""Docker gives every process these two, the second one random; so they are stated."""


@dataclass(frozen=True, slots=True)
class Tar:
    """A canonical tar that is made again whenever it is read.

    `digest` is `sha256:<hex>`, `size` is in bytes, `entries` are in canonical order.
    """

    digest: str
    size: int
    entries: Sequence[Entry]

    @property
    def name(self) -> str:
        """Its file's name in a build context."""
        return f"{self.digest.replace(':', '-')}.tar"

    def chunks(self) -> Iterator[bytes]:
        """Its bytes."""
        return tar_chunks(self.entries, None)

    def entry(self, name: str, epoch: int) -> Entry:
        """The tar as a file of another one."""
        return Entry(name, Kind.FILE, 0o644, epoch, size=self.size, source=lambda: _stream(self.chunks()))


def tar_of(entries: Iterable[Entry], *, epoch: int) -> Tar:
    """The tar of a tree; reads every file once, for the digest."""
    found = ordered(entries, epoch=epoch)
    digest = hashlib.sha256()
    for chunk in tar_chunks(found, None):
        digest.update(chunk)
    return Tar(f"sha256:{digest.hexdigest()}", ordered_size(found), found)


def inputs(action: Action, store: Store, emulator: Path | None) -> Tar:
    """All inputs at their paths, the empty output folder, and the emulator if the action is for another platform."""
    entries = [Entry(OUTPUT.removeprefix("/"), Kind.DIRECTORY, 0o755, action.epoch)]
    for item in action.inputs:
        path = store.verified(item.sha256)
        mode = 0o755 if item.executable else 0o644
        entries.append(_file("/".join(input_parts(item.path)), mode, action.epoch, path))
    if emulator:
        entries.append(_file(EMULATOR.removeprefix("/"), 0o755, action.epoch, emulator))
    return tar_of(entries, epoch=action.epoch)


def dockerfile(action: Action, *, root: str, image: str | None, bundle: str, emulator: Path | None) -> str:
    """Render `templates/Dockerfile.j2` for an action.

    Args:
        action: what to run.
        root: digest of the tar of its root.
        image: ID of the image that holds the root; without it the context has to hold the tar.
        bundle: digest of the tar of its inputs.
        emulator: set if the action is for another platform than the engine's.
    """
    import jinja2  # noqa: PLC0415 - not needed to print a version

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - a Dockerfile; what is not a digest is quoted below
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["quoted"] = json.dumps
    argv = emulated(action.argv, Emulator(emulator)) if emulator else action.argv
    return templates.get_template("Dockerfile.j2").render(
        name=json.dumps(action.name),
        key=action.key(),
        output=OUTPUT,
        packages=len(action.root),
        root=root,
        image=image,
        inputs=sorted(action.inputs, key=lambda item: item.path),
        bundle=bundle,
        environment=_assignments(_OURS | environment(action.env, epoch=action.epoch)),
        argv=json.dumps(list(argv)),
        label=LABEL,
    )


def context(text: str, tars: Sequence[Tar], *, epoch: int) -> Iterator[bytes]:
    """A build context: the Dockerfile and what it adds."""
    entries = [_bytes("Dockerfile", text.encode(), epoch), *(tar.entry(tar.name, epoch) for tar in tars)]
    return tar_chunks(ordered(entries), None)


def image_archive(root: Tar, *, architecture: str, tag: str) -> Iterator[bytes]:
    """An image of one layer, in the form of `docker save`, which every engine loads.

    Its configuration says nothing that varies, so an engine that names images by their configuration (all but those
    with containerd's image store) gives equal roots equal IDs; and every engine checks the layer against its diff ID.

    Args:
        root: the layer.
        architecture: Docker's name for the engine's own. A foreign root is run by an emulator that is not foreign, and
            engines warn of images for other machines.
        tag: name and tag that the image gets.
    """
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Labels": {LABEL: "root"}},
        "rootfs": {"type": "layers", "diff_ids": [root.digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kbuild"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    entries = [
        _bytes("config.json", json.dumps(config, sort_keys=True).encode(), 0),
        _bytes("manifest.json", json.dumps(manifest, sort_keys=True).encode(), 0),
        root.entry("layer.tar", 0),
    ]
    return tar_chunks(ordered(entries), None)


def _assignments(variables: Mapping[str, str]) -> list[str]:
    """Words of an ENV instruction: in double quotes, where backslash, quote and dollar sign are special.

    Raises:
        ValueError: a value has a line break, which a Dockerfile cannot say.
    """
    if any(sign in value for value in variables.values() for sign in "\n\r"):
        raise ValueError("an action's environment with a line break")
    special = str.maketrans({sign: f"\\{sign}" for sign in '\\"$'})
    return [f'{name}="{value.translate(special)}"' for name, value in sorted(variables.items())]


def _file(name: str, mode: int, epoch: int, path: Path) -> Entry:
    source = cast("Callable[[], BinaryIO]", partial(path.open, "rb"))
    return Entry(name, Kind.FILE, mode, epoch, size=path.stat().st_size, source=source)


def _bytes(name: str, data: bytes, epoch: int) -> Entry:
    return Entry(name, Kind.FILE, 0o644, epoch, size=len(data), source=lambda: io.BytesIO(data))


def _stream(chunks: Iterator[bytes]) -> BinaryIO:
    return cast("BinaryIO", _Chunks(chunks))


class _Chunks(io.RawIOBase):
    """Chunks as a file that is read once, forward."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._left = memoryview(chunk)
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 20), b""))
