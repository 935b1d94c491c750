"""Images: layers, configurations, manifests and their index, put together in the store and read back.

Rendering is pure. Reading parses a document, renders it again from what was understood and compares, so an image that
kbuild would not have written is refused, and loading gives what assembling gave.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from builder.errors import IntegrityError, UsageError
from builder.layers.entry import Layer
from builder.oci.config import TAGS, ImageConfig, configuration, from_configuration, platform_of
from builder.oci.manifest import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    MAX_DOCUMENT,
    MAX_LAYERS,
    Descriptor,
    ImageConfiguration,
    ImageIndex,
    ImageManifest,
    digest_of,
    dumps,
    loads,
    media_type_of,
)
from builder.platforms import Platform
from builder.store.blobs import Store
from builder.store.collect import IMAGES, images

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
_NAME = "org.kbuild.layer.name"
_TREE = "org.kbuild.layer.tree"
_TAR_SIZE = "org.kbuild.layer.tar-size"
_FILES = "org.kbuild.layer.files"
Thing = TypeVar("Thing")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_TREE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_HEX = 64


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """What one platform's image is made of: layers from the bottom up, and how it runs."""

    layers: tuple[Layer, ...]
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image. Digests are `sha256:<hex>`; `size` is the manifest's own, in bytes."""

    platform: Platform
    digest: str
    size: int
    config_digest: str
    config_size: int
    image: PlatformImage
    annotations: Mapping[str, str]

    def blobs(self) -> tuple[str, ...]:
        """Hex digests of the manifest and all that it needs, each once."""
        digests = (self.digest, self.config_digest, *(layer.digest for layer in self.image.layers))
        return tuple(dict.fromkeys(bare(digest) for digest in digests))


@dataclass(frozen=True, slots=True)
class Image:
    """An index over platforms, or a single manifest when that was asked for (`media_type` tells)."""

    digest: str
    size: int
    media_type: str
    annotations: Mapping[str, str]
    manifests: Mapping[Platform, Manifest]

    def blobs(self) -> tuple[str, ...]:
        """Hex digests of everything that makes up the image, each once."""
        parts = [bare(self.digest), *(blob for manifest in self.manifests.values() for blob in manifest.blobs())]
        return tuple(dict.fromkeys(parts))

    def descriptor(self) -> Descriptor:
        """How others refer to the image."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)

    def manifest(self, platform: Platform) -> Manifest:
        """The image for one platform.

        Raises:
            UsageError: there is none.
        """
        if platform not in self.manifests:
            held = ", ".join(self.manifests)
            raise UsageError(f"the image is for {held}, not for {platform}", where=self.digest)
        return self.manifests[platform]


def assemble(store: Store, platforms: Mapping[Platform, PlatformImage], annotations: Mapping[str, str]) -> Image:
    """Put an image together: its documents go into the store, and the store remembers it.

    Args:
        store: holds the layers' blobs.
        platforms: what to make, for each platform.
        annotations: of the index and of every manifest; nothing of this machine or moment may be among them.

    Raises:
        EnvironmentFault: a layer's blob is not in the store, or the store cannot take the documents.
    """
    image, documents = render(platforms, annotations)
    for manifest in image.manifests.values():
        for layer in manifest.image.layers:
            store.path(bare(layer.digest))
    for document in documents:
        store.add(document)
    remember(store, image, ())
    return image


def render(
    platforms: Mapping[Platform, PlatformImage], annotations: Mapping[str, str]
) -> tuple[Image, tuple[bytes, ...]]:
    """An image and its documents (configurations, manifests, index, in this order). Pure."""
    if not platforms:
        raise UsageError("an image for no platform")
    manifests: dict[Platform, Manifest] = {}
    documents: list[bytes] = []
    for platform in sorted(platforms):
        manifest, parts = render_manifest(platform, platforms[platform], annotations)
        manifests[platform] = manifest
        documents += parts
    index = dumps(
        ImageIndex(
            manifests=tuple(
                Descriptor(media_type=MANIFEST, digest=item.digest, size=item.size, platform=TAGS[platform])
                for platform, item in manifests.items()
            ),
            annotations=dict(annotations) or None,
        )
    )
    image = Image(digest_of(index), len(index), INDEX, dict(annotations), manifests)
    return image, (*documents, index)


def render_manifest(
    platform: Platform, image: PlatformImage, annotations: Mapping[str, str]
) -> tuple[Manifest, tuple[bytes, bytes]]:
    """One platform's manifest and its documents (configuration, manifest). Pure."""
    if not 0 < len(image.layers) <= MAX_LAYERS:
        raise UsageError(f"an image of {len(image.layers)} layers; container engines take 1 to {MAX_LAYERS}")
    config = dumps(configuration(image.config, platform, image.layers))
    document = dumps(
        ImageManifest(
            config=Descriptor(media_type=CONFIG, digest=digest_of(config), size=len(config)),
            layers=tuple(_describe(layer) for layer in image.layers),
            annotations=dict(annotations) or None,
        )
    )
    manifest = Manifest(
        platform=platform,
        digest=digest_of(document),
        size=len(document),
        config_digest=digest_of(config),
        config_size=len(config),
        image=image,
        annotations=dict(annotations),
    )
    return manifest, (config, document)


def load(store: Store, digest: str) -> Image:
    """Read an image from the store.

    Args:
        store: where it is.
        digest: of an index or of one platform's manifest; `sha256:` may be missing, and so may the end, as long as
            only one remembered image or manifest begins so (six digits at least).

    Raises:
        UsageError: `digest` is no digest, or stands for no image, or for several.
        EnvironmentFault: a document is not in the store.
        IntegrityError: a document is corrupt, or is not one that kbuild writes.
    """
    data = _document(store, find(store, digest), None)
    if media_type_of(data, where=digest_of(data)) == INDEX:
        return _load_index(store, data)
    manifest = _load_manifest(store, data)
    return Image(manifest.digest, manifest.size, MANIFEST, manifest.annotations, {manifest.platform: manifest})


def find(store: Store, digest: str) -> str:
    """The hex digest that `digest`, possibly cut short, stands for; see `load`."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise UsageError(
            f"{digest[:80]!r} is not an image digest", hint="give sha256: and the digest that the build printed"
        )
    start = match[1]
    if len(start) == _HEX:
        return start
    known: set[str] = {found for key, record in images(store).items() for found in (key, *record.get("manifests", ()))}
    found = sorted(item for item in known if item.startswith(start))
    if not found:
        raise UsageError(f"no image begins with {start}", where=str(store.root), hint="build it, or give all 64 digits")
    if len(found) > 1:
        raise UsageError(f"{start} is ambiguous: {', '.join(item[:16] for item in found)}", hint="give more digits")
    return found[0]


def remember(store: Store, image: Image, referrers: Iterable[Mapping[str, object]]) -> None:
    """Make the store keep the image's blobs, with what refers to it, besides what was remembered before.

    Args:
        store: where the blobs are.
        image: an index; only these are remembered.
        referrers: each with `digest` (of its manifest, hex) and `blobs` (hex).
    """
    key = bare(image.digest)
    with store.lock(f"image-{key}"):
        before = store.recall(IMAGES, key) or {}
        known = {str(item["digest"]): item for item in (*before.get("referrers", ()), *referrers)}
        record = {
            "blobs": sorted(image.blobs()),
            "manifests": sorted(bare(item.digest) for item in image.manifests.values()),
            "referrers": [dict(known[digest]) for digest in sorted(known)],
            "time": int(time.time()),
        }
        store.remember(IMAGES, key, record)


def bare(digest: str) -> str:
    """A digest as the store takes it: hex without `sha256:`."""
    return digest.removeprefix("sha256:")


def _describe(layer: Layer) -> Descriptor:
    facts = {
        _NAME: layer.name,
        _TREE: layer.tree_digest,
        _TAR_SIZE: str(layer.tar_size),
        _FILES: str(layer.files),
    }
    return Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size, annotations=facts)


def _load_index(store: Store, data: bytes) -> Image:
    where = digest_of(data)
    index = loads(ImageIndex, data, where=where)
    parts: dict[Platform, PlatformImage] = {}
    for item in index.manifests[: len(TAGS)]:  # any more would not fit below
        if item.platform is None:
            raise IntegrityError("an index with a manifest that names no platform", where=where)
        platform = platform_of(item.platform, where)
        parts[platform] = _load_manifest(store, _document(store, bare(item.digest), item.size)).image
    image, documents = render(parts, index.annotations or {})
    return _same(image, documents[-1], data, where)


def _load_manifest(store: Store, data: bytes) -> Manifest:
    where = digest_of(data)
    document = loads(ImageManifest, data, where=where)
    config = _document(store, bare(document.config.digest), document.config.size)
    settings = loads(ImageConfiguration, config, where=document.config.digest)
    platform, how = from_configuration(settings, document.config.digest)
    if len(settings.rootfs.diff_ids) != len(document.layers):
        raise IntegrityError("a manifest whose layers are not those of its configuration", where=where)
    layers = _layers(document.layers, settings.rootfs.diff_ids, where)
    manifest, (_, again) = render_manifest(platform, PlatformImage(layers, how), document.annotations or {})
    return _same(manifest, again, data, where)


def _layers(items: Sequence[Descriptor], diff_ids: Sequence[str], where: str) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for item, diff_id in zip(items, diff_ids, strict=True):
        facts = item.annotations or {}
        numbers = [facts.get(key, "") for key in (_TAR_SIZE, _FILES)]
        name, tree = facts.get(_NAME, ""), facts.get(_TREE, "")
        plain = name.isprintable() and _TREE_DIGEST.fullmatch(tree) and all(map(_NUMBER.fullmatch, numbers))
        if item.media_type != LAYER or not plain:
            raise IntegrityError(f"the layer {item.digest} is not one that kbuild wrote", where=where)
        tar_size, files = (int(text) for text in numbers)
        layers.append(
            Layer(
                name=name,
                tree_digest=tree,
                diff_id=diff_id,
                digest=item.digest,
                size=item.size,
                tar_size=tar_size,
                files=files,
                media_type=item.media_type,
            )
        )
    return tuple(layers)


def _same(thing: Thing, again: bytes, data: bytes, where: str) -> Thing:
    if again != data:
        raise IntegrityError("a document that does not fit together, or not one that kbuild wrote", where=where)
    return thing


def _document(store: Store, hex_digest: str, size: int | None) -> bytes:
    path: Path = store.verified(hex_digest, size)
    length = path.stat().st_size
    if length > MAX_DOCUMENT:
        raise IntegrityError(
            f"{length} bytes, where a manifest or configuration of an image was expected", where=f"sha256:{hex_digest}"
        )
    return path.read_bytes()
