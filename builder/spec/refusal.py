"""Why a value is refused, and how a message names a value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

_SHOWN = 60
"""Characters of a value that a message repeats."""


class Refusal(NamedTuple):
    """Why something is refused, and what to do instead."""

    message: str
    hint: str | None


def quoted(text: str) -> str:
    """A string in quotes, cut where it gets long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def shown(value: object) -> str:  # noqa: PLR0911 - one per TOML type
    """A value as a message names it: short, and with its TOML type where that is not plain to see."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case int() if abs(value) >= 10**20:
            return "a number of more than 20 digits"
        case int():
            return str(value)
        case float():
            return repr(value)
        case dt.date() | dt.time():
            return f"the date or time {value.isoformat()}"
        case Mapping():
            return "a table"
        case _:
            return "an array"
