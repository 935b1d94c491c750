"""`kbuild doctor [SPEC|DIGEST]`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.hosts.gate import Requirement

_WIDE = 1000
"""Columns where nobody looks on: a log is searched by line, so rows stay whole."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument(
        "kernel", metavar="SPEC|DIGEST", nargs="?",
        help="hold this machine to what a kernel or an image in the store needs (default: to what kbuild needs)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Show what is needed, what was found and what to do; exit 3 if something that must be there is not."""
    from builder.errors import EnvironmentFault

    found = _kernel(options.kernel) if options.kernel else _kbuild()
    ready = all(item.met or item.optional for item in found)
    if options.json:
        checks = [asdict(item) for item in found]
        print(json.dumps({"schema": "kbuild.doctor/1", "ready": ready, "checks": checks}))
    else:
        if not options.quiet:
            _table(found)
        print("ready" if ready else "not ready")
    return 0 if ready else EnvironmentFault.exit_code


def _kbuild() -> Sequence[Requirement]:
    from builder.hosts.doctor import examine
    from builder.machine import from_environment

    return tuple(examine(from_environment(os.environ), os.environ))


def _kernel(named: str) -> Sequence[Requirement]:
    from builder.hosts.gate import requirements
    from builder.hosts.offer import this_machine

    if re.fullmatch(r"(sha256:)?[0-9a-f]{6,64}", named) and not Path(named).exists():
        from builder.machine import from_environment
        from builder.pipeline.requirements import spec_of
        from builder.store.blobs import Store

        spec = spec_of(Store(from_environment(os.environ).store), named)
    else:
        from builder.cli.paths import spec_path
        from builder.determinism.check import checked

        spec = checked(spec_path(Path(named)))
    return requirements(spec, this_machine())


def _table(found: Sequence[Requirement]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from builder.cli.appearance import console
    from builder.spec.findings import printable

    lacking = any(not item.met for item in found)
    grid = Table(box=box.SIMPLE_HEAD if sys.stderr.isatty() else box.ASCII2, pad_edge=False)
    for column in ("", "needed", "found", "", *(["what to do"] if lacking else [])):
        grid.add_column(column, overflow="fold")
    for item in found:
        word, style = verdict(item)
        cells = [Text(printable(cell)) for cell in (item.name, item.needed, item.found)]
        remedy = [Text("" if item.met else printable(item.remedy))] if lacking else []
        grid.add_row(*cells, Text(word, style), *remedy)
    out = console()
    if not sys.stderr.isatty():
        out.width = _WIDE  # the table itself is as wide as its cells
    out.print(grid)


def verdict(item: Requirement) -> tuple[str, str]:
    """A requirement's verdict in a word, and its style."""
    if item.met:
        return "yes", "green"
    return ("without", "yellow") if item.optional else ("no", "bold red")
