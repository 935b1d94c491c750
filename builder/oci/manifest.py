"""Manifests, indexes and image configurations as data: one model each, for writing and for reading.

Bytes are RFC 8785 JSON. What is read must be exactly what would be written again: unknown keys, duplicate keys, other
whitespace or key order are refused. Shapes are those of the OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeVar

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel, to_pascal

from builder.errors import IntegrityError
from builder.lock.model import Digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"

MAX_DOCUMENT = 4 * 2**20
"""Bytes of a manifest, index or configuration; registries take no more of a manifest."""
MAX_LAYERS = 127
"""Layers of one image: what overlayfs stacks in Docker."""

Size = Annotated[int, Field(ge=0, lt=2**53)]
Annotations = dict[str, str]


class Document(BaseModel):
    """What all models here share."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class _Camel(Document):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PlatformTag(Document):
    """The platform that an index gives for a manifest."""

    architecture: str
    os: str
    variant: str | None = None


class Descriptor(_Camel):
    """A reference to a blob."""

    media_type: str
    digest: Digest
    size: Size
    artifact_type: str | None = None
    platform: PlatformTag | None = None
    annotations: Annotations | None = None


class ImageManifest(_Camel):
    """An image for one platform, or an artifact that has an image as its subject."""

    schema_version: Literal[2] = 2
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = "application/vnd.oci.image.manifest.v1+json"
    artifact_type: str | None = None
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Field(min_length=1, max_length=MAX_LAYERS)]
    subject: Descriptor | None = None
    annotations: Annotations | None = None


class ImageIndex(_Camel):
    """Images for several platforms."""

    schema_version: Literal[2] = 2
    media_type: Literal["application/vnd.oci.image.index.v1+json"] = "application/vnd.oci.image.index.v1+json"
    manifests: Annotated[tuple[Descriptor, ...], Field(max_length=1024)]
    annotations: Annotations | None = None


class ExecutionConfig(Document):
    """The `config` of an image configuration."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True)

    entrypoint: tuple[str, ...]
    env: tuple[str, ...]
    labels: dict[str, str]
    working_dir: str


class RootFs(Document):
    """The layers' diff IDs, bottom first."""

    type: Literal["layers"] = "layers"
    diff_ids: tuple[Digest, ...]


class HistoryItem(Document):
    """Where one layer came from."""

    created: str
    created_by: str


class ImageConfiguration(Document):
    """An image configuration, `application/vnd.oci.image.config.v1+json`."""

    architecture: str
    os: Literal["linux"] = "linux"
    variant: str | None = None
    created: str
    config: ExecutionConfig
    rootfs: RootFs
    history: tuple[HistoryItem, ...]


Model = TypeVar("Model", bound=Document)


def dumps(document: Document) -> bytes:
    """The document's one and only form: RFC 8785 JSON without absent fields."""
    return rfc8785.dumps(document.model_dump(mode="json", by_alias=True, exclude_none=True))


def loads(model: type[Model], data: bytes, *, where: str) -> Model:
    """Read a document.

    Args:
        model: what it should be.
        data: all of it.
        where: what to call it in errors.

    Raises:
        IntegrityError: it is too large, malformed, or not what `dumps` would give.
    """
    if len(data) > MAX_DOCUMENT:
        raise IntegrityError(f"{len(data)} bytes; at most {MAX_DOCUMENT} are read", where=where)
    try:
        document = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"not a {model.__name__}: {place or 'JSON'}: {first['msg']}", where=where) from error
    if dumps(document) != data:
        raise IntegrityError(f"not the canonical form of its {model.__name__}", where=where)
    return document


def media_type_of(data: bytes, *, where: str) -> str:
    """What a document says that it is.

    Raises:
        IntegrityError: it is too large, no JSON object, or does not say.
    """
    if len(data) > MAX_DOCUMENT:
        raise IntegrityError(f"{len(data)} bytes; at most {MAX_DOCUMENT} are read", where=where)
    try:
        return _Typed.model_validate_json(data).media_type
    except ValidationError as error:
        raise IntegrityError("neither an image index nor a manifest", where=where) from error


class _Typed(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    media_type: Annotated[str, Field(alias="mediaType")]


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of a document's bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
