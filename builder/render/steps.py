"""The compilers' runs of a rendering: the root of each, its inputs, and what it will have made."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from builder.backends.action import OUTPUT, Action, InputFile
from builder.backends.outputs import input_parts
from builder.backends.sandbox import EMULATOR, Emulator, emulated, environment
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.packages import PackageReader
from builder.layers.root import root_entries
from builder.layers.tar import tar_entries
from builder.platforms import Platform
from builder.render.image import OUTPUTS, TARS, Step, Tree
from builder.render.origins import content_hash
from builder.render.trees import Scribe
from builder.store.artifact import Artifact
from builder.store.blobs import Store

Made = tuple[tuple[str, ...], int]
"""What a root is made of: the SHA-256 of its debs, and an epoch."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An action that made a part of the image, and the hex SHA-256 of its output in the store."""

    action: Action
    output: str


def slug(name: str) -> str:
    """A name that is one of a folder, a Dockerfile's stage and a derivation alike."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def outputs(compiled: Sequence[Compiled], store: Store) -> dict[str, list[str]]:
    """Where the files that steps make will be, by their hex SHA-256."""
    found: dict[str, list[str]] = {}
    for item in compiled:
        for entry in tar_entries(store.verified(item.output)):
            if entry.source:
                origin = f"{OUTPUTS}/{slug(item.action.name)}/{entry.path}"
                found.setdefault(content_hash(entry.source()), []).append(origin)
    return found


def roots(
    compiled: Sequence[Compiled],
    debs: Iterable[Artifact],
    scribe: Scribe,
    packages: PackageReader,
    *,
    allow_scripts: Collection[str],
) -> dict[Made, Tree]:
    """The root file system of every action, each once."""
    known = {item.sha256: item for item in debs}
    found: dict[Made, Tree] = {}
    for item in compiled:
        action = item.action
        if action.nixpkgs is not None:
            continue
        made = (action.root, action.epoch)
        if made not in found:
            read = packages.read([known[sha256] for sha256 in action.root])
            entries = root_entries(read, epoch=action.epoch, allow_scripts=allow_scripts)
            name = f"root-{len(found) + 1}-{slug(action.argv[0].rpartition('/')[2])}"
            about = f"the root file system in which {action.argv[0]} runs"
            found[made], _ = scribe.write(name, f"roots/{name}.mtree", opened(entries), about)
    return found


def step(action: Action, found: Mapping[Made, Tree], scribe: Scribe, store: Store, *, builder: Platform) -> Step:
    """One action as a rendering runs it on a machine of the platform `builder`."""
    name = slug(action.name)
    tars = [_tar(name, item, action, scribe, store) for item in action.inputs if item.path.endswith(".tar")]
    entries = [Entry(OUTPUT.removeprefix("/"), Kind.DIRECTORY, 0o755, action.epoch)]
    entries += [_input(item, action, store) for item in action.inputs]
    about = f"the inputs of `{action.name}`, and the folder for its outputs"
    inputs, _ = scribe.write(name, f"steps/{name}.mtree", opened(ordered(entries, epoch=action.epoch)), about)
    runner = Emulator(Path(EMULATOR))
    return Step(
        name=name,
        action=action,
        root=found[action.root, action.epoch].name if action.nixpkgs is None else "",
        inputs=inputs,
        tars=tuple(tars),
        argv=tuple(action.argv if action.platform == builder else emulated(action.argv, runner)),
        env=environment(action.env, epoch=action.epoch),
    )


def _tar(name: str, item: InputFile, action: Action, scribe: Scribe, store: Store) -> Tree:
    """An input that is itself a tree, laid out as its canonical tar."""
    tar = f"{name}-{slug(item.path.rpartition('/')[2].removesuffix('.tar'))}"
    entries = tar_entries(store.verified(item.sha256))
    tree, _ = scribe.write(tar, f"steps/{tar}.mtree", opened(entries), f"the files in {item.path} of `{action.name}`")
    scribe.add_origin(item.sha256, f"{TARS}/{tar}.tar")
    return tree


def _input(item: InputFile, action: Action, store: Store) -> Entry:
    blob = store.verified(item.sha256)
    source = partial(cast("Callable[[str], BinaryIO]", blob.open), "rb")
    mode = 0o755 if item.executable else 0o644
    path = "/".join(input_parts(item.path))
    return Entry(path, Kind.FILE, mode, action.epoch, size=blob.stat().st_size, source=source)


def opened(entries: Iterable[Entry]) -> Iterator[tuple[Entry, BinaryIO | None]]:
    """Entries with their contents, opened one after the other."""
    for entry in entries:
        yield entry, entry.source() if entry.source else None
