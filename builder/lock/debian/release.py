"""Debian's signed index of indexes: what `InRelease` says, believed only as far as its signature reaches.

The file is a cleartext-signed message (RFC 9580, section 7). Nothing is read from its raw bytes but the frame: the
fields come out of what Sequoia returns as verified, so text outside the signed part, or a header inside the frame,
can't speak. A file with such text is refused all the same, since no archive makes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from builder.errors import IntegrityError

if TYPE_CHECKING:
    from pysequoia import Cert

MAX_INRELEASE = 4 << 20
"""Bytes; sid's is 190 KiB."""

_MAX_FILES = 50_000
_MAX_LISTED = 1 << 40

_FRAME = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash: [A-Za-z0-9, -]+\n)*\n"
    rb"(?P<text>.+)\n"
    rb"-----BEGIN PGP SIGNATURE-----\n(?P<signature>[A-Za-z0-9+/=:. \n-]+)\n-----END PGP SIGNATURE-----\n*",
    re.DOTALL,
)
_MARKER = re.compile(rb"^-----", re.MULTILINE)
_MARKERS = 3
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)", re.ASCII)
_LISTED = re.compile(r" ([0-9a-f]{64}) +([0-9]{1,13}) ([!-~]+)", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9.+/-]*", re.ASCII)
_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([0-9]{4}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:UTC|GMT|\+0000)",
    re.ASCII,
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MIRROR = "the mirror is broken or hostile: set KBUILD_DEBIAN_MIRROR to another one, or try later"
_STALE = "use a mirror that is up to date, and check this machine's clock"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a release names: hex SHA-256 and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """The verified content of an `InRelease`.

    `files` is keyed by path relative to the suite's folder, as in `main/binary-amd64/Packages.xz`. `signed_by` holds
    the fingerprints of the shipped certificates whose signature is good, sorted.
    """

    codename: str
    suite: str
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    architectures: tuple[str, ...]
    files: Mapping[str, Listed]
    signed_by: tuple[str, ...]


def verify_inrelease(data: bytes, certs: Sequence[Cert], *, asked: str, now: datetime | None) -> Release:
    """Check the signature of an `InRelease` and read it.

    Args:
        data: the whole file.
        certs: the certificates to believe. One that is revoked, or expired at `now`, is not.
        asked: the suite that was asked for, by codename (`trixie`) or by suite name (`stable`).
        now: the moment at which the file must be in force; None when it comes from an archive of the past, where an
            expired `Valid-Until`, or a certificate that has expired since it signed, is as it should be.

    Raises:
        IntegrityError: no good signature by a given certificate, not in force, another suite's, or malformed.
    """
    where = f"InRelease of {asked}"
    if len(data) > MAX_INRELEASE:
        raise IntegrityError(f"the file is larger than {MAX_INRELEASE} bytes", where=where, hint=_MIRROR)
    _check_frame(data, where)
    text, signed_by = _verified(data, certs, where, now)
    try:
        release = _read(text, signed_by)
    except ValueError as error:
        raise IntegrityError(f"signed, but malformed: {error}", where=where, hint=_MIRROR) from error
    if asked not in (release.codename, release.suite):
        raise IntegrityError(
            f"the file is of {release.codename} ({release.suite}), not of {asked}", where=where, hint=_MIRROR
        )
    if now is not None and release.valid_until is not None and release.valid_until < now:
        raise IntegrityError(
            f"the file was valid until {release.valid_until:%Y-%m-%d %H:%M:%S} UTC only", where=where, hint=_STALE
        )
    return release


def _check_frame(data: bytes, where: str) -> None:
    """One cleartext-signed message and not a byte around it."""
    if _FRAME.fullmatch(data) is None or len(_MARKER.findall(data)) != _MARKERS or b"\r" in data or b"\0" in data:
        what = "has text around its signed part" if b"-----BEGIN PGP SIGNED" in data else "is not signed"
        if b"-----BEGIN PGP SIGNATURE" not in data:
            what = "is not signed"
        raise IntegrityError(f"the file {what}, or is not an InRelease at all", where=where, hint=_MIRROR)


def _verified(data: bytes, certs: Sequence[Cert], where: str, now: datetime | None) -> tuple[bytes, tuple[str, ...]]:
    """The bytes that a good signature covers, and who made it."""
    from pysequoia import verify  # noqa: PLC0415  # a large shared object, wanted only when a lock is written

    believed = [cert for cert in certs if not cert.is_revoked and not _expired(cert, now)]
    try:
        result = verify(bytes=data, store=lambda _ids: believed)
    except Exception as error:
        # Sequoia's messages end in a backtrace of its own; only the first line is for people.
        reason = str(error).partition("\n")[0].rstrip(". ") or "unreadable"
        raise IntegrityError(
            f"no good signature by a Debian archive key: {reason}",
            where=where,
            hint=f"{_MIRROR}; for a release newer than this kbuild, update kbuild, which ships the keys",
        ) from error
    fingerprints = {cert.fingerprint for cert in believed}
    signed_by = tuple(sorted({sig.certificate for sig in result.valid_sigs} & fingerprints))
    if not signed_by or result.bytes is None:
        raise IntegrityError("no good signature by a Debian archive key", where=where, hint=_MIRROR)
    return result.bytes, signed_by


def _expired(cert: Cert, now: datetime | None) -> bool:
    return now is not None and cert.expiration is not None and cert.expiration <= now


def parse_date(text: str) -> datetime:
    """Read a `Date`, in Debian's one form and in English whatever the locale.

    Raises:
        ValueError: it is of another form, or no such moment exists.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:60]!r} is not a date like 'Sat, 12 Sep 2026 07:55:41 UTC'")
    weekday, day, month, year, hour, minute, second = found.groups()
    moment = datetime(
        int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
    )  # fmt: skip
    if _DAYS[moment.weekday()] != weekday:
        raise ValueError(f"{text!r} was not a {weekday}")
    return moment


def _read(text: bytes, signed_by: tuple[str, ...]) -> Release:
    fields: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.decode("utf-8").split("\n"):
        if line.startswith(" ") and lines is not None:
            lines.append(line)
        elif found := _FIELD.fullmatch(line):
            name = found[1].lower()
            if name in fields:
                raise ValueError(f"field {found[1]} stands twice")
            lines = fields[name] = [found[2].strip()]
        elif line:
            raise ValueError(f"line {line[:60]!r} is neither a field nor the rest of one")
    return Release(
        codename=_name(fields, "codename"),
        suite=_name(fields, "suite"),
        date=parse_date(_one(fields, "date")),
        valid_until=parse_date(_one(fields, "valid-until")) if "valid-until" in fields else None,
        by_hash=fields.get("acquire-by-hash", [""])[0].lower() == "yes",
        architectures=tuple(fields.get("architectures", [""])[0].split()),
        files=_listed(fields.get("sha256", [])[1:]),
        signed_by=signed_by,
    )


def _one(fields: dict[str, list[str]], name: str) -> str:
    value = fields.get(name)
    if value is None:
        raise ValueError(f"field {name} is missing")
    if len(value) > 1:
        raise ValueError(f"field {name} has more than one line")
    return value[0]


def _name(fields: dict[str, list[str]], field: str) -> str:
    value = _one(fields, field)
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value[:60]!r} is not a name for {field}")
    return value


def _listed(lines: list[str]) -> dict[str, Listed]:
    if not lines:
        raise ValueError("it has no SHA256 list")
    if len(lines) > _MAX_FILES:
        raise ValueError(f"it lists more than {_MAX_FILES} files")
    files: dict[str, Listed] = {}
    for line in lines:
        found = _LISTED.fullmatch(line)
        if found is None or int(found[2]) > _MAX_LISTED:
            raise ValueError(f"line {line[:120]!r} is not a hash, a size and a path")
        entry = Listed(found[1], int(found[2]))
        if files.setdefault(found[3], entry) != entry:
            raise ValueError(f"{found[3]} is listed twice and differently")
    return files
