"""Whether what a run left can be relied on: a host may crash half-way, and it may lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import IntegrityError, UsageError
from builder.harness.compare.identity import describe
from builder.hosts.exchange import RECEIPT
from builder.hosts.host import Runnable
from builder.hosts.receipt import Claim, read, require

SAME = ("spec", "kernel", "seed", "x64", "inputs")
"""Parts of a receipt that all honest runs of one case share, whatever the platform."""

SAME_IMAGE = ("protocol", "image", "index", "platform", "profile", "versions", "program", "code")
"""Parts that all honest runs of one image share."""


def untrue(image: Runnable, folder: Path) -> str | None:
    """Why a finished run cannot be relied on, or None.

    Args:
        image: what was to run.
        folder: what it delivered.
    """
    claim = Claim(image=image.digest, index=image.index, platform=image.platform)
    try:
        receipt = read(folder / RECEIPT)
        require(receipt, claim, where="the run")
        found = describe(folder)
    except (IntegrityError, UsageError) as error:
        return error.message
    if receipt.result.outputs is None:
        return "its receipt names no outputs"
    claimed = receipt.result.outputs.model_dump()
    return None if claimed == found else _how(claimed["tensors"], found["tensors"])


def at_odds(receipt: Mapping[str, Any], reference: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """In what else than its outputs a run differs from the one it is to be compared with, or None.

    Two such runs did not do the same thing, and so their outputs say nothing about each other.
    """
    mine, others = receipt["result"], reference["result"]
    odd = [name for name in names if mine.get(name) != others.get(name)]
    return f"its receipt has another {', '.join(odd)} than the reference's" if odd else None


def numerics(receipt: Mapping[str, Any]) -> tuple[Any, Any]:
    """By which numbers a run says it computed: its profile, and the numeric specification's version."""
    profile = receipt["result"]["profile"]
    return profile.get("name"), profile.get("numerics")


def _how(claimed: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if claimed.keys() != found.keys():
        return f"its receipt names the outputs {_list(claimed)}, and the file has {_list(found)}"
    wrong = [name for name in sorted(found) if claimed[name] != found[name]]
    return f"the bytes of {_list(wrong)} are not those that its receipt names"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
