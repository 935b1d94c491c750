"""What kbuild's HTML pages have in common. Nothing that a host or an image wrote is taken for markup.

Everything is escaped by the template engine, and stripped of characters that reorder text. A page forbids itself
scripts, frames, forms and all loading; its one style sheet is allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.resources import shipped
from builder.spec.findings import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """An engine for the shipped templates, to which a page may add filters and globals of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only a page needs it

    return Environment(
        loader=FileSystemLoader(shipped("templates")),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def style() -> Mapping[str, str]:
    """The style sheet, and its hash as a content security policy has it."""
    text = (shipped("templates") / "report.css").read_text("utf-8")
    return {"style": text, "style_digest": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}


def _fit(value: Any) -> Any:
    """What the template writes: strings without controls and without characters that reorder the text around them."""
    if type(value) is not str:  # not the engine's own Markup, which has been through here
        return value
    return "\n".join(printable(line) for line in value.split("\n"))
