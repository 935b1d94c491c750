"""A pinned nixpkgs: the tree of one revision, by the hash that Nix knows it by, from wherever this machine gets it.

The store keeps the tree as a Nix archive, whose SHA-256 is the tree's `narHash`: compressed tarballs of one revision
differ from server to server and over the years, the tree does not.
"""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import time
from collections.abc import Callable
from typing import BinaryIO, Self, cast

from builder.errors import EnvironmentFault, FetchError, IntegrityError
from builder.lock.model import Nixpkgs
from builder.lock.nar import DEEPEST, Node, Span, bare, sri, write_nar
from builder.machine import Machine
from builder.progress import Progress, Step
from builder.store.atomic import faults, make_folder
from builder.store.attempt import Patience, Refused, Transient, offset_of_body, request_headers
from builder.store.blobs import CHUNK, Store
from builder.store.client import Client, redacted

ARCHIVE = "https://github.com/NixOS/nixpkgs/archive"
"""Where nixpkgs' own project has a tarball of every revision."""

LARGEST = 4 << 30
"""Bytes of the largest tree, and of the largest tarball."""
MOST = 1 << 20
"""Files of the largest tree."""


def locked(rev: str, previous: Nixpkgs | None, *, machine: Machine, store: Store, progress: Progress) -> Nixpkgs:
    """What a lock says of a revision: asked for once, and from then on taken from the earlier lock.

    Raises:
        EnvironmentFault: the machine is offline.
        FetchError: no tarball of it is to be had.
        IntegrityError: the tarball holds what no tree of nixpkgs does.
    """
    if previous is not None and previous.rev == rev:
        return previous
    sha256, size = _obtain(rev, machine, store, progress, None)
    return Nixpkgs(rev=rev, nar_hash=sri(sha256), size=size)


def bring(pinned: Nixpkgs, *, machine: Machine, store: Store, progress: Progress) -> str:
    """Have a tree's archive in the store.

    Returns:
        Its hex SHA-256.

    Raises:
        EnvironmentFault: it is missing and the machine is offline.
        FetchError: no tarball of it is to be had.
        IntegrityError: the tarball holds another tree than the lock names.
    """
    sha256 = bare(pinned.nar_hash)
    if not store.has(sha256):
        _obtain(pinned.rev, machine, store, progress, sha256)
    return sha256


def address(rev: str, machine: Machine) -> str:
    """Where this machine gets a revision's tarball."""
    base = (machine.nixpkgs_mirror or ARCHIVE).rstrip("/")
    return f"{base}/{rev}.tar.gz"


def _obtain(rev: str, machine: Machine, store: Store, progress: Progress, expected: str | None) -> tuple[str, int]:
    """Download, unpack and archive; returns the archive's hex SHA-256 and size."""
    url = address(rev, machine)
    if machine.offline:
        raise EnvironmentFault(
            f"offline, and nixpkgs {rev} is not in the store",
            where=redacted(url),
            hint="run this once with the network on",
        )
    with faults(store.root):
        make_folder(store.root)
    patience = Patience()
    for failures in range(1, patience.attempts + 1):
        try:
            with (
                faults(store.root),
                progress.step("fetch nixpkgs") as step,
                Client(patience).get(url, request_headers(0, None, url)) as reply,
                tempfile.TemporaryFile(dir=store.root) as contents,
            ):
                offset_of_body(reply.status, reply.headers, have=0, size=None)
                tree = _unpacked(cast("BinaryIO", _Stream(reply.read, step)), contents, url)
                return _archived(tree, contents, store, expected, url)
        except Refused as error:
            raise _undelivered(url, rev, error) from error
        except Transient as error:
            if failures == patience.attempts:
                raise _undelivered(url, rev, error) from error
            time.sleep(error.after or patience.backoff(failures, random.random()))  # noqa: S311 - jitter
    raise AssertionError("patience allows at least one attempt")


def _archived(tree: Node, contents: BinaryIO, store: Store, expected: str | None, url: str) -> tuple[str, int]:
    with store.writer() as writer:
        write_nar(tree, contents, writer.write)
        size = writer.size
        sha256 = writer.commit()
    if expected not in (None, sha256):
        raise IntegrityError(
            f"{redacted(url)} holds another tree than the lock names: its narHash is {sri(sha256)}",
            hint="a revision's tree never changes: find out who serves another one",
        )
    return sha256, size


def _unpacked(stream: BinaryIO, contents: BinaryIO, url: str) -> dict[bytes, Node]:
    """A tarball's tree below its one folder; the bytes of its files go to `contents`."""
    top: dict[bytes, Node] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header, errors="surrogateescape") as tar:
            for count, member in enumerate(tar, 1):
                if count > MOST or contents.tell() + member.size > LARGEST:
                    raise IntegrityError(f"{redacted(url)} holds more than any nixpkgs does")
                _place(top, member, tar, contents, url)
    except (tarfile.TarError, EOFError) as error:
        raise IntegrityError(f"{redacted(url)} is not a whole tarball: {error}") from error
    if len(top) != 1 or not isinstance(tree := next(iter(top.values())), dict):
        raise IntegrityError(f"{redacted(url)} does not hold one folder")
    return tree


def _place(top: dict[bytes, Node], member: tarfile.TarInfo, tar: tarfile.TarFile, contents: BinaryIO, url: str) -> None:
    parts = member.name.encode("utf-8", "surrogateescape").rstrip(b"/").split(b"/")
    where = f"{redacted(url)}: {member.name!r}"
    if len(parts) > DEEPEST or any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
        raise IntegrityError(f"{where} is not a plain path")
    folder = top
    for part in parts[:-1]:
        inner = folder.setdefault(part, {})
        if not isinstance(inner, dict):
            raise IntegrityError(f"{where} is below something that is no folder")
        folder = inner
    name = parts[-1]
    if member.isdir():
        if not isinstance(folder.setdefault(name, {}), dict):
            raise IntegrityError(f"{where} stands twice")
        return
    if name in folder:
        raise IntegrityError(f"{where} stands twice")
    if member.issym():
        folder[name] = member.linkname.encode("utf-8", "surrogateescape")
    elif member.isreg():
        folder[name] = Span(contents.tell(), member.size, bool(member.mode & 0o100))
        source = tar.extractfile(member)
        while source is not None and (data := source.read(CHUNK)):
            contents.write(data)
    else:
        raise IntegrityError(f"{where} is neither a file, a folder nor a symbolic link")


class _Header(tarfile.TarInfo):
    """Refuses what Python's reader, once it has seen one header, silently takes for the end of an archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As the base class's."""
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends early")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):  # the archive's end
                raise
            raise tarfile.ReadError(str(error)) from error


class _Stream(io.RawIOBase):
    """A reply's body as something that can be read from; counts for the progress."""

    def __init__(self, read: Callable[[], bytes], step: Step) -> None:
        super().__init__()
        self._read = read
        self._step = step
        self._held = b""
        self._total = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, fewer at the end only."""
        wanted = LARGEST if size is None or size < 0 else size
        pieces = [self._held]
        held = len(self._held)
        while held < wanted and (data := self._read()):
            self._total += len(data)
            if self._total > LARGEST:
                raise IntegrityError("a tarball of nixpkgs is larger than any is")
            self._step.advance(len(data))
            pieces.append(data)
            held += len(data)
        everything = b"".join(pieces)
        self._held = everything[wanted:]
        return everything[:wanted]


def _undelivered(url: str, rev: str, error: Exception) -> FetchError:
    return FetchError(
        f"{redacted(url)}: {error}",
        where=f"nixpkgs {rev}",
        hint="KBUILD_NIXPKGS_MIRROR names a folder or address that has <rev>.tar.gz",
    )
