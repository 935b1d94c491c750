"""How answers and errors look to a person: colour on a terminal that wants it, plain words elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from builder.errors import KbuildError


def colour(stream: TextIO) -> bool:
    """Whether `stream` shows colour: NO_COLOR and TERM=dumb say no, FORCE_COLOR yes, else a terminal does."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def console() -> Any:
    """A rich console on stderr."""
    from rich.console import Console

    wanted = colour(sys.stderr)
    return Console(
        stderr=True,
        color_system="auto" if wanted else None,  # None: no bold or dim either
        force_terminal=wanted or None,
        highlight=False,
        soft_wrap=not wanted,
    )


STYLES = {"error": "1;31", "message": "1", "gutter": "1;34", "caret": "1;31", "hint": "36"}
"""ANSI colours of what `builder.spec.findings` tells apart; the rest is plain."""


def report_error(error: KbuildError, *, as_json: bool) -> None:
    """Say on stderr what is wrong and what to do; with `--json` also as an object on stdout."""
    from builder.spec.findings import SpecErrors

    if as_json:
        body: dict[str, Any] = {
            "message": error.message, "where": error.where, "hint": error.hint, "code": error.exit_code,
        }  # fmt: skip
        if isinstance(error, SpecErrors):
            body["findings"] = [asdict(finding) for finding in error.findings]
        print(json.dumps({"error": body}))
    wanted = colour(sys.stderr)
    text = "".join(_painted(style, text) if wanted else text for style, text in _segments(error))
    print(text, end="", file=sys.stderr)


def _segments(error: KbuildError) -> Iterator[tuple[str, str]]:
    """An error in pieces, each with its style; only line breaks are left of what could move a cursor."""
    from builder.spec.findings import SpecErrors, printable, report

    if isinstance(error, SpecErrors):
        yield from report(error.findings)
        return
    first, *more = [printable(line) for line in error.message.splitlines()] or [""]
    where = f"{printable(error.where)}: " if error.where else ""
    yield "error", "error"
    yield "message", f": {where}{first}\n"
    yield from (("source", f"{line}\n") for line in more)
    if error.hint:
        yield "hint", f"hint: {printable(error.hint)}\n"


def _painted(style: str, text: str) -> str:
    """The text in its style, closed before every line break, so that nothing bleeds into the next line."""
    code = STYLES.get(style)
    if code is None:
        return text
    return "\n".join(f"\x1b[{code}m{line}\x1b[0m" if line.strip() else line for line in text.split("\n"))


def human_size(size: float) -> str:
    """Bytes in the largest binary unit that keeps at least one whole digit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 - a unit's size
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table on stderr; `right` are the columns that hold numbers."""
    from rich import box
    from rich.table import Table

    shape = box.SIMPLE_HEAD if colour(sys.stderr) or sys.stderr.isatty() else box.ASCII2
    grid = Table(title=title, title_justify="left", box=shape, pad_edge=False)
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console().print(grid)
