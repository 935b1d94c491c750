"""Trees on disk for sandboxes: a root made of debs, an image's root made of its layers, an emulator out of its deb.

All of them are kept in the store by what they are made from, owned by whoever runs kbuild, without special mode bits.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.codec import decompressed
from builder.layers.deb import read_deb
from builder.layers.entry import Entry, Kind
from builder.layers.packages import PackageReader
from builder.layers.root import root_entries
from builder.layers.tar import CHUNK, read_tar
from builder.lock.model import FORMAT
from builder.platforms import NAMES, Platform
from builder.store.artifact import Artifact
from builder.store.blobs import Store

_KIND = "roots"


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer of an image: its blob in the store and its diff ID, both bare hex SHA-256."""

    sha256: str
    diff_id: str


def deb_root(
    store: Store, packages: PackageReader, debs: Sequence[Artifact], *, epoch: int, allow_scripts: Collection[str] = ()
) -> Path:
    """A folder that holds what an image's base layer of these debs would hold.

    Args:
        store: keeps the folder.
        packages: reads the debs.
        debs: in the lock's order.
        epoch: seconds since 1970; file times are clamped to it.
        allow_scripts: as `root_entries`.
    """

    def make(folder: Path) -> None:
        entries = root_entries(packages.read(debs), epoch=epoch, allow_scripts=allow_scripts)
        write_tree(folder, ((entry, entry.source() if entry.source else None) for entry in entries))

    return store.directory(_KIND, root_key(debs, epoch=epoch), make)


def root_key(debs: Sequence[Artifact], *, epoch: int) -> str:
    """What a root made of these debs is kept under, in whatever form: equal keys mean equal trees."""
    return _key("debs", str(epoch), *(item.sha256 for item in debs))


def image_root(store: Store, layers: Sequence[LayerBlob]) -> Path:
    """A folder that holds an image's file system.

    Each layer is unpacked once, whatever image it is in; an image is a tree of hard links to its layers' files. (An
    overlay mount would save the links, 0.3 s for an image of 6000 files, and need Linux 5.11.)
    """

    def make(folder: Path) -> None:
        link_trees([layer_folder(store, layer) for layer in layers], folder)

    return store.directory(_KIND, _key("image", *(layer.diff_id for layer in layers)), make)


def layer_folder(store: Store, layer: LayerBlob) -> Path:
    """A folder that holds one layer's files.

    Raises:
        IntegrityError: the blob is not a canonical layer, or has another diff ID.
    """

    def make(folder: Path) -> None:
        with decompressed(store.open(layer.sha256), where=f"layer {layer.sha256}") as stream:
            hashed = _Hashed(stream)
            write_tree(folder, read_tar(hashed))  # type: ignore[arg-type]  # it has what is read of a BinaryIO
            if hashed.sha256() != layer.diff_id:
                raise IntegrityError(f"its diff ID is not {layer.diff_id}", where=f"layer {layer.sha256}")

    return store.directory(_KIND, _key("layer", layer.diff_id), make)


def emulator(store: Store, tools: Iterable[Artifact], *, host: Platform, guest: Platform) -> Path:
    """A static qemu-user that runs `guest`'s programs on `host`.

    Args:
        store: has the tools' debs, and keeps the program.
        tools: the lock's tools.
        host: of this machine.
        guest: of the programs.

    Raises:
        EnvironmentFault: the lock names no such tool.
        IntegrityError: its deb does not hold it.
    """
    names = NAMES[guest]
    deb = next((item for item in tools if item.name.startswith("qemu-user") and host in item.platforms), None)
    if deb is None:
        raise EnvironmentFault(
            f"the lock names no emulator that runs {guest} on {host}",
            hint="run `kbuild lock` again, or build for this machine's platform only",
        )

    def make(folder: Path) -> None:
        wanted = {f"usr/bin/qemu-{names.qemu}", f"usr/bin/qemu-{names.qemu}-static"}
        for entry in read_deb(store.verified(deb.sha256, deb.size), deb).entries:
            if entry.path in wanted and entry.source:
                _write_file(folder / "qemu", 0o755, 0, entry.source())
                return
        raise IntegrityError(f"holds no qemu-{names.qemu}", where=deb.name)

    return store.directory(_KIND, _key("qemu", names.qemu, deb.sha256), make) / "qemu"


def write_tree(folder: Path, tree: Iterable[tuple[Entry, BinaryIO | None]]) -> None:
    """Write a tree into an empty folder.

    Nothing is ever written through a symlink: in canonical order, which is what `ordered` and `read_tar` give, each
    parent is a folder of the same tree, and no path comes twice. Ownership, attributes and special mode bits are left
    out; every folder stays open to its owner, so that it can be removed again.

    Args:
        folder: empty, and written to by nobody else.
        tree: entries in canonical order with their contents, which are closed.
    """
    folders = []
    for entry, content in tree:
        path = f"{folder}/{entry.path}"
        match entry.kind:
            case Kind.DIRECTORY:
                os.mkdir(path)  # noqa: PTH102 - thousands of them: a Path for each is a sixth of the time
                folders.append(entry)
            case Kind.SYMLINK:
                os.symlink(entry.target, path)  # noqa: PTH211
                os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)
            case Kind.HARDLINK:
                os.link(f"{folder}/{entry.target}", path)
            case Kind.FILE:
                _write_file(path, entry.mode & 0o777 | 0o400, entry.mtime, content)
    for entry in reversed(folders):
        path = f"{folder}/{entry.path}"
        os.chmod(path, entry.mode & 0o777 | 0o700)  # noqa: PTH101
        os.utime(path, (entry.mtime, entry.mtime))


def link_trees(layers: Sequence[Path], folder: Path) -> None:
    """Lay folders over each other, the last on top, as hard links into an empty folder."""
    visible: dict[str, tuple[Path, bool]] = {}
    for layer in layers:
        for path, is_folder in _walk(layer):
            known = visible.get(path)
            if known is not None and known[1] and not is_folder:
                visible = {name: value for name, value in visible.items() if not name.startswith(f"{path}/")}
            visible[path] = (layer, is_folder)
    folders = []
    for path, (layer, is_folder) in sorted(visible.items(), key=lambda item: item[0].split("/")):
        if is_folder:
            (folder / path).mkdir()
            folders.append((path, layer))
        else:
            os.link(layer / path, folder / path, follow_symlinks=False)
    for path, layer in reversed(folders):
        status = (layer / path).stat()
        (folder / path).chmod(status.st_mode & 0o777)
        os.utime(folder / path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _walk(layer: Path) -> Iterator[tuple[str, bool]]:
    """Every path below a folder, parents first, and whether it is a folder itself."""
    for parent, folders, files in os.walk(layer):
        prefix = os.path.relpath(parent, layer)
        prefix = "" if prefix == "." else f"{prefix}/"
        for name in folders:
            yield prefix + name, not Path(parent, name).is_symlink()
        for name in files:
            yield prefix + name, False


def _write_file(path: str | Path, mode: int, mtime: int, content: BinaryIO | None) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if content is not None:
            with content:
                while data := content.read(CHUNK):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(handle, view) :]
        os.fchmod(handle, mode)
        os.utime(handle, (mtime, mtime))
    finally:
        os.close(handle)


class _Hashed:
    """A stream that hashes what is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def sha256(self) -> str:
        return self._hash.hexdigest()


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join((str(FORMAT), *parts)).encode()).hexdigest()
