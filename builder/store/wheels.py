"""Where the machine's package index keeps a wheel that a lock names.

The lock knows a wheel's file name and hash but no URL, and indexes differ in where they keep files, so the index is
asked, through `uv`: one `uv pip compile --no-deps` over `project==version` lists every wheel of that version as
`pylock.toml` (PEP 751). `--universal` keeps those of other platforms in.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import tomli

from builder.errors import EnvironmentFault, FetchError, IntegrityError, LockError
from builder.store.attempt import NETWORK_HINT
from builder.store.client import redacted
from builder.store.indexes import NOWHERE, PLACES, local_folder, places
from builder.store.transfer import Wanted

_TIMEOUT = 300
"""Seconds for one call of uv, which has its own timeouts and retries; a stuck one must not hold a build for ever."""

_PYTHONS = ("3.13", "3.12", "3.14", "3.11", "3.10")
"""Versions to ask as, for projects whose wheels name none: `Requires-Python` can be bounded on both sides."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A wheel that an index has."""

    file: str
    sha256: str
    url: str


class _NoAnswer(Exception):  # one view of the indexes gives none; never leaves this module
    """Asking was not possible, so asking in another way is pointless."""


def locate(wheels: Sequence[Wanted], environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Ask the machine's indexes where wheels are.

    Args:
        wheels: which; the `path` of each is `<project>/<file name>`.
        environment: from `builder.store.indexes.uv_environment`.

    Returns:
        Hex SHA-256 to URLs.

    Raises:
        IntegrityError: an index has the file under that name, but with another hash.
        FetchError: no index has it; holds what uv said.
        LockError: a file name is not that of a wheel.
        EnvironmentFault: uv cannot be run.
    """
    found = {wheel.sha256: urls for wheel in wheels if (urls := _beside(wheel, environment))}
    offers: dict[str, list[Offer]] = {}
    complaints: list[str] = []
    for view in _views(environment):
        missing = [wheel for wheel in wheels if wheel.sha256 not in found]
        if not missing:
            return found
        try:
            answers = _ask_all(missing, view, complaints)
        except _NoAnswer as error:
            complaints.append(str(error))
            continue
        for offer in answers:
            offers.setdefault(offer.file, []).append(offer)
        for wheel in missing:
            if fit := [offer.url for offer in offers.get(_file(wheel), []) if offer.sha256 == wheel.sha256]:
                found[wheel.sha256] = tuple(dict.fromkeys(_with_credentials(url, environment) for url in fit))
    missing = [wheel for wheel in wheels if wheel.sha256 not in found]
    if missing:
        raise _not_found(missing, offers, complaints)
    return found


def _file(wheel: Wanted) -> str:
    return wheel.path.rpartition("/")[2]


def _beside(wheel: Wanted, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Files of that name and size in the machine's own folders of wheels: no need to ask anyone."""
    folders = [folder for place in places(environment) if (folder := local_folder(place.url))]
    files = [folder / _file(wheel) for folder in folders]
    return tuple(str(file) for file in files if file.is_file() and file.stat().st_size == wheel.size)


def _views(environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """All indexes together, then each on its own: of a version that several have, uv lists the files of one only."""
    yield environment
    several = places(environment)
    rest = {name: value for name, value in environment.items() if name not in PLACES}
    if not any(place.variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL") for place in several):
        if not several:
            return
        yield rest
    elif len(several) == 1:
        return
    for place in several:
        if place.url != NOWHERE:
            yield rest | place.alone


def _ask_all(wheels: Sequence[Wanted], environment: Mapping[str, str], complaints: list[str]) -> list[Offer]:
    """All offers for some wheels: in as few calls as can be, and one by one where a batch has no answer."""
    offers: list[Offer] = []
    for python, requirements in batches(wheels):
        answer = _ask(requirements, python, environment, complaints)
        if answer is not None:
            offers += answer
            continue
        for requirement in requirements:
            for version in dict.fromkeys((python, *_PYTHONS)):
                answer = _ask([requirement], version, environment, complaints)
                if answer is not None:
                    offers += answer
                    break
    return offers


def batches(wheels: Sequence[Wanted]) -> list[tuple[str, list[str]]]:
    """Requirements by the Python version to ask as, each project at most once per batch. Pure.

    Raises:
        LockError: a file name is not that of a wheel.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415

    common = next(filter(None, (exact_python(_file(wheel)) for wheel in wheels)), _PYTHONS[0])
    keyed = set()
    for wheel in wheels:
        try:
            project, version, _, _ = parse_wheel_filename(_file(wheel))
        except InvalidWheelFilename as error:
            raise LockError(f"{wheel.path} is not the path of a wheel: {error}", where=wheel.name) from error
        keyed.add((exact_python(_file(wheel)) or common, project, str(version)))
    result: list[tuple[str, list[str]]] = []
    for python, group in groupby(sorted(keyed), key=lambda item: item[0]):
        rounds: list[dict[str, str]] = []
        for _, project, release in group:
            free = next((batch for batch in rounds if project not in batch), None)
            if free is None:
                rounds.append(free := {})
            free[project] = f"{project}=={release}"
        result += [(python, list(batch.values())) for batch in rounds]
    return result


def exact_python(file: str) -> str | None:
    """`3.13` for a wheel that fits CPython 3.13 only; None for one that fits several."""
    tags = file.removesuffix(".whl").split("-")[-3:-1]
    match = re.fullmatch(r"cp3(\d{1,3})", tags[0]) if len(tags) == 2 and tags[1].startswith("cp3") else None  # noqa: PLR2004
    return f"3.{match[1]}" if match else None


def _ask(
    requirements: Sequence[str], python: str, environment: Mapping[str, str], complaints: list[str]
) -> list[Offer] | None:
    """One call of uv; None if there is no such wheel, with what it said added to `complaints`."""
    command = [_uv(), "pip", "compile", "--no-config", "--quiet", "--no-deps", "--no-header", "--universal"]
    command += ["--only-binary", ":all:", "--format", "pylock.toml", "--python-version", python]
    command += ["--python", sys.executable, "-"]
    with tempfile.TemporaryDirectory(prefix="kbuild-") as nowhere:  # away from any project's settings
        try:
            done = subprocess.run(
                command,
                input="\n".join(requirements) + "\n",
                env=dict(environment),
                cwd=nowhere,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _NoAnswer(f"uv did not answer within {_TIMEOUT} seconds") from error
        except OSError as error:
            raise _no_uv(str(error)) from error
    if done.returncode == 1:  # no solution
        complaints.append(done.stderr.strip())
        return None
    if done.returncode != 0:
        raise _NoAnswer(done.stderr.strip())
    return read_offers(done.stdout)


def read_offers(pylock: str) -> list[Offer]:
    """Every wheel in a `pylock.toml`.

    Raises:
        EnvironmentFault: it is not of that format.
    """
    from packaging.pylock import Pylock, PylockValidationError  # noqa: PLC0415  # only who fetches pays for it

    try:
        lock = Pylock.from_dict(tomli.loads(pylock))
        return [
            Offer(wheel.filename, wheel.hashes.get("sha256", ""), wheel.url or Path(wheel.path or "").as_posix())
            for package in lock.packages
            for wheel in package.wheels or ()
        ]
    except (PylockValidationError, ValueError) as error:
        raise _no_uv(f"its answer cannot be understood: {error}") from error


def _uv() -> str:
    try:
        import uv  # noqa: PLC0415  # only who fetches pays for it

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise _no_uv("it is not installed beside kbuild") from error


def _no_uv(why: str) -> EnvironmentFault:
    return EnvironmentFault(f"uv cannot be used: {why}", hint="install kbuild again; its wheel brings uv along")


def _with_credentials(url: str, environment: Mapping[str, str]) -> str:
    """A wheel's URL with the credentials of the index on the same server, which uv leaves out of its answer."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.scheme not in ("http", "https"):
        return url
    for place in places(environment):
        user, _, host = urlsplit(place.url).netloc.rpartition("@")
        if place.name and not user:
            key = re.sub(r"[^A-Z0-9]", "_", place.name.upper())
            login = [environment.get(f"UV_INDEX_{key}_{what}", "") for what in ("USERNAME", "PASSWORD")]
            user = ":".join(quote(part, safe="") for part in login) if any(login) else ""
        if user and host == parts.netloc:
            return urlunsplit(parts._replace(netloc=f"{user}@{host}"))
    return url


def _not_found(
    missing: Sequence[Wanted], offers: Mapping[str, list[Offer]], complaints: Sequence[str]
) -> FetchError | IntegrityError:
    changed = [(wheel, offer) for wheel in missing for offer in dict.fromkeys(offers.get(_file(wheel), []))]
    if changed:
        lines = [
            f"{wheel.name} {wheel.version} ({_file(wheel)}): expected SHA-256 {wheel.sha256}, "
            f"got {offer.sha256} from {redacted(offer.url)}"
            for wheel, offer in changed
        ]
        return IntegrityError(
            "the index has other wheels than the lock names\n" + "\n".join(lines),
            where=", ".join(dict.fromkeys(wheel.name for wheel, _ in changed)),
            hint="try another index; if the new files are right, run `kbuild lock --upgrade`",
        )
    said = "\n".join(dict.fromkeys(filter(None, complaints))) or "its indexes do not list these files"
    return FetchError(
        f"the machine's package index does not have {', '.join(_file(wheel) for wheel in missing)}\n{said}",
        where=", ".join(dict.fromkeys(wheel.name for wheel in missing)),
        hint=NETWORK_HINT,
    )
