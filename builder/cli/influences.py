"""`kbuild influences [SPEC]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from builder.platforms import NAMES

if TYPE_CHECKING:
    from builder.determinism.held import Holding

_WIDE = 1000
"""Columns where nobody looks on: a log is searched by line, so rows stay whole."""

_STYLES = {"pinned": "green", "held": "green", "overridden": "bold yellow", "unpinned": "bold red", "open": "red"}


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument(
        "spec", metavar="SPEC", nargs="?", type=Path,
        help="say how this kernel holds each (default: how the profile `pinned` does)",
    )  # fmt: skip
    verb.add_argument("--platform", choices=tuple(NAMES), help="default: the spec's first")


def run(options: argparse.Namespace) -> int:
    """Show every factor that can move a bit, and how it is held, checked and varied; print those that nothing holds."""
    from builder.cli.paths import spec_path
    from builder.determinism.check import checked
    from builder.determinism.held import How, holdings, nobodys, overrides

    spec = checked(spec_path(options.spec)) if options.spec else nobodys()
    platform = options.platform or spec.kernel.platforms[0]
    found = holdings(spec, platform)
    if options.json:
        rows = [{**asdict(item.influence), "how": item.how, "values": dict(item.values)} for item in found]
        replaced = [asdict(item) for item in overrides(spec, platform)]
        body = {"schema": "kbuild.influences/1", "platform": platform, "influences": rows, "overrides": replaced}
        print(json.dumps(body))
        return 0
    if not options.quiet:
        _table(found, platform)
    for item in found:
        if item.how not in {How.PINNED, How.HELD}:
            print(item.influence.name)
    return 0


def _table(found: Sequence[Holding], platform: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from builder.cli.appearance import console

    terminal = sys.stderr.isatty()
    grid = Table(box=box.SIMPLE_HEAD if terminal else box.ASCII2, pad_edge=False, title=platform, title_justify="left")
    for name, share in (("influence", 4), ("acts on", 5), ("held", 7), ("checked in a run", 5), ("varied by verify", 4),
                        ("bits moved", 5)):  # fmt: skip
        grid.add_column(name, overflow="fold", ratio=share)
    for item in found:
        row = item.influence
        how = Text(item.how, _STYLES[item.how])
        values = "".join(f"\n{name}={value}" for name, value in item.values.items())
        how.append(values or (f": {row.held}" if row.held else ""), "default")
        moved = Text(f"{row.seen}: {row.evidence}")
        named = Text(row.name, "bold").append(f"\n{row.factor}", "not bold")
        grid.add_row(named, row.acts, how, row.checked or "-", row.varied or "-", moved)
    out = console()
    if not terminal:
        out.width = _WIDE
    out.print(grid)
