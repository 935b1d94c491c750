"""A histogram of distances as shapes: where each bar stands, worked out here so that the page only draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from builder.harness.report_words import bucket, filled

_STEP: Final = 52
_BAR: Final = 36
_TALLEST: Final = 110
_TOP: Final = 18
_BOTTOM: Final = 22
_LEAST: Final = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, in units of the picture; `x` is its left edge, `middle` its centre.

    It is labelled with `label`, and with `power` as that one's exponent if there is one.
    """

    x: int
    y: int
    width: int
    height: int
    middle: int
    label: str
    power: str
    count: str
    exact: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture: its size, its ground line, and its bars."""

    width: int
    height: int
    ground: int
    bars: tuple[Bar, ...]


def chart(histogram: Sequence[int]) -> Chart | None:
    """The picture of a histogram, or None if there is nothing in it.

    Heights are logarithmic, since one far element matters as much as a million near ones; each bar says its count.
    """
    bars = filled(histogram)
    if not bars:
        return None
    top = _logarithm(max(count for _, count in bars))
    shapes = []
    for column, (place, count) in enumerate(bars):
        height = max(_LEAST, _TALLEST * _logarithm(count) // top) if count else 0
        label, _, power = bucket(place).replace("-", "\N{EN DASH}").partition("^")
        x = column * _STEP + (_STEP - _BAR) // 2
        shapes.append(
            Bar(
                x, _TOP + _TALLEST - height, _BAR, height, x + _BAR // 2,
                label, power, _short(count) if count else "", f"{count:,}",
            )
        )  # fmt: skip
    return Chart(len(bars) * _STEP, _TOP + _TALLEST + _BOTTOM, _TOP + _TALLEST, tuple(shapes))


def _logarithm(count: int) -> int:
    """Sixteen times the binary logarithm of a count and one, rounded down: exact, so all machines draw alike."""
    return ((1 + count) ** 16).bit_length() - 1


def _short(count: int) -> str:
    """A count in at most four characters."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            whole = count / size
            return f"{whole:.1f}{unit}" if whole < 9.95 else f"{whole:.0f}{unit}"  # noqa: PLR2004 - rounds to 10.0
    return str(count)
