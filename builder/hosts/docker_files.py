"""Files on their way into a container's volumes and out of them, as streams of tar."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import docker

from builder.backends.docker_engine import Engine
from builder.errors import IntegrityError
from builder.hosts.exchange import RESULTS

_LARGEST = 64 << 30
"""Bytes of one result that are taken."""

_ANYONE = 65534

_END = bytes(2 * tarfile.BLOCKSIZE)


def put(engine: Engine, container: str, folder: Path, target: str) -> None:
    """Put a folder's files into a container's folder, which comes to belong to the user that runs have.

    Args:
        engine: has the container.
        container: not read-only, and never started.
        folder: of this machine.
        target: where its files go; an absolute path with a parent.
    """
    parent, _, name = target.rpartition("/")
    with engine.speaking("take files") as client:
        # By way of the parent: an engine leaves the folder that a tar is unpacked into as it was.
        client.put_archive(container, parent, _owned(tarfile.TarInfo(name), 0o755, tarfile.DIRTYPE).tobuf() + _END)
        for path in sorted(folder.iterdir()):
            client.put_archive(container, target, _file(path))


def take(engine: Engine, container: str, source: str, folder: Path) -> None:
    """Take a run's results out of a container: only those of the protocol's names, and only regular files.

    Raises:
        IntegrityError: one is larger than any result may be, or the engine sends no tar.
    """
    for name in RESULTS:
        with engine.speaking("hand out results") as client:
            try:
                chunks, _ = client.get_archive(container, f"{source}/{name}")
            except docker.errors.NotFound:
                continue
            _taken(chunks, name, folder / name, engine.address)


def _taken(chunks: Iterable[bytes], name: str, target: Path, where: str) -> None:
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Chunks(chunks)), mode="r|") as tar:
            entry = tar.next()
            if entry is None or not entry.isreg() or entry.name != name:
                return
            if entry.size > _LARGEST:
                raise IntegrityError(f"{name} has {entry.size} bytes, more than any result may have", where=where)
            content: Any = tar.extractfile(entry)
            with content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except tarfile.TarError as error:
        raise IntegrityError(f"the Docker engine sends {name} as no tar ({error})", where=where) from error


def _file(path: Path) -> Iterable[bytes]:
    """One file as a tar, a chunk at a time."""
    info = _owned(tarfile.TarInfo(path.name), 0o644, tarfile.REGTYPE)
    info.size = path.stat().st_size
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
    yield bytes(-info.size % tarfile.BLOCKSIZE) + _END


def _owned(info: tarfile.TarInfo, mode: int, kind: bytes) -> tarfile.TarInfo:
    """An entry that belongs to the user that runs have in a container."""
    info.type, info.mode, info.uid, info.gid = kind, mode, _ANYONE, _ANYONE
    return info


class _Chunks:
    """Chunks as a file that is read once, forward."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""

    def read(self, size: int) -> bytes:
        while len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        data, self._left = self._left[:size], self._left[size:]
        return data
