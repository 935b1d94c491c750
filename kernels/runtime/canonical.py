"""Canonical JSON (RFC 8785) of the values that the protocol uses: no fractions, so no number formatting to agree on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

LARGEST = 2**53 - 1
"""Integers beyond this are not safe in JSON (RFC 8785 section 3.2.2.3, RFC 7493)."""


def dumps(value: Any) -> bytes:
    """The canonical UTF-8 text of a value made of dict, list, tuple, str, int, bool and None.

    Raises:
        TypeError: the value holds something else, a float for example.
        ValueError: an integer is beyond `LARGEST`, or a string is not Unicode (a lone surrogate).
    """
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def sha256(value: Any) -> str:
    """Hex SHA-256 of the canonical text."""
    return hashlib.sha256(dumps(value)).hexdigest()


def _ordered(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError(f"{value} is beyond what JSON numbers hold exactly")
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        # RFC 8785 section 3.2.3: keys sort by their UTF-16 code units.
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    raise TypeError(f"canonical JSON has no place for a {type(value).__name__}")
