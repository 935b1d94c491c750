"""Products that follow the sizes of the CPU's caches, which no setting holds: found in a compiled program and named.

What XLA leaves as `dot` outside of a fusion Eigen computes, and in one thread it cuts long sums by the sizes of caches
that CPUID gives. XLA does so with left operands that are transposed, and with complex numbers; YNNPACK takes others.
Measured with jaxlib 0.10.2: between 32 and 48 KiB of L1, which is what CPUs with AVX2 have, sums of 352 values and more
differ, and sums of 320 do not.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 320
"""Values that a sum may have to stay in one piece."""

FEW: Final = 3
"""Products that a note names; of more it says how many there are."""

_COMPUTATION: Final = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED: Final = re.compile(r"\bfusion\(.*calls=%?([\w.-]+)")
_VALUE: Final = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\w+)\[([\d,]*)\]")
_PRODUCT: Final = re.compile(r" dot\(%?([\w.-]+), ")
_FLOATING: Final = frozenset({"f16", "bf16", "f32", "f64", "c64", "c128"})


def following_caches(text: str) -> list[str]:
    """Products of a program whose sums are cut by the CPU's caches where they are computed in one thread.

    Args:
        text: the program after all of XLA's passes, as `jax.stages.Compiled.as_text` gives it.

    Returns:
        Each one's type, shape and length of sums, in the order of the program. Of large products XLA makes several
        threads' work, which Eigen cuts alike on these CPUs; they are among them.
    """
    fused = set(_CALLED.findall(text))
    shapes: dict[str, list[int]] = {}
    found, inside = [], ""
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            inside = start[1]
        elif value := _VALUE.match(line):
            shape = [int(length) for length in value[3].split(",") if length]
            shapes[value[1]] = shape
            product = _PRODUCT.search(line)
            if product and inside not in fused and value[2] in _FLOATING:
                left = shapes.get(product[1], [])
                summed = math.prod(left[place] for place in _places(line, "lhs_contracting_dims"))
                batch = math.prod(left[place] for place in _places(line, "lhs_batch_dims"))
                rows = math.prod(left) // max(1, summed * batch)
                # XLA's own loops compute what has one row or one column.
                if summed > LONGEST and 1 < rows < math.prod(shape) // max(1, batch):
                    found.append(f"{value[2]}{shape} over {summed} values")
    return found


def note(text: str) -> None:
    """Say on stderr which products of a compiled program follow the CPU's caches, if any do."""
    if found := following_caches(text):
        more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
        print(  # noqa: T201 - this is the program's voice
            f"note: products that may follow the sizes of the CPU's caches, which nothing pins: "
            f"{', '.join(found[:FEW])}{more}; of real numbers they do not if what is transposed on their left goes"
            " through jax.lax.optimization_barrier first",
            file=sys.stderr,
        )


def _places(line: str, name: str) -> Iterator[int]:
    listed = re.search(rf"\b{name}=\{{([\d,]*)\}}", line)
    yield from (int(place) for place in listed[1].split(",") if place) if listed else ()
