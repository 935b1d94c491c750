"""One element as a person reads it: its bits in hexadecimal, and its value."""

from __future__ import annotations

import struct

from builder.harness.compare.formats import Format


def bits(data: bytes, form: Format) -> str:
    """The bit pattern of each component, most significant digit first."""
    return ", ".join(f"0x{_whole(part):0{2 * form.width}x}" for part in _parts(data, form))


def value(data: bytes, form: Format) -> str:
    """The value in the fewest digits that no other value of the type has."""
    if form.kind == "bool":
        return "true" if data != b"\0" else "false"
    if form.kind != "float":
        return str(int.from_bytes(data, "little", signed=form.kind == "signed"))
    numbers = [_float(part, form) for part in _parts(data, form)]
    if len(numbers) == 1:
        return numbers[0]
    real, imaginary = numbers
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


def _parts(data: bytes, form: Format) -> list[bytes]:
    return [data[start : start + form.width] for start in range(0, len(data), form.width)]


def _whole(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _float(data: bytes, form: Format) -> str:
    """A floating-point number; Python's own repr is of float64, so narrower types are searched for fewer digits."""
    number: float
    if form.width == 8:  # noqa: PLR2004 - float64
        return repr(struct.unpack("<d", data)[0])
    if form.name == "bfloat16":
        number = struct.unpack("<f", b"\0\0" + data)[0]
    else:
        number = struct.unpack("<e" if form.width == 2 else "<f", data)[0]  # noqa: PLR2004 - float16
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - a NaN
        return repr(number)
    for digits in range(1, 10):
        short = float(f"{number:.{digits - 1}e}")
        if _packed(short, form) == data:
            return repr(short)
    raise AssertionError("nine significant digits tell all float32 apart")


def _packed(number: float, form: Format) -> bytes | None:
    """The number rounded to the type, to nearest, ties to even; None if it overflows."""
    try:
        if form.name == "float16":
            return struct.pack("<e", number)
        whole = struct.unpack("<I", struct.pack("<f", number))[0]
    except OverflowError:
        return None
    if form.name != "bfloat16":
        return struct.pack("<I", whole)
    rounded = (whole + 0x7FFF + (whole >> 16 & 1)) >> 16
    return struct.pack("<H", rounded)
