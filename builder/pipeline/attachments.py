"""Documents that accompany an image: the lock that it was built from, and the bill of materials made from that lock.

Both are referrers, so neither is part of the digest. The lock is attached by the build, since it is at hand and small;
the bill of materials when somebody takes the image out, since making one costs more than an incremental build.
"""

from __future__ import annotations

from builder.errors import EnvironmentFault
from builder.lock import file
from builder.lock.model import Lock
from builder.oci.image import Image, bare
from builder.oci.referrer import Referrer, attach, referrers
from builder.oci.sbom import MEDIA_TYPE as SBOM
from builder.oci.sbom import sbom
from builder.store.blobs import Store

LOCK = "application/vnd.kbuild.lock.v1+toml"


def attach_lock(store: Store, image: Image, lock: Lock) -> None:
    """Attach the lock, without its record of what was built."""
    text = file.dumps(lock.model_copy(update={"image": None}))
    attach(store, image, LOCK, text.encode(), {})


def lock_of(store: Store, image: Image) -> Lock:
    """The lock that an image was built from.

    Raises:
        EnvironmentFault: none is attached.
    """
    for referrer in referrers(store, image):
        if referrer.descriptor.artifact_type == LOCK:
            document = store.verified(bare(referrer.content[-1]))
            return file.read(document)
    raise EnvironmentFault(
        "the store does not hold the lock that this image was built from", where=image.digest, hint="build it again"
    )


def with_sbom(store: Store, image: Image) -> tuple[Referrer, ...]:
    """Everything that refers to an image, the bill of materials among it, made now if it was not before."""
    found = referrers(store, image)
    if not any(referrer.descriptor.artifact_type == SBOM for referrer in found):
        attach(store, image, SBOM, sbom(lock_of(store, image), image), {})
        found = referrers(store, image)
    return found
