"""A wheel as it stands in an image: the entries that installing it gives, without installing it.

pypa/installer says where each file goes; nothing is unpacked: an entry inflates its member when the layer is packed,
and checks it against the wheel's RECORD on the way, so that one pass over the bytes does both.

What is decided here, all of it part of `builder.lock.model.FORMAT`:

- `purelib` and `platlib` are `usr/local/lib/python3.X/dist-packages`, which Debian's Python searches by itself;
  `scripts` is `usr/local/bin`, `data` is `usr/local`, `headers` is `usr/local/include/python3.X/<project>`.
- Every time is the epoch: a zip's times have no time zone, so no two tools agree on what they mean.
- A mode is 0755 if the archive marks the file as executable or it is a script, else 0644; no umask has a say.
- RECORD is written anew, sorted, with what was generated and without bytecode, which the image's own layer rules add.
  INSTALLER, REQUESTED, direct_url.json and signatures of the old RECORD are left out: they tell how, not what.
- A wheel's `__pycache__` is left out: the image's bytecode comes from the image's own interpreter.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import csv
import functools
import hashlib
import io
import posixpath
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.sources import WheelContentElement, WheelSource
from installer.utils import Scheme
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.order import check_path, ordered
from builder.layers.zip import Archive
from builder.platforms import NAMES
from builder.store.artifact import Artifact

if TYPE_CHECKING:
    from installer.scripts import ScriptSection

INTERPRETER = "/usr/bin/python3"

_MOST_METADATA = 16 << 20
_MOST_SCRIPT = 4 << 20
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_NOISE = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s", "uv_cache.json"})
_SIGNATURES = frozenset({"RECORD.jws", "RECORD.p7s"})

_LAUNCHER = """\
#!{interpreter}
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.exit({call}())
"""


def site_packages(python: str) -> str:
    """Where an image's third-party modules are, for a Python such as "3.13"; without a leading slash."""
    return f"usr/local/lib/python{python}/dist-packages"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one file of a wheel; calling it opens them. `checksum` is their row in RECORD, `sha256=...`."""

    wheel: str
    checksum: str
    archive: Archive | None
    member: str
    expected: tuple[str, bytes] | None = None
    data: bytes = b""

    def __call__(self) -> BinaryIO:
        """Open the content; what is read is checked against RECORD."""
        if self.archive is None:
            return io.BytesIO(self.data)
        return self.archive.open(self.member, self.expected)


def wheel_entries(path: Path, artifact: Artifact, *, python: str, epoch: int) -> list[Entry]:
    """What a wheel puts into an image.

    Args:
        path: of the wheel, whose own hash the store has checked.
        artifact: its row in the lock.
        python: the image's Python, such as "3.13".
        epoch: mtime of every entry, in seconds since 1970.

    Returns:
        Entries in canonical order, every parent among them, to be read while `path` exists.

    Raises:
        IntegrityError: the wheel is malformed, is not the one that the lock names, contradicts its own RECORD, or
            would write where a wheel may not. A member whose content contradicts RECORD raises when it is read.
    """
    where = artifact.path.rpartition("/")[2]
    distribution, version = _identity(where, artifact, python)
    source = _Source(Archive(path, where), distribution, version)
    destination = _Destination(where, source, str(canonicalize_name(distribution)), python, epoch)
    try:
        source.validate_record()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # installer warns of each `__pycache__` that it skips
            install(source, destination, {})
    except IntegrityError:
        raise
    except (InstallerError, ValueError, KeyError, AssertionError, configparser.Error, TypeError) as error:
        # installer states its expectations of WHEEL and entry_points.txt as assertions and look-ups.
        raise IntegrityError(f"not a valid wheel: {_said(error)}", where=where) from error
    try:
        return ordered(destination.entries.values(), epoch=epoch)
    except IntegrityError as error:
        raise IntegrityError(f"{error.where} {error.message}", where=where) from error


def merge(*trees: Iterable[Entry]) -> list[Entry]:
    """Several wheels' entries, or those of other parts of an image, as one tree.

    Two wheels may hold the same file if it has the same content and mode (the `__init__.py` of a shared namespace);
    pip would let the last one installed win. Of two statements about a folder the first counts.

    Returns:
        Entries in canonical order.

    Raises:
        IntegrityError: two trees differ about a path.
    """
    merged: dict[str, Entry] = {}
    for entry in (entry for tree in trees for entry in tree):
        known = merged.setdefault(entry.path, entry)
        if known is not entry and _facts(known) != _facts(entry):
            raise IntegrityError(
                f"{_origin(known)} and {_origin(entry)} hold different files at this path",
                where=entry.path,
                hint="leave one of them out with python.exclude, or pin versions that do not collide",
            )
    return ordered(merged.values())


def _facts(entry: Entry) -> tuple[object, ...]:
    if entry.kind is Kind.DIRECTORY:
        return (entry.kind,)
    checksum = entry.source.checksum if isinstance(entry.source, Content) else entry.source
    return entry.kind, entry.mode, entry.size, entry.target, checksum


def _origin(entry: Entry) -> str:
    return entry.source.wheel if isinstance(entry.source, Content) else "another part of the image"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _identity(name: str, artifact: Artifact, python: str) -> tuple[str, str]:
    """The name and version parts of the file name, as written; they and the tags have to fit the lock."""
    try:
        project, version, _, tags = parse_wheel_filename(name)
        expected = Version(artifact.version)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise IntegrityError(_said(error), where=name) from error
    if project != canonicalize_name(artifact.name) or version != expected:
        raise IntegrityError(f"the lock says that this is {artifact.name} {artifact.version}", where=name)
    fitting = _fitting(python)
    for machine in sorted(NAMES[platform].machine for platform in artifact.platforms):
        if not any((tag.interpreter, tag.abi) in fitting and _runs_on(tag.platform, machine) for tag in tags):
            raise IntegrityError(
                f"this wheel is not for Python {python} on {machine}", where=name, hint="run `kbuild lock` again"
            )
    parts = name.split("-")
    return parts[0], parts[1]


@functools.cache
def _fitting(python: str) -> frozenset[tuple[str, str]]:
    """The interpreter and ABI tags that a Python such as "3.13" takes."""
    major, minor = (int(part) for part in python.split("."))
    name = f"cp{major}{minor}"
    cpython = cpython_tags((major, minor), abis=[name], platforms=["any"])
    every = (*cpython, *compatible_tags((major, minor), interpreter=name, platforms=["any"]))
    return frozenset((tag.interpreter, tag.abi) for tag in every)


def _runs_on(platform: str, machine: str) -> bool:
    return platform == "any" or (platform.startswith(("manylinux", "linux_")) and platform.endswith(f"_{machine}"))


class _Source(WheelSource):
    """A wheel whose members are named but not opened: `get_contents` yields names where installer expects streams."""

    def __init__(self, archive: Archive, distribution: str, version: str) -> None:
        super().__init__(distribution, version)
        self.archive = archive
        self.where = archive.where
        self._dist_info = self._folder(".dist-info")
        if self._dist_info is None:
            raise IntegrityError("it has no .dist-info folder", where=self.where)
        self._data = self._folder(".data")
        self.records = self._records()

    @property
    def dist_info_dir(self) -> str:
        return self._dist_info or ""

    @property
    def data_dir(self) -> str:
        return self._data or super().data_dir

    @property
    def dist_info_filenames(self) -> list[str]:
        prefix = f"{self.dist_info_dir}/"
        return [name.removeprefix(prefix) for name in self.archive.members if name.startswith(prefix)]

    def read_dist_info(self, filename: str) -> str:
        data = self.archive.read(f"{self.dist_info_dir}/{filename}", _MOST_METADATA)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{filename} is not UTF-8", where=self.where) from error

    def validate_record(self) -> None:
        """Hold the archive's names and sizes against RECORD; contents are checked as they are read."""
        own = f"{self.dist_info_dir}/RECORD"
        unlisted = {own, *(f"{self.dist_info_dir}/{name}" for name in _SIGNATURES)}
        for name, member in self.archive.members.items():
            if name in unlisted:
                continue
            record = self.records.get(name)
            if record is None or record.hash_ is None:
                raise IntegrityError(f"{name} is not in RECORD, or without a hash", where=self.where)
            if record.size is not None and record.size != member.size:
                raise IntegrityError(f"{name} holds {member.size} bytes; RECORD says {record.size}", where=self.where)
        for name in self.records:
            if name not in self.archive.members:
                raise IntegrityError(f"RECORD lists {name}, which is missing", where=self.where)

    def get_contents(self) -> Iterator[WheelContentElement]:
        for name, member in self.archive.members.items():
            if posixpath.dirname(name) == self.dist_info_dir and posixpath.basename(name) in _NOISE:
                continue
            record = self.records.get(name, RecordEntry(name, None, None))
            yield record.to_row(), cast("BinaryIO", _Named(name)), member.executable

    def _folder(self, suffix: str) -> str | None:
        """The one top-level folder with this suffix; it has to be named as the wheel is."""
        found = sorted({top for name in self.archive.members if (top := name.split("/", 1)[0]).endswith(suffix)})
        for folder in found:
            name, _, version = folder.removesuffix(suffix).rpartition("-")
            try:
                same = Version(version) == Version(self.version)
            except InvalidVersion:
                same = False
            if len(found) > 1 or not same or canonicalize_name(name) != canonicalize_name(self.distribution):
                raise IntegrityError(f"its {suffix} folder is {' and '.join(found)}", where=self.where)
        return found[0] if found else None

    def _records(self) -> dict[str, RecordEntry]:
        records: dict[str, RecordEntry] = {}
        try:
            rows = list(csv.reader(io.StringIO(self.read_dist_info("RECORD"), newline=""), strict=True))
        except csv.Error as error:
            raise IntegrityError(f"RECORD is malformed: {error}", where=self.where) from error
        for row in rows:
            if not row:
                continue
            if len(row) != 3 or row[0] in records:  # noqa: PLR2004 - path, hash, size
                raise IntegrityError(f"RECORD has a malformed or repeated row: {row[:3]!r}", where=self.where)
            records[row[0]] = RecordEntry(row[0], *self._promise(row))
        return records

    def _promise(self, row: list[str]) -> tuple[Hash | None, int | None]:
        """A row's hash and size."""
        name, text, size = row
        if size and not (size.isascii() and size.isdecimal() and len(size) < 16):  # noqa: PLR2004
            raise IntegrityError(f"RECORD gives {name} the size {size[:20]!r}", where=self.where)
        if not text:
            return None, int(size) if size else None
        kind, _, value = text.partition("=")
        if kind not in _HASHES or _decoded(value) is None:
            raise IntegrityError(f"RECORD gives {name} the hash {text[:80]!r}", where=self.where)
        return Hash(kind, value), int(size) if size else None


class _Named(io.BytesIO):
    """Stands where installer passes a stream on: says which member it would be."""

    def __init__(self, member: str) -> None:
        super().__init__()
        self.member = member


class _Destination(WheelDestination):
    """Collects entries where installer would write files."""

    def __init__(self, where: str, source: _Source, project: str, python: str, epoch: int) -> None:
        self.entries: dict[str, Entry] = {}
        self._where = where
        self._source = source
        self._epoch = epoch
        site = site_packages(python)
        self._folders: Mapping[str, str] = {
            "purelib": site,
            "platlib": site,
            "scripts": "usr/local/bin",
            "data": "usr/local",
            "headers": f"usr/local/include/python{python}/{project}",
        }

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        del section
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise IntegrityError(f"an entry point is named {name!r}", where=self._where)
        if not all(part.isidentifier() for part in (*module.split("."), *attr.split("."))):
            raise IntegrityError(f"the entry point {name!r} leads to {module}:{attr}", where=self._where)
        text = _LAUNCHER.format(interpreter=INTERPRETER, module=module, name=attr.partition(".")[0], call=attr)
        return self._generate("scripts", name, text.encode(), executable=True)

    def write_file(self, scheme: Scheme, path: object, stream: BinaryIO, is_executable: bool) -> RecordEntry:  # noqa: FBT001 - installer's
        name = cast("_Named", stream).member
        member, record = self._source.archive.members[name], self._source.records[name]
        relative = str(path)
        executable = is_executable or scheme == "scripts"  # archives made on Windows carry no mode
        checksum = cast("Hash", record.hash_)
        expected = (checksum.name, _decoded(checksum.value) or b"")
        if scheme == "scripts" and (data := self._rewritten(name, member.size, expected)) is not None:
            return self._generate(scheme, relative, data, executable=True)
        content = Content(self._where, str(checksum), self._source.archive, name, expected)
        self._add(scheme, relative, member.size, content, executable=executable)
        return RecordEntry(relative, checksum, member.size)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        site = self._folders[scheme]
        rows = sorted(
            (posixpath.relpath(f"{self._folders[kind]}/{record.path}", site), *record.to_row()[1:])
            for kind, record in records
        )
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._generate(scheme, record_file_path, text.getvalue().encode(), executable=False)

    def _rewritten(self, name: str, size: int, expected: tuple[str, bytes]) -> bytes | None:
        """A script whose first line asks for Python, with the image's Python in it; None for any other."""
        with self._source.archive.open(name) as stream:
            if stream.read(8) != b"#!python":
                return None
        if size > _MOST_SCRIPT:
            raise IntegrityError(f"{name} is a script of {size} bytes", where=self._where)
        with self._source.archive.open(name, expected) as stream:
            _, _, rest = stream.read().partition(b"\n")
        return f"#!{INTERPRETER}\n".encode() + rest

    def _generate(self, scheme: str, path: str, data: bytes, *, executable: bool) -> RecordEntry:
        value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        content = Content(self._where, f"sha256={value}", None, path, data=data)
        self._add(scheme, path, len(data), content, executable=executable)
        return RecordEntry(path, Hash("sha256", value), len(data))

    def _add(self, scheme: str, relative: str, size: int, content: Content, *, executable: bool) -> None:
        check_path(relative, self._where)
        path = f"{self._folders[scheme]}/{relative}"
        if path in self.entries:
            raise IntegrityError(f"two of its files would be {path}", where=self._where)
        algorithm, value = content.expected or ("", b"")
        self.entries[path] = Entry(
            path=path,
            sha256=value.hex() if algorithm == "sha256" else "",
            kind=Kind.FILE,
            mode=0o755 if executable else 0o644,
            mtime=self._epoch,
            size=size,
            source=content,
        )


def _decoded(value: str) -> bytes | None:
    """The bytes of URL-safe base64 without padding."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
