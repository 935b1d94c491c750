"""What is wrong with a spec: findings as data, and the report that shows them.

A finding points at characters of the spec's text. The report is plain text in the manner of rustc; whoever wants colour
takes `segments` instead of `render`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from builder.errors import SpecError

Style = Literal["error", "message", "place", "gutter", "source", "caret", "hint"]

SHOWN = 40
"""Findings shown in one report; a file that is no spec at all should not scroll a terminal away."""

_WIDTH = 100
"""Columns of source shown; a longer line is cut around its span."""

_LEAD = 30
"""Columns kept before the span of a line that is cut."""


class Segment(NamedTuple):
    """A piece of a rendered finding, and what it is."""

    style: Style
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where.

    `line` and `column` count from 1, in characters; `line` 0 means the file as a whole. `length` is in characters of
    `source_line`, 0 where there is nothing to underline.
    """

    path: str
    line: int
    column: int
    length: int
    message: str
    hint: str | None = None
    source_line: str = ""

    @property
    def place(self) -> str:
        """`file:line:column`, or the file alone."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


class SpecErrors(SpecError):
    """A spec with findings; `findings` is sorted by position."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(set(findings), key=_order))
        super().__init__(render(self.findings))

    def diagnostics(self) -> str:
        """The report; every finding already names its place and its hint."""
        return self.message


def render(findings: Sequence[Finding]) -> str:
    """The report on findings, one block each, without a final newline."""
    return "".join(segment.text for segment in report(findings)).rstrip("\n")


def report(findings: Sequence[Finding]) -> Iterator[Segment]:
    """The report on findings, in pieces; an empty line between two blocks."""
    for number, finding in enumerate(findings[:SHOWN]):
        if number:
            yield Segment("source", "\n")
        yield from segments(finding)
    if len(findings) > SHOWN:
        yield Segment("message", f"\nand {len(findings) - SHOWN} more errors\n")


def segments(finding: Finding) -> Iterator[Segment]:
    """One finding's block, in pieces whose texts join to what `render` prints."""
    number = str(finding.line) if finding.line else ""
    margin = " " * max(1, len(number))
    yield Segment("error", "error")
    yield Segment("message", f": {printable(finding.message)}\n")
    yield Segment("gutter", f"{margin}--> ")
    yield Segment("place", f"{printable(finding.place)}\n")
    if finding.line:
        before, span, after = _cut(finding)
        yield Segment("gutter", f"{margin} |\n{number} | ")
        yield Segment("source", f"{before}{span}{after}\n")
        yield Segment("gutter", f"{margin} | ")
        yield Segment("caret", " " * _columns(before) + "^" * max(1, _columns(span)) + "\n")
    if finding.hint:
        yield Segment("gutter", f"{margin} = ")
        yield Segment("hint", f"hint: {printable(finding.hint)}\n")


def printable(text: str) -> str:
    """Text without characters that move a terminal's cursor, change its state or reorder what it shows.

    Tabs become spaces; controls, format characters (bidirectional overrides among them), surrogates and line
    separators become U+FFFD.
    """
    return "".join(" " if char == "\t" else "\N{REPLACEMENT CHARACTER}" if _hostile(char) else char for char in text)


def _hostile(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _columns(text: str) -> int:
    """How many columns a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _cut(finding: Finding) -> tuple[str, str, str]:
    """The source line before, in and after the span, short enough to show."""
    line, start = printable(finding.source_line), finding.column - 1
    stop = start + finding.length
    if len(line) <= _WIDTH:
        return line[:start], line[start:stop], line[stop:]
    left = max(0, min(start - _LEAD, len(line) - _WIDTH))
    right = left + _WIDTH
    before, span, after = line[left:start], line[start : min(stop, right)], line[min(stop, right) : right]
    return ("…" if left else "") + before, span, after + ("…" if right < len(line) else "")


def _order(finding: Finding) -> tuple[str, int, int, str]:
    return finding.path, finding.line, finding.column, finding.message
