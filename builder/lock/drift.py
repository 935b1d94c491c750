"""Whether a lock still belongs to its spec, and what the difference between two locks is. Pure, but for `check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.errors import EnvironmentFault, LockError, ResolveError
from builder.lock import file
from builder.lock.compiler import ZIG
from builder.lock.model import CODEC, FORMAT, Index, Lock
from builder.lock.python import RUNTIME_REQUIREMENTS
from builder.lock.target import Target, target
from builder.platforms import Platform
from builder.spec.identity import identity
from builder.spec.model import Spec
from builder.spec.refusal import Refusal
from builder.spec.sources import Address, LocalFile, WheelMember, parse
from builder.store.artifact import Artifact, Member


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two locks: `old` and `new` are what it was and is, None if it was or is not there.

    `platforms` are those that it concerns; empty if it concerns the lock as a whole.
    """

    kind: str
    name: str
    old: str | None
    new: str | None
    platforms: tuple[Platform, ...] = ()

    def __str__(self) -> str:
        subject = f"{self.kind} {self.name}".strip()
        place = f" ({', '.join(self.platforms)})" if self.platforms else ""
        if self.old is None:
            return f"+ {subject} {self.new}{place}"
        if self.new is None:
            return f"- {subject} {self.old}{place}"
        return f"~ {subject} {self.old} -> {self.new}{place}"


def require_fit(spec: Spec, lock: Lock, path: Path) -> None:
    """Refuse a lock that is not of this spec.

    Raises:
        LockError: it says why.
    """
    if reasons := fits(spec, lock):
        raise LockError(
            "the lock no longer fits its spec: " + "; ".join(reasons), where=str(path), hint="run `kbuild lock`"
        )


def check_format(lock: Lock) -> None:
    """Refuse a lock whose digests this kbuild would not meet.

    Raises:
        LockError: of a format that this kbuild does not know.
        EnvironmentFault: of a codec that this kbuild does not have.
    """
    if lock.format != FORMAT:
        raise LockError(
            f"the lock is of format {lock.format}; this kbuild builds format {FORMAT}",
            hint="use the kbuild that wrote the lock, or run `kbuild lock` to write it anew",
        )
    if lock.codec != CODEC:
        asked, known = (f"{item.name} {item.version} at level {item.level}" for item in (lock.codec, CODEC))
        raise EnvironmentFault(
            f"the lock's layers are compressed with {asked}; this kbuild has {known}",
            hint="use the kbuild that wrote the lock, or run `kbuild lock` to write it anew",
        )


def check(path: Path, fresh: Lock) -> list[Change]:
    """What would change in a lock file if it were written now.

    Raises:
        LockError: the file is missing or malformed.
    """
    return describe_change(file.read(path), fresh)


def fits(spec: Spec, lock: Lock) -> list[str]:
    """Why a lock is not one of a spec.

    Returns:
        Reasons in words, most telling first; empty if it fits.
    """
    reasons = list(_reasons(spec, lock))
    now = identity(spec)
    if now != lock.spec and not reasons:
        reasons.append(f"the spec has changed since (its identity is {now}, the lock is of {lock.spec})")
    return reasons


def _reasons(spec: Spec, lock: Lock) -> Iterator[str]:
    release = {item.suite for item in lock.index if item.registry == "debian" and "-" not in item.suite}
    aliases = {"stable", "testing", "unstable", "oldstable", "oldoldstable"}
    if release and spec.os.release not in release | aliases:
        yield f"os.release is {spec.os.release}, locked is {', '.join(sorted(release))}"
    wanted = set(spec.kernel.platforms)
    locked = {platform for item in lock.artifact if "image" in item.roles for platform in item.platforms}
    for platform in sorted(wanted - locked):
        yield f"{platform} is not locked"
    for platform in sorted(locked - wanted):
        yield f"{platform} is locked, but not in kernel.platforms"
    for platform in sorted(wanted & locked):
        image = [item for item in lock.artifact if "image" in item.roles and platform in item.platforms]
        yield from _unmet_packages(spec, image, platform)
        yield from _unmet_requirements(spec, image, platform)
    yield from _unmet_compiler(spec, lock, wanted & locked)
    yield from _unmet_weights(spec, lock, wanted & locked)


def _unmet_packages(spec: Spec, image: Sequence[Artifact], platform: Platform) -> Iterator[str]:
    debs = {item.name: item.version for item in image if item.kind == "deb"}
    for text in spec.os.packages:
        name, pinned, version = text.partition("=")
        # A name without a version may be a virtual one, which no artifact has.
        if pinned and debs.get(name) != version:
            yield f"os.packages asks for {text}, locked for {platform} is {debs.get(name, 'none')}"


def _unmet_requirements(spec: Spec, image: Sequence[Artifact], platform: Platform) -> Iterator[str]:
    wheels = {item.name: item.version for item in image if item.kind == "wheel"}
    inside = _target(platform, image)
    if inside is None:
        yield f"no Python is locked for {platform}"
        return
    environment = cast("Mapping[str, str]", inside.environment())
    for text in (*spec.python.requirements, *RUNTIME_REQUIREMENTS):
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        version = wheels.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{requirement.name} is required, but not locked for {platform}"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{text} is required, locked for {platform} is {version}"
    for name in sorted({canonicalize_name(name) for name in spec.python.exclude} & wheels.keys()):
        yield f"{name} is excluded, but locked for {platform}"


def _target(platform: Platform, image: Sequence[Artifact]) -> Target | None:
    try:
        return target(platform, [item for item in image if item.kind == "deb"])
    except ResolveError:
        return None


def _unmet_compiler(spec: Spec, lock: Lock, platforms: Iterable[Platform]) -> Iterator[str]:
    """The compiler of each image's platform must be there; for the others there may be one, or an emulator serves."""
    compiler, asked = spec.compiler, spec.compiler.version.split(".")
    if compiler.nixpkgs is not None:
        rev = lock.nixpkgs.rev if lock.nixpkgs else "none"
        if rev != compiler.nixpkgs.rev:
            yield f"compiler.nixpkgs.rev is {compiler.nixpkgs.rev}, locked is {rev}"
        return
    kind, name = ("wheel", ZIG) if compiler.name == "zig" else ("deb", f"{compiler.name}-{asked[0]}")
    for platform in sorted(platforms):
        found = [item for item in lock.artifact if (item.kind, item.name) == (kind, name) and _compiles(item, platform)]
        for item in found:
            upstream = item.version.rpartition(":")[2].partition("-")[0].split(".")
            if upstream[: len(asked)] != asked:
                yield f"compiler.version is {compiler.version}, locked for {platform} is {item.version}"
        if not found:
            yield f"{compiler.name} {compiler.version} is not locked for {platform}"
        elif compiler.name == "clang" and not _sysroot(lock, platform):
            yield f"what clang {compiler.version} compiles against is not locked for {platform}"


def _sysroot(lock: Lock, platform: Platform) -> bool:
    return any("sysroot" in item.roles and platform in item.platforms for item in lock.artifact)


def _compiles(item: Artifact, platform: Platform) -> bool:
    return "toolchain" in item.roles and platform in item.platforms


def _unmet_weights(spec: Spec, lock: Lock, platforms: Iterable[Platform]) -> Iterator[str]:
    locked: dict[str, list[Artifact]] = {}
    for item in lock.artifact:
        if item.kind == "weights":
            locked.setdefault(item.name, []).append(item)
    for name in sorted(locked.keys() - spec.weights.keys()):
        yield f"weights {name!r} are locked, but not in the spec"
    for name, table in sorted(spec.weights.items()):
        for platform in sorted(platforms):
            items = [item for item in locked.get(name, []) if platform in item.platforms]
            if not items:
                yield f"weights {name!r} are not locked for {platform}"
            elif not all(_is_from(item, table.source) for item in items):
                yield f"weights {name!r} are of {table.source}, locked is {items[0].path}"
                break


def _is_from(item: Artifact, text: str) -> bool:
    match parse(text):
        case LocalFile(path):
            return (item.registry, item.path) == ("local", path)
        case Address(url, sha256):
            return (item.registry, item.path, item.sha256) == ("url", url, sha256)
        case WheelMember(project, version, path):
            inside = item.member is not None and item.member.path == path
            same = Requirement(f"{project}=={version}").specifier.contains(item.version, prereleases=True)
            return item.registry == "pypi" and item.path.partition("/")[0] == project and inside and same
        case Refusal():
            return False


def describe_change(old: Lock, new: Lock) -> list[Change]:
    """Every difference between two locks but the recorded image.

    Returns:
        The changes: the lock's own fields, then indexes, then artifacts, by kind and name. Empty if and only if the
        locks are equal (but for `image`).
    """
    return [*_of_fields(old, new), *_of_indexes(old, new), *_of_artifacts(old, new)]


def _of_fields(old: Lock, new: Lock) -> Iterator[Change]:
    def codec(lock: Lock) -> str:
        return f"{lock.codec.name} {lock.codec.version} at level {lock.codec.level}"

    def pinned(lock: Lock) -> str | None:
        return f"{lock.nixpkgs.rev} {lock.nixpkgs.nar_hash}" if lock.nixpkgs else None

    for name, before, after in (
        ("spec", old.spec, new.spec),
        ("format", str(old.format), str(new.format)),
        ("epoch", str(old.epoch), str(new.epoch)),
        ("codec", codec(old), codec(new)),
        ("nixpkgs", pinned(old), pinned(new)),
    ):
        if before != after:
            yield Change("lock", name, before, after)


def _of_indexes(old: Lock, new: Lock) -> Iterator[Change]:
    before, after = ({(item.registry, item.suite): item for item in lock.index} for lock in (old, new))
    for key in sorted(before.keys() | after.keys()):
        was, is_ = before.get(key), after.get(key)
        if was != is_:
            with_hash = was is not None and is_ is not None and was.date == is_.date
            yield Change("index", key[1], _index(was, with_hash=with_hash), _index(is_, with_hash=with_hash))


def _index(item: Index | None, *, with_hash: bool) -> str | None:
    if item is None:
        return None
    return f"{item.date} {item.path} sha256:{item.sha256[:16]}" if with_hash else item.date


def _of_artifacts(old: Lock, new: Lock) -> Iterator[Change]:
    before, after = _places(old), _places(new)
    grouped: dict[tuple[str, str, str | None, str | None], list[Platform]] = {}
    for kind, name, platform in sorted(before.keys() | after.keys()):
        sides = [side.get((kind, name, platform), set()) for side in (before, after)]
        if sides[0] != sides[1]:
            was, is_ = _stated(*sides)
            grouped.setdefault((kind, name, was, is_), []).append(platform)
    for (kind, name, was, is_), platforms in grouped.items():
        yield Change(kind, name, was, is_, tuple(platforms))


def _places(lock: Lock) -> dict[tuple[str, str, Platform], set[Artifact]]:
    found: dict[tuple[str, str, Platform], set[Artifact]] = {}
    for item in lock.artifact:
        bare = item.model_copy(update={"platforms": ()})
        for platform in item.platforms:
            found.setdefault((item.kind, item.name, platform), set()).add(bare)
    return found


def _stated(before: set[Artifact], after: set[Artifact]) -> tuple[str | None, str | None]:
    """Two sides in words: versions, or what else tells them apart."""

    def words(side: set[Artifact], fields: Sequence[str]) -> str | None:
        return ", ".join(sorted(" ".join(_field(item, name) for name in ("version", *fields)) for item in side)) or None

    plain = (words(before, ()), words(after, ()))
    if plain[0] != plain[1]:
        return plain
    names = ("architecture", "registry", "path", "sha256", "size", "roles", "member")
    fields = [
        name for name in names if {_field(item, name) for item in before} != {_field(item, name) for item in after}
    ]
    return words(before, fields), words(after, fields)


def _field(item: Artifact, name: str) -> str:
    match getattr(item, name):
        case "":
            return "file"
        case str(text):
            return f"sha256:{text[:16]}" if name == "sha256" else text
        case tuple(items):
            return f"for {'+'.join(items)}"
        case Member(path=path, sha256=sha256):
            return f"{path} sha256:{sha256[:16]}"
        case other:
            return str(other)
