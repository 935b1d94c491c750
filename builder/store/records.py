"""The bytes of a record: JSON under a seal, so that damage reads as absence and never as another value."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def dump_record(value: dict[str, Any]) -> bytes:
    """A record file's bytes."""
    return json.dumps({"seal": _seal(value), "value": value}, sort_keys=True).encode()


def parse_record(data: bytes) -> dict[str, Any] | None:
    """The value in a record file's bytes, or None if they are damaged."""
    try:
        record = json.loads(data)
        value, seal = record["value"], record["seal"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict) and seal == _seal(value) else None


def _seal(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
