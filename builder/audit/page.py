"""An audit as one self-contained HTML page. Pure: the same audits give the same bytes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from builder.audit.gate import readable
from builder.audit.image import Contents, Library
from builder.audit.scan import Audit
from builder.audit.traits import EVERYWHERE, MEANINGS, REFUSED, Trait
from builder.platforms import Platform
from builder.resources import shipped
from builder.spec.findings import printable

if TYPE_CHECKING:
    from jinja2 import Environment

MOST: Final = 400
"""Rows of functions per library: the page is for eyes; `--json` has all."""


def page(digest: str, platforms: Mapping[Platform, Contents]) -> str:
    """Render what `builder.audit.image.contents` found for each platform of an image."""
    found = [
        (platform, [_shown(item) for item in held.libraries], held.unread)
        for platform, held in sorted(platforms.items())
    ]
    return (
        _templates()
        .get_template("audit.html.j2")
        .render(digest=digest, platforms=found, traits=EVERYWHERE, meanings=MEANINGS, refused=REFUSED)
    )


def _shown(library: Library) -> dict[str, Any]:
    rows = _rows(library.audit)
    return {
        "path": library.path,
        "layer": library.layer,
        "audit": library.audit,
        "tally": library.audit.tally(),
        "rows": rows[:MOST],
        "more": max(0, len(rows) - MOST),
    }


def _rows(audit: Audit) -> list[tuple[Trait, str, str]]:
    """Trait, function and its instructions; multiply-adds are counted only, since any source may mean them."""
    found: dict[tuple[Trait, str], list[str]] = {}
    for item in audit.findings:
        if item.trait is not Trait.FMA:
            found.setdefault((item.trait, item.function), []).append(f"{item.count} {item.mnemonic}")
    return [(trait, readable(function), ", ".join(names)) for (trait, function), names in found.items()]


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only a page needs it

    return Environment(
        loader=FileSystemLoader(shipped("templates")),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
