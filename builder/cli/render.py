"""How answers and errors look to a person: colour on a terminal that wants it, plain words elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
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
        stderr=True, no_color=not wanted, force_terminal=wanted or None, highlight=False, soft_wrap=not wanted
    )


def report_error(error: KbuildError, *, as_json: bool) -> None:
    """Say on stderr what is wrong and what to do; with `--json` also as an object on stdout."""
    if as_json:
        body = {"error": {"message": error.message, "where": error.where, "hint": error.hint, "code": error.exit_code}}
        print(json.dumps(body, ensure_ascii=False))
    text = error.diagnostics()
    if text.startswith("error: "):  # a report of several findings carries its own headings
        text = text.removeprefix("error: ")
    red, cyan, bold, off = ("\x1b[1;31m", "\x1b[36m", "\x1b[1m", "\x1b[0m") if colour(sys.stderr) else ("",) * 4
    lines = text.splitlines() or [""]
    print(f"{red}error{off}: {bold}{lines[0]}{off}", file=sys.stderr)
    for line in lines[1:]:
        if line.startswith("hint: "):
            print(f"{cyan}hint{off}: {line.removeprefix('hint: ')}", file=sys.stderr)
        elif line.startswith("error: "):
            print(f"{red}error{off}: {bold}{line.removeprefix('error: ')}{off}", file=sys.stderr)
        else:
            print(line, file=sys.stderr)


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
