"""An image in an engine: found by what it is made of, or sent there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import docker

from builder.backends.docker_engine import Engine, exhausted
from builder.errors import EnvironmentFault, IntegrityError
from builder.hosts.host import Runnable
from builder.layers.tar import tar_chunks
from builder.oci.archive import archive_entries, reference
from builder.oci.image import Manifest, bare, load
from builder.progress import Progress
from builder.store.blobs import Store


def present(engine: Engine, store: Store, image: Runnable, progress: Progress) -> str:
    """Make sure that an engine has an image.

    What the engine has is believed only if it was made of the same layers: it checks each against its diff ID when it
    takes it.

    Args:
        engine: to have it.
        store: has it.
        image: which one.
        progress: sees it being sent.

    Returns:
        What the engine calls it: the digest of its configuration, or where the engine names images otherwise, of
        what it keeps.

    Raises:
        EnvironmentFault: the engine does not take it.
        IntegrityError: what the engine has is not what it was sent.
    """
    manifest = load(store, image.digest).manifest(image.platform)
    with store.lock(f"docker-image-{bare(manifest.config_digest)}"):
        found = _inspect(engine, manifest.config_digest)
        if found is None:
            name = _send(engine, store, manifest, progress)
            # An engine with containerd's image store knows images by another digest than the configuration's.
            found = _inspect(engine, manifest.config_digest) or _inspect(engine, name)
    if found is None:
        raise EnvironmentFault("the Docker engine has not kept the image that it was sent", where=engine.address)
    _require_same(found, manifest, engine)
    return str(found["Id"])


def _inspect(engine: Engine, name: str | None) -> Mapping[str, Any] | None:
    if name is None:
        return None
    with engine.speaking("look for an image") as client:
        try:
            found: Mapping[str, Any] = client.inspect_image(name)
        except docker.errors.ImageNotFound:
            return None
    return found


def _send(engine: Engine, store: Store, manifest: Manifest, progress: Progress) -> str | None:
    """Send an image as a docker-archive, which every engine takes; returns the name that it has there."""
    entries = archive_entries(store, manifest)
    total = sum(layer.tar_size for layer in manifest.image.layers)
    with (
        progress.step(f"send {reference(manifest.annotations) or 'the image'} to {engine.address}", total) as step,
        engine.speaking("take an image") as client,
    ):

        def told() -> Any:
            for chunk in tar_chunks(entries, None):
                yield chunk
                step.advance(len(chunk))

        for answer in client.load_image(told(), quiet=True):
            if said := answer.get("error"):
                raise exhausted(str(said), engine.address) or EnvironmentFault(
                    f"the Docker engine does not take an image: {said}", where=engine.address
                )
    return reference(manifest.annotations)


def _require_same(found: Mapping[str, Any], manifest: Manifest, engine: Engine) -> None:
    """Hold what an engine has to what it should have."""
    layers = found.get("RootFS", {}).get("Layers") or []
    wanted = [layer.diff_id for layer in manifest.image.layers]
    if layers != wanted:
        raise IntegrityError(
            f"the Docker engine has an image of the layers {json.dumps(layers)}, not {json.dumps(wanted)}",
            where=engine.address,
            hint=f"`docker image rm {found.get('Id')}` there, and run again",
        )
