"""A Debian package: its container, its control data and its files, checked and ready to become image entries.

Nothing is unpacked to disk and nothing of the package is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.ar import Member, read_members
from builder.layers.debtar import read_deb_tar
from builder.layers.entry import Entry, Kind
from builder.layers.spool import decompress
from builder.store.artifact import Artifact

SCRIPTS: Final = ("preinst", "postinst", "prerm", "postrm", "config")
"""Control files that dpkg or debconf would run."""

_CONTROL_MOST: Final = 64 << 20
_CONTROL_FILE_MOST: Final = 16 << 20
_FIELD: Final = re.compile(r"([!-9;-~]+):[ \t]*(.*)")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Deb:
    """One package.

    `control` holds the fields of the control file in their order, continuation lines as written; `files` holds every
    other control file (`postinst`, `triggers`, `md5sums`, ...) by name; `entries` the data, paths as shipped.
    """

    name: str
    version: str
    architecture: str
    control: Mapping[str, str]
    files: Mapping[str, bytes]
    conffiles: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def where(self) -> str:
        """What errors call the package."""
        return f"{self.name} {self.version} ({self.architecture})"

    @property
    def scripts(self) -> dict[str, bytes]:
        """The maintainer scripts by name."""
        return {name: self.files[name] for name in SCRIPTS if name in self.files}


def read_deb(path: Path, artifact: Artifact) -> Deb:
    """Read a package whose bytes have been verified against the lock.

    Args:
        path: the package's blob.
        artifact: what the lock says it is; name, version and architecture have to agree.

    Raises:
        IntegrityError: the package is malformed, truncated or hostile, or is not the one that the lock names.
        EnvironmentFault: the blob cannot be read, or there is no room for its contents.
    """
    where = artifact.path.rpartition("/")[2] or artifact.name
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size, artifact, where)
    except OSError as error:
        raise EnvironmentFault(f"cannot read the package: {error.strerror or error}", where=str(path)) from error


def _read(file: BinaryIO, size: int, artifact: Artifact, where: str) -> Deb:
    members = read_members(file, size, where)
    names = [member.name for member in members]
    if [name.partition(".")[0] for name in names[1:]] != ["control", "data"] or names[0] != "debian-binary":
        raise IntegrityError(
            f"the package has the members {', '.join(names) or 'none'}, not debian-binary, control.tar and data.tar",
            where=where,
        )
    _check_format(file, members[0], where)
    files = _control_files(file, members[1], where)
    control = parse_control(files.pop("control", b""), where)
    for field, expected in (
        ("Package", artifact.name),
        ("Version", artifact.version),
        ("Architecture", artifact.architecture),
    ):
        if control.get(field) != expected:
            raise IntegrityError(
                f"the lock says {field} {expected}, the package says {control.get(field, 'nothing')}", where=where
            )
    data = decompress(file, members[2].offset, members[2].size, _suffix(members[2], where), f"{where}: data.tar")
    return Deb(
        name=artifact.name,
        version=artifact.version,
        architecture=artifact.architecture,
        control=MappingProxyType(control),
        files=MappingProxyType(files),
        conffiles=_conffiles(files.get("conffiles", b""), where),
        entries=tuple(read_deb_tar(data, f"{where}: data.tar")),
    )


def _check_format(file: BinaryIO, member: Member, where: str) -> None:
    file.seek(member.offset)
    version = file.read(min(member.size, 64))
    if not re.fullmatch(rb"2\.[0-9]{1,4}\n.*", version, re.DOTALL):
        raise IntegrityError(f"the package has the format {version!r}; only 2.x is known", where=where)


def _suffix(member: Member, where: str) -> str:
    base, dot, suffix = member.name.partition(".tar")
    if base not in ("control", "data") or not dot:
        raise IntegrityError(f"the package has the unknown member {member.name}", where=where)
    return suffix


def _control_files(file: BinaryIO, member: Member, where: str) -> dict[str, bytes]:
    where = f"{where}: control.tar"
    spool = decompress(file, member.offset, member.size, _suffix(member, where), where, most=_CONTROL_MOST)
    files: dict[str, bytes] = {}
    for entry in read_deb_tar(spool, where):
        if entry.kind is not Kind.FILE or "/" in entry.path or entry.source is None:
            raise IntegrityError(f"{entry.path!r} is not a plain control file", where=where)
        if entry.size > _CONTROL_FILE_MOST:
            raise IntegrityError(f"the control file {entry.path!r} has {entry.size} bytes", where=where)
        with entry.source() as content:
            files[entry.path] = content.read()
    return files


def parse_control(data: bytes, where: str) -> dict[str, str]:
    """Read the one stanza of a control file (deb-control(5)); continuation lines keep their text.

    Raises:
        IntegrityError: it is not one well-formed stanza, or names a field twice.
    """
    try:
        lines = data.decode().rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise IntegrityError("the control file is not UTF-8", where=where) from error
    fields: dict[str, str] = {}
    last = ""
    for number, line in enumerate(lines, 1):
        if line[:1] in (" ", "\t") and last and line.strip():
            fields[last] += "\n" + line
            continue
        match = _FIELD.fullmatch(line)
        if match is None or match[1].startswith(("#", "-")):
            raise IntegrityError(f"line {number} of the control file is not a field: {line[:60]!r}", where=where)
        last = match[1]
        if any(last.lower() == known.lower() for known in fields):
            raise IntegrityError(f"the control file names the field {last} twice", where=where)
        fields[last] = match[2]
    return {name: value.rstrip() for name, value in fields.items()}


def _conffiles(data: bytes, where: str) -> tuple[str, ...]:
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise IntegrityError("the list of configuration files is not UTF-8", where=where) from error
    # deb-conffiles(5): a line may start with the flag remove-on-upgrade, which names a file that is not shipped.
    found = [line.strip() for line in lines if line.strip() and not line.startswith("remove-on-upgrade ")]
    for path in found:
        if not path.startswith("/"):
            raise IntegrityError(f"the configuration file {path!r} is not an absolute path", where=where)
    return tuple(found)
