"""Documents that speak of an image without being in it: OCI artifacts whose subject is the image's index.

A registry that knows the referrers API lists them by itself; for others, and for layouts on disk, the OCI distribution
specification has a fallback: an index of them under the tag `sha256-<hex>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builder.oci.image import Image, bare, remember
from builder.oci.manifest import (
    EMPTY,
    MANIFEST,
    MAX_DOCUMENT,
    Descriptor,
    ImageIndex,
    ImageManifest,
    digest_of,
    dumps,
    loads,
)
from builder.store.blobs import Store
from builder.store.collect import IMAGES

_NOTHING = b"{}"
"""The content of every artifact's configuration: the specification's empty descriptor."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """An artifact: its manifest, and the digests (`sha256:<hex>`) of the blobs that it needs."""

    descriptor: Descriptor
    content: tuple[str, ...]

    def blobs(self) -> tuple[str, ...]:
        """Hex digests of the manifest and all that it needs."""
        return tuple(bare(digest) for digest in (self.descriptor.digest, *self.content))


def render(subject: Descriptor, media_type: str, data: bytes, annotations: Mapping[str, str]) -> tuple[Referrer, bytes]:
    """An artifact that holds one document about `subject`, and its manifest. Pure."""
    config = Descriptor(media_type=EMPTY, digest=digest_of(_NOTHING), size=len(_NOTHING))
    manifest = dumps(
        ImageManifest(
            artifact_type=media_type,
            config=config,
            layers=(Descriptor(media_type=media_type, digest=digest_of(data), size=len(data)),),
            subject=subject,
            annotations=dict(annotations) or None,
        )
    )
    return _understood(manifest), manifest


def attach(store: Store, image: Image, media_type: str, data: bytes, annotations: Mapping[str, str]) -> Referrer:
    """Put a document about an image into the store, kept as long as the image is.

    Args:
        store: where the image is.
        image: what the document speaks of.
        media_type: of the document; also the artifact's type.
        data: the document.
        annotations: of the artifact; nothing of this machine or moment may be among them.
    """
    referrer, manifest = render(image.descriptor(), media_type, data, annotations)
    for blob in (_NOTHING, data, manifest):
        store.add(blob)
    digest, *content = referrer.blobs()
    remember(store, image, [{"digest": digest, "blobs": content}])
    return referrer


def referrers(store: Store, image: Image) -> tuple[Referrer, ...]:
    """What was attached to the image, by digest.

    Raises:
        IntegrityError: a manifest among them is corrupt.
    """
    record = store.recall(IMAGES, bare(image.digest)) or {}
    found: list[Referrer] = []
    for item in record.get("referrers", ()):
        with store.open(item["digest"]) as stream:
            found.append(_understood(stream.read(MAX_DOCUMENT + 1)))
    return tuple(found)


def fallback(subject: Descriptor, found: Iterable[Referrer]) -> tuple[str, bytes]:
    """The tag and the index under which referrers are found where there is no referrers API. Pure."""
    descriptors = sorted((referrer.descriptor for referrer in found), key=lambda item: item.digest)
    return subject.digest.replace(":", "-"), dumps(ImageIndex(manifests=tuple(descriptors)))


def _understood(manifest: bytes) -> Referrer:
    where = digest_of(manifest)
    document = loads(ImageManifest, manifest, where=where)
    return Referrer(
        descriptor=Descriptor(
            media_type=MANIFEST,
            digest=where,
            size=len(manifest),
            artifact_type=document.artifact_type,
            annotations=document.annotations,
        ),
        content=(document.config.digest, *(item.digest for item in document.layers)),
    )
