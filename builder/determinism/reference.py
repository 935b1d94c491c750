"""docs/influences.md, made from the table: `python -m builder.determinism.reference > docs/influences.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from builder.determinism.held import nobodys
from builder.determinism.influences import INFLUENCES
from builder.determinism.pins import pins
from builder.platforms import NAMES

_INTRODUCTION = """\
# Influences: what can move a bit

Every factor known to change a result's bits, how an image holds it, how a run checks that, how `kbuild verify` varies
it, and what was seen when it was let go and nothing else changed. `kbuild influences SPEC` says the same of one kernel.
This page is made from `builder/determinism/influences.py`.

*moved*: bits of a kernel moved, and a test does it again. *still*: it was varied, and no kernel was found whose bits
move. *elsewhere*: it needs hardware, or another image, to show.

`[xla] flags` may replace a flag of the profile, and `determinism.unpin` leaves an influence's pins out. A build then
says what that may cost. What nothing holds is under "held" as *nothing*.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_table(), "", "## Pins under the profile `pinned`", "", *_pins(), ""])


def _table() -> Iterator[str]:
    yield "| influence | acts on | held by | checked in a run | varied by | seen | source |"
    yield "|---|---|---|---|---|---|---|"
    for item in INFLUENCES:
        held = ", ".join([*(f"`{name}`" for name in item.pins), *([item.held] if item.held else [])])
        where = "" if len(item.platforms) == len(NAMES) else f" ({', '.join(item.platforms)})"
        cells = (
            f"**{item.name}**{where}: {item.factor}", item.acts, held or "*nothing*", item.checked or "-",
            item.varied or "-", f"*{item.seen}*: {item.evidence}", item.source,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _pins() -> Iterator[str]:

    spec = nobodys()
    values: dict[str, dict[str, str]] = {}
    reasons: dict[str, str] = {}
    for platform in NAMES:
        for pin, value in pins(spec, platform):
            values.setdefault(pin.name, {})[platform] = value
            reasons.setdefault(pin.name, pin.why)
    yield f"| name | {' | '.join(NAMES)} | why |"
    yield f"|---|{'---|' * len(NAMES)}---|"
    for name in sorted(values):
        cells = [f"`{values[name][platform]}`" if platform in values[name] else "-" for platform in NAMES]
        yield f"| `{name}` | {' | '.join(cells)} | {reasons[name]} |"


if __name__ == "__main__":
    sys.stdout.write(page())
