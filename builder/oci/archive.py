"""An image for one platform as a docker-archive: what `docker load` of engines too old for OCI or for zstd takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import rfc8785

from builder.layers.entry import Entry, Kind
from builder.layers.tar import ordered
from builder.layers.tree import file_entries
from builder.layers.unpack import open_tar
from builder.oci.image import TITLE, VERSION, Manifest, bare, load
from builder.oci.layout import write_archive
from builder.platforms import Platform
from builder.store.blobs import Store

_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""The distribution specification's repository name (one component) and tag."""


def export_docker(store: Store, digest: str, platform: Platform, target: Path) -> None:
    """Write one platform's image as a docker-archive, layers uncompressed; the same bytes each time.

    The engine's image ID is the configuration's digest. The image is named by title and version, where these make a
    valid name.

    Args:
        store: holds the image.
        digest: of an index or a manifest; see `builder.oci.image.load`.
        platform: which of its images.
        target: the file, replaced if present; written whole or not at all.

    Raises:
        UsageError: there is no such image, or none for the platform.
        EnvironmentFault: a blob is missing, or the target cannot be written.
        IntegrityError: a blob is corrupt.
    """
    write_archive(archive_entries(store, load(store, digest).manifest(platform)), target)


def archive_entries(store: Store, manifest: Manifest) -> list[Entry]:
    """The archive's files and folders, in canonical order."""
    epoch = manifest.image.config.epoch
    layers = {f"{bare(layer.diff_id)}/layer.tar": layer for layer in manifest.image.layers}
    config = bare(manifest.config_digest)
    name = reference(manifest.annotations)
    summary = {
        "Config": f"{config}.json",
        "Layers": [f"{bare(layer.diff_id)}/layer.tar" for layer in manifest.image.layers],
        "RepoTags": [name] if name else None,
    }
    small: dict[str, bytes | Path] = {
        f"{config}.json": store.verified(config, manifest.config_size),
        "manifest.json": rfc8785.dumps([summary]),
    }
    tars = [
        Entry(path, Kind.FILE, 0o644, epoch, size=layer.tar_size, source=partial(open_tar, store, layer))
        for path, layer in layers.items()
    ]
    return ordered([*tars, *file_entries(small, epoch=epoch)], epoch=epoch)


def reference(annotations: Mapping[str, str]) -> str | None:
    """`title:version` as an engine takes it (`+` is not for tags), or None if they make no valid name. Pure."""
    name, tag = annotations.get(TITLE, ""), annotations.get(VERSION, "latest").replace("+", "_")
    return f"{name}:{tag}" if _NAME.fullmatch(name) and _TAG.fullmatch(tag) else None
