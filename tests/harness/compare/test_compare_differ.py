"""The comparison against a slow referee that knows no arrays, and every case of two numbers that differ."""

from __future__ import annotations

import math
import struct
import tracemalloc
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from compare_samples import SIZES, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.harness.compare.differ import CHUNK, diff, index_of
from builder.harness.compare.formats import FORMATS, Format
from builder.harness.compare.model import Cases, Element, Status, TensorDiff, Unit

FLOATS = ("F16", "BF16", "F32", "F64", "C64")


def compared(folder: Path, dtype: str, a: bytes, b: bytes, shape: list[int] | None = None) -> TensorDiff:
    shape = [len(a) // SIZES[dtype]] if shape is None else shape
    (found,) = diff(write(folder / "a", x=(dtype, shape, a)), write(folder / "b", x=(dtype, shape, b)))
    return found


# The referee. It finds a float's rank among all finite ones by its value, never by its bits.


def number(data: bytes, form: Format) -> float:
    match form.name:
        case "float16":
            return struct.unpack("<e", data)[0]
        case "bfloat16":
            return struct.unpack("<f", b"\0\0" + data)[0]
        case "float64":
            return struct.unpack("<d", data)[0]
    return struct.unpack("<f", data)[0]


def rank(value: float, form: Format) -> int:
    """How many representable numbers lie from zero up to this one."""
    least = {"float16": -14, "float64": -1022}.get(form.name, -126)
    if value == 0:
        return 0
    exponent = max(math.frexp(value)[1] - 1, least)
    steps = Fraction(abs(value)) / Fraction(2) ** (exponent - form.fraction)
    assert steps.denominator == 1
    return (int(steps) + (exponent - least) * 2**form.fraction) * (1 if value > 0 else -1)


def referee(a: bytes, b: bytes, form: Format) -> dict[str, object]:
    cases: Counter[str] = Counter()
    histogram: Counter[int] = Counter()
    differing, largest, worst = set(), 0, None
    for place in range(len(a) // form.width):
        one, other = (data[place * form.width : (place + 1) * form.width] for data in (a, b))
        if one == other:
            continue
        differing.add(place // form.components)
        if form.kind == "float":
            x, y = number(one, form), number(other, form)
            if math.isnan(x) or math.isnan(y):
                cases["nan_bits" if math.isnan(x) and math.isnan(y) else "nan"] += 1
                continue
            if math.isinf(x) or math.isinf(y):
                cases["infinity"] += 1
                continue
            distance = abs(rank(x, form) - rank(y, form))
            if not distance:
                cases["signed_zero"] += 1
                continue
        elif form.kind == "bool":
            cases["numbers"] += 1
            continue
        else:
            x, y = (int.from_bytes(data, "little", signed=form.kind == "signed") for data in (one, other))
            distance = abs(x - y)
        cases["numbers"] += 1
        histogram[distance.bit_length() - 1] += 1
        if distance > largest:
            largest, worst = distance, place // form.components
    return {
        "differing": len(differing),
        "first": min(differing, default=None),
        "worst": worst,
        "largest": largest,
        "cases": Cases(**cases),
        "histogram": tuple(histogram[k] for k in range(max(histogram, default=-1) + 1)),
    }


EDGES = [0, 1, 2, (1 << 63) - 1]


def patterns(form: Format) -> st.SearchStrategy[int]:
    """Any bits, and often those where something changes: zeros, subnormals, the largest, infinities, NaNs."""
    if form.kind == "bool":
        return st.integers(0, 1)
    bits = 8 * form.width
    infinity = ((1 << (bits - 1 - form.fraction)) - 1) << form.fraction if form.kind == "float" else 1 << (bits - 2)
    edges = [0, 1, (1 << form.fraction) - 1, 1 << form.fraction, infinity - 1, infinity, infinity + 1]
    edges += [(edge | 1 << (bits - 1)) for edge in edges] + [(1 << bits) - 1, (1 << (bits - 1)) - 1]
    return st.sampled_from(edges) | st.integers(0, (1 << bits) - 1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    dtype = draw(st.sampled_from(sorted(FORMATS)))
    form = FORMATS[dtype]
    count = draw(st.integers(0, 12)) * form.components
    either = patterns(form)
    a = [draw(either) for _ in range(count)]
    top = (1 << 8 * form.width) - 1
    near = st.integers(-2, 2) if form.kind != "bool" else st.just(0)
    b = [draw(st.just(x) | either | near.map(lambda step, x=x: min(max(x + step, 0), top))) for x in a]
    return dtype, *(b"".join(x.to_bytes(form.width, "little") for x in numbers) for numbers in (a, b))


@given(pairs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=600)
def test_agrees_with_the_referee(tmp_path: Path, pair: tuple[str, bytes, bytes]) -> None:
    dtype, a, b = pair
    form, found = FORMATS[dtype], compared(tmp_path, dtype, a, b)
    expected = referee(a, b, form)
    assert {
        "differing": found.differing,
        "first": found.first.index[0] if found.first else None,
        "worst": found.worst.index[0] if found.worst else None,
        "largest": found.largest,
        "cases": found.cases,
        "histogram": found.histogram,
    } == expected
    assert found.equal is (a == b)
    assert found.elements == len(a) // form.size
    assert sum(found.histogram) == (0 if form.kind == "bool" else found.cases.numbers)
    if found.first:
        place = found.first.index[0] * form.size
        for said, data in ((found.first.a_bits, a), (found.first.b_bits, b)):
            parts = [data[place + at : place + at + form.width] for at in range(0, form.size, form.width)]
            assert said == ", ".join("0x" + part[::-1].hex() for part in parts)


@given(pairs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_depends_on_which_comes_first(tmp_path: Path, pair: tuple[str, bytes, bytes]) -> None:
    dtype, a, b = pair
    one, other = compared(tmp_path, dtype, a, b), compared(tmp_path, dtype, b, a)

    def swapped(element: Element | None) -> Element | None:
        return element and Element(element.index, element.b_bits, element.b, element.a_bits, element.a)

    assert (other.cases, other.largest, other.histogram) == (one.cases, one.largest, one.histogram)
    assert (other.first, other.worst) == (swapped(one.first), swapped(one.worst))


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_neighbour_is_one_step_away(tmp_path: Path, dtype: str) -> None:
    form = FORMATS[dtype]
    infinity = ((1 << (15 - form.fraction)) - 1) << form.fraction
    a = b"".join(struct.pack("<H", k) for k in range(1, infinity - 1))
    b = b"".join(struct.pack("<H", k + 1) for k in range(1, infinity - 1))
    found = compared(tmp_path, dtype, a, b)
    assert (found.differing, found.largest, found.histogram) == (infinity - 2, 1, (infinity - 2,))


# Each case by name


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


NAN, OTHER_NAN = bytes.fromhex("0000c07f"), bytes.fromhex("0100c0ff")


@pytest.mark.parametrize(
    ("a", "b", "cases", "largest", "histogram"),
    [
        (floats(-0.0), floats(0.0), Cases(signed_zero=1), 0, ()),
        (NAN, OTHER_NAN, Cases(nan_bits=1), 0, ()),
        (NAN, floats(1), Cases(nan=1), 0, ()),
        (floats(math.inf), NAN, Cases(nan=1), 0, ()),
        (floats(math.inf), floats(-math.inf), Cases(infinity=1), 0, ()),
        (floats(math.inf), floats(3.4028234663852886e38), Cases(infinity=1), 0, ()),
        (floats(2**-149), floats(-(2**-149)), Cases(numbers=1), 2, (0, 1)),
        (floats(-0.0), floats(2**-149), Cases(numbers=1), 1, (1,)),
        (floats(1), floats(1 + 2**-23), Cases(numbers=1), 1, (1,)),
        (floats(1), floats(1 - 2**-23), Cases(numbers=1), 2, (0, 1)),
        (floats(1), floats(2), Cases(numbers=1), 2**23, (0,) * 23 + (1,)),
    ],
)
def test_cases(tmp_path: Path, *, a: bytes, b: bytes, cases: Cases, largest: int, histogram: tuple[int, ...]) -> None:
    found = compared(tmp_path, "F32", a, b)
    assert (found.status, found.cases, found.largest, found.histogram) == (Status.VALUES, cases, largest, histogram)
    assert (found.unit, found.worst is not None) == (Unit.ULP, bool(largest))


def test_the_widest_distances(tmp_path: Path) -> None:
    found = compared(
        tmp_path, "F64", struct.pack("<d", -1.7976931348623157e308), struct.pack("<d", 1.7976931348623157e308)
    )
    assert (found.largest, len(found.histogram)) == (2 * 0x7FEFFFFFFFFFFFFF, 64)
    found = compared(tmp_path, "I64", struct.pack("<q", -(2**63)), struct.pack("<q", 2**63 - 1))
    assert (found.largest, len(found.histogram), found.unit) == (2**64 - 1, 64, Unit.ABSOLUTE)
    found = compared(tmp_path, "U64", struct.pack("<Q", 0), struct.pack("<Q", 2**63 - 1))
    assert (found.largest, len(found.histogram)) == (2**63 - 1, 63)


def test_elements_are_shown_with_bits_and_values(tmp_path: Path) -> None:
    a = floats(1, 2, 3, 4, 5, 6)
    found = compared(tmp_path, "F32", a, floats(1, 2, 3, 4, 5.5, 6.00001), [2, 1, 3])
    assert found.first == Element((1, 0, 1), "0x40a00000", "5.0", "0x40b00000", "5.5")
    assert found.worst == found.first
    found = compared(tmp_path, "C64", floats(1, 2), floats(1, -2), [])
    assert found.first == Element((), "0x3f800000, 0x40000000", "1.0+2.0j", "0x3f800000, 0xc0000000", "1.0-2.0j")
    assert (found.elements, found.differing, found.cases.numbers) == (1, 1, 1)
    found = compared(tmp_path, "BF16", b"\x80\x3f", b"\x81\x3f")
    assert found.first == Element((0,), "0x3f80", "1.0", "0x3f81", "1.01")
    found = compared(tmp_path, "BOOL", b"\0\1", b"\1\1")
    assert found.first == Element((0,), "0x00", "false", "0x01", "true")
    assert (found.unit, found.worst, found.cases) == (Unit.NONE, None, Cases(numbers=1))
    found = compared(tmp_path, "I8", b"\x80", b"\x7f")
    assert (found.first, found.largest) == (Element((0,), "0x80", "-128", "0x7f", "127"), 255)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["F16", "BF16", "F32"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_value_shown_is_that_value_and_no_shorter_one_is(tmp_path: Path, pattern: int, dtype: str) -> None:
    import ml_dtypes
    import numpy as np

    form = FORMATS[dtype]
    data = (pattern & ((1 << 8 * form.width) - 1)).to_bytes(form.width, "little")
    flipped = bytes([data[0] ^ 1]) + data[1:]
    found = compared(tmp_path, dtype, data, flipped)
    kind = ml_dtypes.bfloat16 if dtype == "BF16" else form.name
    assert found.first is not None
    expected = np.frombuffer(data, kind)[0]
    said = kind(float(found.first.a)) if dtype == "BF16" else np.dtype(kind).type(float(found.first.a))
    assert said == expected or (np.isnan(expected) and found.first.a == "nan")
    if dtype != "BF16" and np.isfinite(expected):
        assert float(found.first.a) == float(np.format_float_positional(expected, unique=True))


# More than one tensor


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    one = write(
        tmp_path / "a", dtype=("F32", [1], floats(1)), equal=("U8", [1], b"1"), gone=("U8", [1], b"1"),
        shape=("U8", [2, 3], b"123456"), empty=("F64", [0, 4], b""),
    )  # fmt: skip
    other = write(
        tmp_path / "b", new=("U8", [1], b"1"), dtype=("I32", [1], floats(1)), shape=("U8", [3, 2], b"123456"),
        empty=("F64", [0, 4], b""), equal=("U8", [1], b"1"),
    )  # fmt: skip
    found = diff(one, other)
    assert [(item.name, item.status) for item in found] == [
        ("dtype", Status.TYPE), ("empty", Status.EQUAL), ("equal", Status.EQUAL), ("gone", Status.ONLY_A),
        ("new", Status.ONLY_B), ("shape", Status.SHAPE),
    ]  # fmt: skip
    by_name = {item.name: item for item in found}
    assert (by_name["dtype"].dtype_a, by_name["dtype"].dtype_b) == ("float32", "int32")
    assert (by_name["shape"].shape_a, by_name["shape"].shape_b) == ((2, 3), (3, 2))
    assert (by_name["gone"].shape_a, by_name["gone"].shape_b, by_name["gone"].dtype_b) == ((1,), None, None)


def test_order_in_the_file_is_no_difference(tmp_path: Path) -> None:
    x, y = ("F32", [1], floats(1)), ("U8", [1], b"1")
    found = diff(write(tmp_path / "a", x=x, y=y), write(tmp_path / "b", y=y, x=x))
    assert [item.equal for item in found] == [True, True]


def test_a_boolean_of_two_is_refused_even_where_equal(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="other than 0 and 1"):
        compared(tmp_path, "BOOL", b"\2", b"\2")


# Beyond one chunk


@pytest.mark.parametrize("place", [0, CHUNK // 4 - 1, CHUNK // 4, CHUNK // 2 + 1, 3 * CHUNK // 4 + 6])
def test_places_in_later_chunks(tmp_path: Path, place: int) -> None:
    a = bytearray(3 * CHUNK // 28 * 28 + 56)
    b = bytearray(a)
    b[4 * place : 4 * place + 4] = floats(1)
    found = compared(tmp_path, "F32", a, b, [len(a) // 28, 7])
    assert (found.differing, found.first and found.first.index) == (1, (place // 7, place % 7))
    assert found.worst == found.first


def test_the_first_of_two_equally_far_is_the_worst(tmp_path: Path) -> None:
    a = bytearray(2 * CHUNK)
    b = bytearray(a)
    b[8:12] = b[CHUNK + 8 : CHUNK + 12] = floats(1)
    found = compared(tmp_path, "F32", a, b)
    assert (found.differing, found.worst and found.worst.index) == (2, (2,))


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    size = 64 << 20
    for name, byte in (("a", b"\1"), ("b", b"\2")):
        with (tmp_path / name).open("wb") as file:
            header = b'{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in range(size >> 20):
                file.write(byte * (1 << 20))
    diff(tmp_path / "a", tmp_path / "a")  # what is imported once
    tracemalloc.start()
    try:
        (found,) = diff(tmp_path / "a", tmp_path / "b")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.differing == size // 4
    assert peak < 8 << 20


@given(st.lists(st.integers(1, 5), max_size=4), st.data())
def test_indexes(shape: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, math.prod(shape) - 1))
    index, again = index_of(place, shape), 0
    for at, length in zip(index, shape, strict=True):
        assert at < length
        again = again * length + at
    assert again == place
