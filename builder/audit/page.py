"""An audit as one self-contained HTML page. Pure: the same audits give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from builder.audit.ahead import Program, described
from builder.audit.gate import readable
from builder.audit.image import Contents, Library
from builder.audit.reached import Recording
from builder.audit.scan import Audit
from builder.audit.traits import EVERYWHERE, MEANINGS, REFUSED, Trait
from builder.pages import environment, style
from builder.platforms import Platform

MOST: Final = 400
"""Rows of functions per library: the page is for eyes; `--json` has all."""


def page(
    digest: str, platforms: Mapping[Platform, Contents], recordings: Mapping[Platform, Recording] | None = None
) -> str:
    """Render what `builder.audit.image.contents` found for each platform, and what runs of them reached."""
    templates = environment()
    templates.filters |= {"short": _short, "tally": _tally, "readable": readable}
    return templates.get_template("audit.html.j2").render(
        **style(),
        digest=digest,
        platforms=[_platform(name, held, (recordings or {}).get(name)) for name, held in sorted(platforms.items())],
        traits=EVERYWHERE,
        meanings=MEANINGS,
        refused=REFUSED,
    )


def _platform(name: Platform, held: Contents, recording: Recording | None) -> dict[str, Any]:
    return {
        "name": name,
        "libraries": [_library(item) for item in held.libraries],
        "instructions": sum(item.audit.instructions for item in held.libraries),
        "unread": held.unread,
        "programs": [_program(item) for item in held.programs],
        "recording": recording,
    }


def _library(library: Library) -> dict[str, Any]:
    rows = _rows(library.audit)
    return {
        "path": library.path,
        "layer": library.layer,
        "audit": library.audit,
        "tally": library.audit.tally(),
        "rows": rows[:MOST],
        "more": max(0, len(rows) - MOST),
    }


def _program(program: Program) -> dict[str, Any]:
    found: dict[tuple[Trait, str], list[str]] = {}
    for item in program.audit.findings:
        found.setdefault((item.trait, item.function), []).append(f"{item.count} {item.mnemonic}")
    rows = [(trait, described(program, function), ", ".join(names)) for (trait, function), names in found.items()]
    return {"program": program, "tally": program.audit.tally(), "rows": rows[:MOST], "more": max(0, len(rows) - MOST)}


def _rows(audit: Audit) -> list[tuple[Trait, str, str]]:
    """Trait, function and its instructions; multiply-adds are counted only, since any source may mean them."""
    found: dict[tuple[Trait, str, int], list[str]] = {}
    for item in audit.findings:
        if item.trait is not Trait.FMA:
            found.setdefault((item.trait, item.function, item.start), []).append(f"{item.count} {item.mnemonic}")
    return [(trait, readable(function), ", ".join(names)) for (trait, function, _), names in found.items()]


def _short(path: str) -> str:
    return PurePosixPath(path).name.partition(".cpython-")[0]


def _tally(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {getattr(name, 'value', name)}" for name, count in counts.items())
