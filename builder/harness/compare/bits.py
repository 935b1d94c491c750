"""Distances between arrays of bit patterns, in whole-number arithmetic only: no float is ever added or rounded.

A finite number's magnitude bits, read as a whole number, count the representable numbers from zero to it (IEEE 754-2019
3.4: the exponent stands above the significand). So a distance is the difference of two magnitudes under equal signs,
their sum under different ones, and neither leaves the unsigned type of the same width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from builder.harness.compare.formats import Format

Bits = np.ndarray[Any, np.dtype[Any]]

_UNSIGNED: Final = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_SIGNED: Final = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}
_BUCKETS: Final = 64

_PIECE: Final = 12 << 10
"""Components looked into at a time: an array of 64-bit places for them is what malloc still gives without asking the
kernel for fresh pages (mallopt(3), M_MMAP_THRESHOLD); with twice as many, every number took three times as long."""


def components(data: bytearray, form: Format) -> Bits:
    """The bit patterns of a tensor's bytes, one per component; a view."""
    return np.frombuffer(data, _UNSIGNED[form.width])


@dataclass(slots=True)
class Tally:
    """What was found so far in one tensor; places count components in C order, -1 for none."""

    form: Format
    differing: int = 0
    numbers: int = 0
    signed_zero: int = 0
    infinity: int = 0
    nan_bits: int = 0
    nan: int = 0
    first: int = -1
    worst: int = -1
    largest: int = 0
    histogram: Bits = field(default_factory=lambda: np.zeros(_BUCKETS, np.int64))

    def add(self, a: Bits, b: Bits, place: int) -> None:
        """Count two chunks of equal length that begin at component `place`, a multiple of an element's components."""
        for start in range(0, a.size, _PIECE):
            self._piece(a[start : start + _PIECE], b[start : start + _PIECE], place + start)

    def _piece(self, a: Bits, b: Bits, place: int) -> None:
        where = np.flatnonzero(a != b)
        if not where.size:
            return
        if self.first < 0:
            self.first = place + int(where[0])
        self.differing += where.size
        if self.form.components > 1:  # an element whose parts both differ was counted twice
            self.differing -= int(np.count_nonzero(np.diff(where // self.form.components) == 0))
        if self.form.kind == "bool":
            self.numbers += where.size
            return
        if where.size < a.size:
            a, b = a[where], b[where]
        distances, kept = self._floats(a, b) if self.form.kind == "float" else (self._integers(a, b), None)
        self._measure(distances, where if kept is None else where[kept], place)

    def _integers(self, a: Bits, b: Bits) -> Bits:
        if self.form.kind == "signed":
            signed = _SIGNED[self.form.width]
            above = a.view(signed) > b.view(signed)
        else:
            above = a > b
        return np.where(above, a - b, b - a)  # the wrapped difference of the larger and the smaller is the true one

    def _floats(self, a: Bits, b: Bits) -> tuple[Bits, Bits | None]:
        """Distances of the finite ones, and where these are; None if everywhere."""
        bits = 8 * self.form.width
        sign = a.dtype.type(1 << (bits - 1))
        infinity = a.dtype.type(((1 << (bits - 1 - self.form.fraction)) - 1) << self.form.fraction)
        high, low = a & ~sign, b & ~sign
        opposite = (a ^ b) >= sign
        kept = None
        if max(high.max(), low.max()) >= infinity:
            nans_a, nans_b = high > infinity, low > infinity
            both, either = int(np.count_nonzero(nans_a & nans_b)), int(np.count_nonzero(nans_a | nans_b))
            finite = (high < infinity) & (low < infinity)
            self.nan_bits += both
            self.nan += either - both
            self.infinity += a.size - either - int(np.count_nonzero(finite))
            kept = np.flatnonzero(finite)
            high, low, opposite = high[kept], low[kept], opposite[kept]
        distances = np.maximum(high, low) - np.minimum(high, low)
        if opposite.any():
            distances = np.where(opposite, high + low, distances)
        zeros = distances.size - int(np.count_nonzero(distances))  # the bits differ, so these are the two zeros
        if zeros:
            self.signed_zero += zeros
            rest = np.flatnonzero(distances)
            distances = distances[rest]
            kept = rest if kept is None else kept[rest]
        return distances, kept

    def _measure(self, distances: Bits, where: Bits, place: int) -> None:
        if not distances.size:
            return
        self.numbers += distances.size
        top = int(distances.max())
        if top > self.largest:
            self.largest = top
            self.worst = place + int(where[int(np.argmax(distances == top))])
        self.histogram += np.bincount(_logarithms(distances), minlength=_BUCKETS)


def _logarithms(distances: Bits) -> Bits:
    """Each distance's binary logarithm, rounded down: the exponent of the same number as a float.

    Rounding to a float would carry 2^64 - 1 over to 2^64. With the bit below the topmost cleared, nothing can carry.
    """
    rounded = (distances & ~(distances >> 1)).astype(np.float32)
    exponents: Bits = rounded.view(np.int32) >> 23  # binary32: 23 bits of fraction below
    return exponents - 127
