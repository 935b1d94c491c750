"""How long the parts of a program are, as the list of its leaves tells: what to ask for first, and what it costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from builder.harness.trace import ARGUMENTS, Hashes

_VARIABLE: Final = re.compile(r"[icb][0-9]*")


@dataclass(frozen=True, slots=True)
class Outline:
    """The shape of a program's run.

    Attributes:
        frames: by a frame's path, how many operations each of its equations stands for, loops with all of their passes.
        passes: by a loop's path, how many passes it made.
    """

    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    passes: Mapping[str, int] = field(default_factory=dict)


UNKNOWN: Final = Outline()


def outline(trace: Hashes) -> Outline:
    """The outline of a traced run; `UNKNOWN` where it does not list all of its leaves."""
    if trace.window.start > 0 or len(trace.window.leaves) < trace.leaves:
        return UNKNOWN
    frames: dict[str, list[str]] = {}
    inside: Counter[str] = Counter()
    passes: dict[str, int] = {}
    for leaf in trace.window.leaves:
        if leaf.primitive in ARGUMENTS:
            continue
        frame, own = split(leaf.path)
        frames.setdefault(frame, []).append(f"{frame}/{own}" if frame else own)
        parts = leaf.path.split("/")
        for at, part in enumerate(parts):
            if _VARIABLE.fullmatch(part):
                outer = "/".join(parts[:at])
                inside[outer] += 1
                if part[0] == "i":
                    passes[outer] = max(passes.get(outer, 0), int(part[1:] or 0) + 1)
    sizes = {frame: tuple(1 + inside[path] for path in paths) for frame, paths in frames.items()}
    return Outline(sizes, passes)


def split(path: str) -> tuple[str, str]:
    """A path as its frame and its place in there."""
    parts = path.split("/")
    at = max((index + 1 for index, part in enumerate(parts) if _VARIABLE.fullmatch(part)), default=0)
    return "/".join(parts[:at]), "/".join(parts[at:])
