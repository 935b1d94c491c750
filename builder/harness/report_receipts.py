"""Receipts on the page: a few facts that people look for, then the whole text.

A receipt comes from a host. Nothing is taken from it but strings and whole numbers, and nothing is trusted to be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from builder.harness.verdict import HostRun
from builder.spec.findings import printable

LONGEST: Final = 64 << 10
"""Characters of a receipt's text on a page; a host could fill it with megabytes."""

_LONGEST_FACT: Final = 2000

_BYTES: Final = frozenset({"memory", "peak_memory"})


@dataclass(frozen=True, slots=True)
class Shown:
    """One run's receipt as the page shows it; `cut` tells that `text` is not all of it."""

    run: HostRun
    host: tuple[tuple[str, str], ...]
    durations: tuple[tuple[str, str], ...]
    text: str
    cut: bool


def shown(run: HostRun) -> Shown | None:
    """A run's receipt, if it left one."""
    if run.receipt is None:
        return None
    text = json.dumps(run.receipt, indent=2, ensure_ascii=True, default=str)  # no character can reorder what is shown
    return Shown(
        run,
        tuple(_facts(run.receipt.get("host"))),
        tuple((name, f"{int(value) / 1e6:.3f} s") for name, value in _numbers(run.receipt.get("microseconds"))),
        text[:LONGEST],
        len(text) > LONGEST,
    )


def what_ran(runs: Iterable[HostRun]) -> list[tuple[str, str, bool]]:
    """What all honest receipts share, from the first: name, value, and whether that is a hash."""
    result = next((run.receipt["result"] for run in runs if run.verdict.delivered and run.receipt), None)
    wanted = (
        ("Kernel", _at(result, "kernel", "name"), False),
        ("Version", _at(result, "kernel", "version"), False),
        ("Profile", _at(result, "profile", "name"), False),
        ("Threads", _at(result, "profile", "threads"), False),
        ("Seed", _at(result, "seed"), False),
        ("Spec", _at(result, "spec"), True),
        ("Program", _at(result, "program"), True),
        ("Inputs", _at(result, "inputs", "sha256"), True),
    )
    return [(name, text, hashed) for name, value, hashed in wanted if (text := _text(value)) is not None]


def _facts(host: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(host, Mapping):
        return
    for name, value in host.items():
        if text := _fact(str(name), value):
            yield printable(str(name)), text


def _fact(name: str, value: Any) -> str | None:
    if isinstance(value, list):
        return " ".join(filter(None, (_text(item) for item in value[:400])))
    if isinstance(value, Mapping):
        return _text(json.dumps(value, ensure_ascii=True, default=str))
    return f"{value / 2**30:.1f} GiB" if name in _BYTES and type(value) is int else _text(value)


def _numbers(value: Any) -> Iterable[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, number in value.items():
            if type(number) is int and 0 <= number < 1 << 53:
                yield printable(str(name)), number


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str | None:
    """A string or a whole number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return printable(str(value)[:_LONGEST_FACT])
