"""The wheels of an image: what the spec and the runtime inside the image require, resolved for the image's Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import unquote

from packaging.pylock import Package, PackageWheel, Pylock, PylockSelectError, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from builder.errors import ResolveError
from builder.lock.download import Remote, obtain
from builder.lock.target import Target
from builder.lock.uv import Question, ask
from builder.machine import Machine
from builder.platforms import NAMES, Platform
from builder.progress import Progress
from builder.spec.model import PythonTable
from builder.store.artifact import Artifact
from builder.store.blobs import Store

RUNTIME_PACKAGES = ("libc-bin", "libstdc++6")
"""Debian packages that every image needs and nothing asks for: libc-bin holds the locale C.UTF-8, which every run is
in; libstdc++ is what the manylinux tags promise wheels on their host (PEP 600), and NumPy takes it at its word."""

RUNTIME_REQUIREMENTS = ("ml-dtypes", "numpy", "safetensors")
"""What `kernels.runtime` imports, whatever the kernel. A kernel asks for jax itself, at the version that it means."""

Versions = Mapping[str, str]
"""Versions by normalised project name."""


def resolve_wheels(
    table: PythonTable,
    targets: Sequence[Target],
    *,
    machine: Machine,
    environ: Mapping[str, str],
    store: Store,
    progress: Progress,
    keep: Mapping[Platform, Versions] | None = None,
) -> tuple[Artifact, ...]:
    """Resolve the wheels of an image for each of its platforms.

    Args:
        table: of the spec.
        targets: one per platform of the image.
        machine: whether the network may be used.
        environ: the environment that tells uv where the index is.
        store: takes wheels whose size the index does not tell, and so has to be measured.
        progress: sees one step per platform.
        keep: versions that are taken while they still satisfy everything, per platform.

    Returns:
        One artifact per platform and project.

    Raises:
        ResolveError: the requirements cannot be met with wheels.
        FetchError: the index cannot be reached.
    """
    requirements = checked(table.requirements)
    excluded = tuple(sorted({canonicalize_name(name) for name in table.exclude}))
    if needed := set(excluded) & set(RUNTIME_REQUIREMENTS):
        raise ResolveError(
            f"{' and '.join(sorted(needed))} cannot be excluded: the runtime inside every image imports it",
            where="python.exclude",
            hint="remove it from python.exclude",
        )
    keep = keep or {}

    def answer(target: Target, pins: Versions) -> Pylock:
        where = f"python.requirements for {target.platform}"
        question = Question((*requirements, *RUNTIME_REQUIREMENTS), target, pins, excluded)
        return ask(question, environ=environ, offline=machine.offline, where=where)

    answers: list[Pylock] = []
    for target in targets:
        wished = dict(keep.get(target.platform, {}))
        for earlier in answers:
            wished |= versions(earlier)
        with progress.step(f"resolve wheels for {target.platform}", unit="items"):
            answers.append(closest(partial(answer, target), wished))
    if parted := _parted(answers):
        progress.detail(f"versions differ between platforms: {', '.join(sorted(parted))}; trying the lower ones")
        try:
            again = [
                closest(partial(answer, target), {**keep.get(target.platform, {}), **versions(found)}, parted)
                for target, found in zip(targets, answers, strict=True)
            ]
        except ResolveError:
            progress.detail("no common versions: each platform keeps its own")
        else:
            answers = again if not _parted(again) else answers
    return tuple(
        artifact
        for target, found in zip(targets, answers, strict=True)
        for artifact in chosen(found, target, machine=machine, store=store, progress=progress)
    )


def closest(answer: Callable[[Versions], Pylock], wished: Versions, demanded: Versions | None = None) -> Pylock:
    """The answer that has as many wished versions as go together.

    Args:
        answer: resolves under pins; it fails where they cannot all hold.
        wished: versions to have if possible; where two of them exclude each other, the first by name is had.
        demanded: versions to have.

    Raises:
        ResolveError: there is no answer even without the wishes.
    """
    held = dict(demanded or {})
    try:
        return answer({**wished, **held})
    except ResolveError:
        best = answer(held)
    waiting = _halves(sorted(name for name in wished if name not in held))
    while waiting:
        names = waiting.pop()
        pins = held | {name: wished[name] for name in names}
        try:
            best = answer(pins)
        except ResolveError:
            waiting += _halves(names)
        else:
            held = pins
    return best


def _halves(names: list[str]) -> list[list[str]]:
    """Both halves, the first to be popped last in; none of what cannot be halved, since it was tried whole."""
    half = len(names) // 2
    return [names[half:], names[:half]] if half else []


def checked(requirements: Sequence[str]) -> tuple[str, ...]:
    """Requirements in uv's hands must be nothing else: a line may also be an option, a file or an address.

    Raises:
        ResolveError: one is not a PEP 508 requirement of the index.
    """
    found = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise ResolveError(
                f"{text!r} is not a requirement: {reason}", where="python.requirements", hint="see PEP 508"
            ) from error
        if requirement.url is not None:
            raise ResolveError(
                f"{text!r} asks for an address, not for a wheel of the index",
                where="python.requirements",
                hint=f"write '{requirement.name}==<version>'",
            )
        found.append(str(requirement))
    return tuple(found)


def versions(answer: Pylock) -> dict[str, str]:
    """What an answer chose, by project."""
    return {package.name: str(package.version) for package in answer.packages if package.version is not None}


def _parted(answers: Sequence[Pylock]) -> dict[str, str]:
    """Projects that have more than one version among the platforms, and the lowest of them."""
    seen: dict[str, set[Version]] = {}
    for answer in answers:
        for name, version in versions(answer).items():
            seen.setdefault(name, set()).add(Version(version))
    return {name: str(min(found)) for name, found in seen.items() if len(found) > 1}


def chosen(
    answer: Pylock, target: Target, *, machine: Machine, store: Store, progress: Progress
) -> tuple[Artifact, ...]:
    """The wheels of an answer that a target gets, each the best one for it.

    Raises:
        ResolveError: a project has no wheel for the target, or is not from the index.
    """
    artifacts = []
    where = f"python.requirements for {target.platform}"
    try:
        for package, source in answer.select(environment=target.environment(), tags=list(target.tags())):
            if not isinstance(source, PackageWheel):
                raise ResolveError(
                    f"{package.name} {package.version or ''} has no wheel for Python {target.series}, {target.uv}",
                    where=where,
                    hint="choose a version that has one; kbuild installs wheels only",
                )
            artifacts.append(_artifact(package, source, target, machine=machine, store=store, progress=progress))
    except (PylockSelectError, PylockValidationError, InvalidWheelFilename) as error:
        raise ResolveError(
            f"uv chose something that does not fit Python {target.series}, {target.uv}: {error}",
            where=where,
            hint="choose versions that have wheels for it",
        ) from error
    return tuple(artifacts)


def _artifact(
    package: Package, wheel: PackageWheel, target: Target, *, machine: Machine, store: Store, progress: Progress
) -> Artifact:
    remote = wheel_remote(package, wheel)
    size = remote.size or obtain(remote, machine=machine, store=store, progress=progress)
    tags = parse_wheel_filename(remote.path.rpartition("/")[2])[3]
    fits = [names.debian for names in NAMES.values() if any(tag.platform.endswith(names.machine) for tag in tags)]
    return Artifact(
        kind="wheel",
        name=remote.name,
        version=remote.version,
        architecture=fits[0] if len(fits) == 1 else "all",
        registry="pypi",
        path=remote.path,
        sha256=remote.sha256,
        size=size,
        roles=("image",),
        platforms=(target.platform,),
    )


def wheel_remote(package: Package, wheel: PackageWheel) -> Remote:
    """Where a chosen wheel is, and what it must be.

    Raises:
        ResolveError: the index does not say enough of it, or contradicts itself.
    """
    name = unquote(wheel.filename)
    where = f"{package.name} {package.version}"
    try:
        project, version = parse_wheel_filename(name)[:2]
    except InvalidWheelFilename as error:
        raise ResolveError(f"the index offers a wheel with the name {name!r}: {error}", where=where) from error
    if canonicalize_name(project) != package.name or version != package.version or "/" in name:
        raise ResolveError(f"the index offers {name!r} as a wheel of {where}", where=where)
    sha256 = wheel.hashes.get("sha256", "").lower()
    url = wheel.url or wheel.path
    if len(sha256) != 64 or url is None:  # noqa: PLR2004 - hex digits of SHA-256
        raise ResolveError(f"the index gives no SHA-256 for {name}", where=where, hint="use an index that gives hashes")
    return Remote(package.name, str(package.version), url, sha256, wheel.size, "pypi", f"{package.name}/{name}")
