"""What an image says about how it runs, and its OCI configuration.

`docs/image-format.md` is the normative text; everything here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from builder.errors import IntegrityError
from builder.layers.entry import Layer
from builder.oci.manifest import ExecutionConfig, HistoryItem, ImageConfiguration, PlatformTag, RootFs
from builder.platforms import Platform

ENTRYPOINT = ("/usr/bin/python3", "-m", "kernels.runtime")
WORKING_DIR = "/"

TAGS: dict[Platform, PlatformTag] = {
    "linux/amd64": PlatformTag(architecture="amd64", os="linux"),
    "linux/arm64": PlatformTag(architecture="arm64", os="linux", variant="v8"),
}
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How one platform's image runs. `epoch` (seconds since 1970) is the lock's; it becomes every `created`.

    No user is named: an engine then runs the kernel as its root, which is who may write to a host folder mounted at
    `/io/out`: under rootless podman that is the user who called it.
    """

    epoch: int
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] = ENTRYPOINT
    working_dir: str = WORKING_DIR


def timestamp(epoch: int) -> str:
    """Seconds since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime(_TIME)


def configuration(config: ImageConfig, platform: Platform, layers: Sequence[Layer]) -> ImageConfiguration:
    """The OCI configuration of one platform's image, its layers bottom first."""
    created = timestamp(config.epoch)
    tag = TAGS[platform]
    return ImageConfiguration(
        architecture=tag.architecture,
        variant=tag.variant,
        created=created,
        config=ExecutionConfig(
            entrypoint=config.entrypoint,
            env=tuple(f"{name}={value}" for name, value in sorted(config.environment.items())),
            labels=dict(config.labels),
            working_dir=config.working_dir,
        ),
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
        history=tuple(HistoryItem(created=created, created_by=f"kbuild {layer.name}") for layer in layers),
    )


def from_configuration(document: ImageConfiguration, where: str) -> tuple[Platform, ImageConfig]:
    """Read back what `configuration` was made from; whether it is all of it, the caller finds by making it again.

    Raises:
        IntegrityError: it is of a platform that kbuild does not know, or has a time that is none.
    """
    tag = PlatformTag(architecture=document.architecture, os=document.os, variant=document.variant)
    platform = platform_of(tag, where)
    try:
        epoch = int(datetime.strptime(document.created, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise IntegrityError(f"created at {document.created[:40]!r}, which is no time", where=where) from error
    return platform, ImageConfig(
        epoch=epoch,
        environment={name: value for name, _, value in (item.partition("=") for item in document.config.env)},
        labels=document.config.labels,
        entrypoint=document.config.entrypoint,
        working_dir=document.config.working_dir,
    )


def platform_of(tag: PlatformTag, where: str) -> Platform:
    """Our name for a platform.

    Raises:
        IntegrityError: it is none of ours.
    """
    for platform, known in TAGS.items():
        if known == tag:
            return platform
    raise IntegrityError(f"an image for {tag.os}/{tag.architecture}{tag.variant or ''}", where=where)
