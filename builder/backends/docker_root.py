"""The root of an action in an engine: an image of one layer, sent once and known again by its diff ID."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import docker

from builder.backends.docker_context import Tar, image_archive, tar_of
from builder.backends.docker_engine import Engine, exhausted
from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.packages import PackageReader
from builder.layers.root import root_entries
from builder.store.artifact import Artifact
from builder.store.blobs import Store

RECORDS = "docker-roots"
"""What the store remembers roots' digests under: key = `roots.root_key`, value = `{"root": "sha256:<hex>"}`."""

REPOSITORY = "kbuild-root"
"""Roots are tagged with this and their key, so that they are found, and are not swept away as dangling."""


@dataclass(frozen=True, slots=True)
class RootImage:
    """An image in an engine: its ID there, and the digest of its only layer's tar."""

    id: str
    root: str


def root_tar(packages: PackageReader, debs: Sequence[Artifact], *, epoch: int, allow_scripts: Collection[str]) -> Tar:
    """The tar of a root made of debs, as `builder.backends.roots.deb_root` lays it out."""
    return tar_of(root_entries(packages.read(debs), epoch=epoch, allow_scripts=allow_scripts), epoch=epoch)


def root_image(engine: Engine, store: Store, key: str, make: Callable[[], Tar]) -> RootImage:
    """Find a root in an engine, or send it there.

    What the engine has under our tag is believed only if its layer has the digest of our tar.

    Args:
        engine: to have it.
        store: remembers the tar's digest, so that a root that the engine has needs not be made to be known.
        key: of the root.
        make: makes the tar.

    Raises:
        EnvironmentFault: the engine does not take it.
    """
    tag = f"{REPOSITORY}:{key}"
    with store.lock(f"{RECORDS}-{key}"):
        there = _inspect(engine, tag)
        record = store.recall(RECORDS, key)
        if there and record and there.root == record.get("root"):
            return there
        tar = make()
        store.remember(RECORDS, key, {"root": tar.digest})
        if there is None or there.root != tar.digest:
            _send(engine, tar, tag)
            there = _inspect(engine, tag)
        if there is None or there.root != tar.digest:
            raise IntegrityError(
                f"the Docker engine was sent the layer {tar.digest} and has {there.root if there else 'nothing'}",
                where=engine.address,
            )
        return there


def _inspect(engine: Engine, tag: str) -> RootImage | None:
    with engine.speaking("look for an image") as client:
        try:
            found = client.inspect_image(tag)
        except docker.errors.ImageNotFound:
            return None
    layers = found.get("RootFS", {}).get("Layers") or []
    return RootImage(str(found["Id"]), str(layers[0]) if len(layers) == 1 else "")


def _send(engine: Engine, tar: Tar, tag: str) -> None:
    archive = image_archive(tar, architecture=engine.architecture, tag=tag)
    with engine.speaking("take an image") as client:
        for answer in client.load_image(iter(archive), quiet=True):
            _refused(answer, engine)


def _refused(answer: dict[str, Any], engine: Engine) -> None:
    if said := answer.get("error"):
        raise exhausted(str(said), engine.address) or EnvironmentFault(
            f"the Docker engine does not take an image: {said}", where=engine.address
        )
