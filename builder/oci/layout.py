"""An image as an OCI image layout: a folder or a tar that other tools take.

What is exported is a copy: whoever owns it may change it without reaching into the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from builder.errors import UsageError
from builder.layers.entry import Entry, Kind
from builder.layers.tar import write_tar
from builder.layers.tree import file_entries
from builder.oci.image import VERSION, Image, bare, load
from builder.oci.manifest import Descriptor, ImageIndex, digest_of, dumps
from builder.oci.referrer import Referrer, fallback
from builder.store.atomic import faults, fsync_folder, unique_name
from builder.store.blobs import Store

REF_NAME = "org.opencontainers.image.ref.name"
LATEST = "latest"

_BLOBS = "blobs/sha256"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def export_layout(store: Store, digest: str, target: Path, *, referrers: Sequence[Referrer] = ()) -> None:
    """Write an image as an OCI layout, whole or not at all.

    The image is tagged with its version. Without referrers it is the only one in `index.json`, so tools find it without
    being told a tag.

    Args:
        store: holds the image.
        digest: see `builder.oci.image.load`.
        target: a file if it ends in `.tar` (replaced if present; the same bytes each time), else a folder that does
            not exist yet or is empty.
        referrers: what to put beside it, listed in `index.json` and under the fallback tag.

    Raises:
        UsageError: there is no such image, or the folder is in use.
        EnvironmentFault: a blob is missing, or the target cannot be written.
        IntegrityError: a blob is corrupt.
    """
    image = load(store, digest)
    entries = layout_entries(store, image, referrers)
    if target.suffix == ".tar":
        write_archive(entries, target)
    else:
        _write_folder(entries, target)


def layout_entries(store: Store, image: Image, referrers: Sequence[Referrer] = ()) -> list[Entry]:
    """The layout's files and folders, in canonical order."""
    tag = image.annotations.get(VERSION, LATEST)
    listed = [_tagged(image.descriptor(), tag)]
    blobs = list(image.blobs())
    small: dict[str, bytes | Path] = {"oci-layout": _LAYOUT}
    if referrers:
        name, index = fallback(image.descriptor(), referrers)
        small[f"{_BLOBS}/{bare(digest_of(index))}"] = index
        kind = image.descriptor().model_copy(update={"digest": digest_of(index), "size": len(index)})
        listed += [referrer.descriptor for referrer in referrers]
        listed.append(_tagged(kind, name))
        blobs += [blob for referrer in referrers for blob in referrer.blobs()]
    small["index.json"] = dumps(ImageIndex(manifests=tuple(listed)))
    epoch = max(manifest.image.config.epoch for manifest in image.manifests.values())
    files = small | {f"{_BLOBS}/{blob}": store.verified(blob) for blob in blobs}
    return file_entries(files, epoch=epoch)


def write_archive(entries: Sequence[Entry], target: Path) -> None:
    """Write entries as a tar file, whole or not at all.

    Raises:
        UsageError: the target is a folder, or in one that does not exist.
        EnvironmentFault: the file cannot be written.
    """
    target = _destination(target)
    if target.is_dir():
        raise UsageError("a folder is in the way of the file", where=str(target))
    aside = target.with_name(f".{target.name}.{unique_name()}")
    with faults(target):
        try:
            with aside.open("xb") as file:
                write_tar(entries, file.write)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        fsync_folder(target.parent)


def _destination(target: Path) -> Path:
    target = target.resolve()
    if not target.parent.is_dir():
        raise UsageError("no such folder", where=str(target.parent), hint="make it first, or name another")
    return target


def _write_folder(entries: Sequence[Entry], target: Path) -> None:
    target = _destination(target)
    aside = target.with_name(f".{target.name}.{unique_name()}")
    with faults(target):
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise UsageError("there is something already", where=str(target), hint="name a new folder or a .tar file")
        try:
            aside.mkdir()
            aside.chmod(0o755)
            for entry in entries:
                _place(entry, aside / entry.path)
            aside.replace(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        fsync_folder(target.parent)


def _place(entry: Entry, path: Path) -> None:
    if entry.kind is Kind.DIRECTORY:
        path.mkdir()
    elif entry.source:
        with entry.source() as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, 2**20)
    path.chmod(entry.mode)


def _tagged(descriptor: Descriptor, tag: str) -> Descriptor:
    return descriptor.model_copy(update={"annotations": {REF_NAME: tag}})
