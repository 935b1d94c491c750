"""What a comparison of two tensors found, as plain data.

How far two numbers are apart is counted in ULPs where they are floating-point: in steps from one representable number
to the next, over all finite numbers of the type in their order, so that -0 and +0 are one place, and the smallest
positive number is two steps from the smallest negative. What has no such distance has a case of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What two runs' tensors of one name are to each other."""

    EQUAL = "equal"
    """Every bit is the same."""
    VALUES = "values"
    """Of one type and shape, with different bits."""
    TYPE = "dtype"
    """Of different element types; not compared further."""
    SHAPE = "shape"
    """Of one type and different shapes; not compared further."""
    ONLY_A = "only in a"
    ONLY_B = "only in b"


class Unit(StrEnum):
    """What distances are counted in."""

    ULP = "ulp"
    """Floating-point and complex types; a complex number's parts count as a number each."""
    ABSOLUTE = "absolute"
    """Integers: the difference as it is in whole numbers, never wrapped."""
    NONE = "none"
    """Booleans."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element in both tensors.

    Attributes:
        index: its place, one number per dimension.
        a_bits: in hexadecimal, most significant digit first; a complex number's parts with a comma between.
        a: its value, in the fewest digits that no other value of its type has.
        b_bits: as `a_bits`.
        b: as `a`.
    """

    index: tuple[int, ...]
    a_bits: str
    a: str
    b_bits: str
    b: str


@dataclass(frozen=True, slots=True)
class Cases:
    """How many differing numbers are of which case; each is of exactly one, a complex number's parts separately.

    Attributes:
        numbers: both are finite and unequal: in the histogram. Also whatever differs in types without such cases.
        signed_zero: -0 and +0.
        infinity: at least one is infinite, neither is a NaN.
        nan_bits: both are NaNs, of different bits.
        nan: one is a NaN.
    """

    numbers: int = 0
    signed_zero: int = 0
    infinity: int = 0
    nan_bits: int = 0
    nan: int = 0


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """Two runs' tensors of one name.

    Attributes:
        name: of the tensor.
        status: what they are to each other.
        dtype_a: element type, by the protocol's name; None if a lacks the tensor.
        dtype_b: likewise.
        shape_a: lengths; None if a lacks the tensor.
        shape_b: likewise.
        elements: how many there are, if they could be compared.
        differing: how many elements differ in any bit.
        first: the first that does, in C order.
        worst: the first of those with the largest distance; None where no distance is defined.
        cases: what the differing numbers are.
        unit: of distances.
        largest: the largest distance; 0 if there is none.
        histogram: at place k, how many distances are in [2^k, 2^(k+1)); without zeros at its end.
    """

    name: str
    status: Status
    dtype_a: str | None
    dtype_b: str | None
    shape_a: tuple[int, ...] | None
    shape_b: tuple[int, ...] | None
    elements: int = 0
    differing: int = 0
    first: Element | None = None
    worst: Element | None = None
    cases: Cases = Cases()
    unit: Unit = Unit.NONE
    largest: int = 0
    histogram: tuple[int, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.status is Status.EQUAL
