"""The spec that an image carries: what its kernel asks of a machine, without running or unpacking the image."""

from __future__ import annotations

import hashlib
import tarfile

from pydantic import ValidationError

from builder.errors import IntegrityError
from builder.layers.codec import decompressed
from builder.oci.image import Image, bare, load
from builder.plan.make import KERNEL, SPEC_LABEL
from builder.spec.model import Spec
from builder.store.blobs import Store

SPEC = f"{KERNEL}/spec.json"
LAYER = "kernel"
"""The name of the layer that holds it; programs that were compiled ahead of time lie above."""

_LARGEST = 1 << 20
"""Bytes of a spec; one of a hundred tensors and weights has 20,000."""


def spec_of(store: Store, digest: str) -> Spec:
    """The spec in an image of the store.

    Args:
        store: has the image.
        digest: of an index or of one platform's manifest, or its beginning.

    Raises:
        UsageError: there is no such image.
        EnvironmentFault: the layer that holds it is not in the store.
        IntegrityError: it holds no spec, or another one than its labels say.
    """
    image = load(store, digest)
    manifest = next(iter(image.manifests.values()))
    data = _read(store, image)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != manifest.image.config.labels.get(SPEC_LABEL):
        raise IntegrityError("the image's spec is not the one that its label names", where=image.digest)
    try:
        return Spec.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            "the image's spec is not one that this kbuild reads", where=image.digest, hint="use a newer kbuild"
        ) from error


def _read(store: Store, image: Image) -> bytes:
    """`spec.json`, which is in the layer of the kernel's code of any platform's image."""
    layers = next(iter(image.manifests.values())).image.layers
    layer = next((layer for layer in layers if layer.name == LAYER), None)
    if layer is None:
        raise IntegrityError(
            "the image holds no kernel", where=image.digest, hint="give the digest of an image of kbuild's"
        )
    path = store.verified(bare(layer.digest), layer.size)
    try:
        with path.open("rb") as blob, tarfile.open(fileobj=decompressed(blob), mode="r|") as tar:
            for member in tar:
                if member.name == SPEC and member.isreg() and member.size <= _LARGEST:
                    file = tar.extractfile(member)
                    return file.read() if file else b""
    except (tarfile.TarError, EOFError) as error:
        raise IntegrityError(f"the layer {layer.name} is no tar file: {error}", where=image.digest) from error
    raise IntegrityError("the image holds no spec", where=image.digest, hint="give the digest of an image of kbuild's")
