"""What a traced run is asked for: `/io/in/.trace.json` (docs/trace.md, "Request")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kernels.runtime.errors import InputError

VERSION: Final = 1
LONGEST: Final = 1 << 16
"""Bytes of a request."""

WINDOW: Final = 4096
"""Leaves that one trace lists."""

MOST: Final = 64
"""Equations, cuts, segments or iterations that one request may name."""

LARGEST: Final = 2**53 - 1
PATH: Final = r"[0-9]+(/(i[0-9]+|c[0-9]+|b[0-9]*|[0-9]+))*"
ARGUMENT: Final = rf"(params|inputs)\[.{{1,4000}}\]|key|({PATH}/)?const\[[0-9]+\]"


@dataclass(frozen=True, slots=True)
class Hashes:
    """Evaluate equation by equation and hash all of it; list the leaves from `start` to before `stop`."""

    start: int = 0
    stop: int = WINDOW
    mode: Literal["hashes"] = "hashes"


@dataclass(frozen=True, slots=True)
class Operations:
    """As `Hashes`, of a kernel whose operations give the same bits alone as together; the receipt names the root."""

    start: int = 0
    stop: int = WINDOW
    mode: Literal["operations"] = "operations"


@dataclass(frozen=True, slots=True)
class Referee:
    """Evaluate equation by equation, and what these leaves give once more by the referee."""

    equations: tuple[str, ...]
    mode: Literal["referee"] = "referee"


@dataclass(frozen=True, slots=True)
class Values:
    """Evaluate equation by equation and keep what these leaves take and give."""

    equations: tuple[str, ...]
    mode: Literal["values"] = "values"


@dataclass(frozen=True, slots=True)
class Segments:
    """Compile parts of one frame as the plain run does, several operations to a program.

    `cuts` are prefixes, `segments` are parts [a, b) that start from the values at cut a, `iterations` are counts of
    passes through the loop that the frame's last part names. `values` also keeps what the segments take and give.
    """

    frame: str
    cuts: tuple[int, ...] = ()
    segments: tuple[tuple[int, int], ...] = ()
    iterations: tuple[int, ...] = ()
    values: bool = False
    mode: Literal["segments"] = "segments"


Request = Hashes | Operations | Referee | Values | Segments


def read(path: Path) -> Request:
    """The request in a file.

    Raises:
        InputError: it is not of the form that the document gives.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    try:
        return parse(data)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no trace request of version {VERSION} ({error})") from error


def parse(data: bytes) -> Request:
    """Read a request's bytes; malformed ones raise whatever they run into (see `read`)."""
    if len(data) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    document = json.loads(data)
    if not isinstance(document, dict) or document.pop("version", None) != VERSION:
        raise ValueError("no object of this version")
    mode = document.pop("mode", None)
    if mode == "hashes":
        _only(document, {"window"})
        start, stop = _pair(document.get("window", [0, WINDOW]))
        if stop - start > WINDOW:
            raise ValueError(f"a window is at most {WINDOW} leaves")
        return Hashes(start, stop)
    if mode == "operations":
        _only(document, set())
        return Operations()
    if mode == "referee":
        _only(document, {"equations"})
        return Referee(tuple(_path(item, PATH) for item in _list(document["equations"])))
    if mode == "values":
        _only(document, {"equations"})
        return Values(tuple(_path(item, f"{PATH}|{ARGUMENT}") for item in _list(document["equations"])))
    if mode == "segments":
        _only(document, {"frame", "cuts", "segments", "iterations", "values"})
        values = document.get("values", False)
        if not isinstance(values, bool):
            raise TypeError("values is true or false")
        return Segments(
            frame=_path(document.get("frame", ""), f"({PATH})?"),
            cuts=tuple(_count(item) for item in _list(document.get("cuts", []))),
            segments=tuple(_pair(item) for item in _list(document.get("segments", []))),
            iterations=tuple(_count(item) for item in _list(document.get("iterations", []))),
            values=values,
        )
    raise ValueError(f"unknown mode {mode!r}")


def _only(document: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(document.keys() - known):
        raise ValueError(f"unknown key {unknown[0]!r}")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST:
        raise TypeError(f"a list of at most {MOST} is wanted")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise TypeError("a whole number from 0 is wanted")
    return value


def _pair(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004
        raise TypeError("a pair of numbers is wanted")
    start, stop = map(_count, value)
    if start >= stop:
        raise ValueError("a range must not be empty")
    return start, stop


def _path(value: Any, form: str) -> str:
    if not isinstance(value, str) or re.fullmatch(form, value) is None:
        raise ValueError(f"{value!r} is no place in a program")
    return value
