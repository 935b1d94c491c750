"""Trees written down as mtree files, with the bytes that they need beside them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.render.mtree import Item, mtree

TEMPLATES = Path(__file__).parents[2] / "templates" / "render"


@dataclass(frozen=True)
class Said:
    code: int
    stdout: str
    stderr: str


def lay(*words: str | Path, timeout: float = 30) -> Said:
    """The program as it is run: isolated, without site-packages."""
    line = [sys.executable, "-I", "-S", "-B", str(TEMPLATES / "lay.py"), *map(str, words)]
    run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=timeout)
    return Said(run.returncode, run.stdout, run.stderr)


def written(entries: Sequence[Entry], folder: Path) -> Path:
    """A tree as an mtree file in a new folder, its contents below `files/` there."""
    items = []
    (folder / "files").mkdir(parents=True)
    for number, entry in enumerate(ordered(entries)):
        item = Item(entry)
        if entry.kind is Kind.FILE:
            with entry.source() as stream:
                data = stream.read()
            (folder / "files" / str(number)).write_bytes(data)
            item = Item(entry, hashlib.sha256(data).hexdigest(), f"files/{number}" if data else "")
        items.append(item)
    path = folder / "tree.mtree"
    path.write_text(mtree(items))
    return path
