"""Two runs' outputs, tensor by tensor, in memory that does not grow with them.

Chunks are compared as raw bytes first, at the speed of memcmp; only one that differs is looked into. So equal files
cost what reading them costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from builder.harness.compare.container import Container, Tensor, outputs_file
from builder.harness.compare.model import Cases, Element, Status, TensorDiff, Unit
from builder.harness.compare.values import bits, value
from builder.progress import Progress, Silent, Step

CHUNK: Final = 256 << 10
"""Bytes: two of these and what NumPy makes of them stay in a core's second-level cache."""

_TOLD: Final = 64 * CHUNK
"""Bytes between two words to the display."""


def diff(a: Path, b: Path, *, progress: Progress | None = None) -> Sequence[TensorDiff]:
    """Compare two runs' outputs.

    Args:
        a: a run's folder, or a file of tensors: see `outputs_file`.
        b: likewise.
        progress: sees the bytes go by.

    Returns:
        One entry for every name in either, sorted by name; equal ones too.

    Raises:
        UsageError: there are no outputs at a path.
        IntegrityError: they are malformed, or were cut short meanwhile.
    """
    with Container(outputs_file(a)) as left, Container(outputs_file(b)) as right:
        both = left.tensors.keys() & right.tensors.keys()
        with (progress or Silent()).step("compare", sum(left.tensors[name].size for name in both)) as step:
            return tuple(
                _tensor(name, left, right, step) for name in sorted(left.tensors.keys() | right.tensors.keys())
            )


def _tensor(name: str, a: Container, b: Container, step: Step) -> TensorDiff:
    left, right = a.tensors.get(name), b.tensors.get(name)
    status = Status.VALUES
    if left is None:
        status = Status.ONLY_B
    elif right is None:
        status = Status.ONLY_A
    elif left.format != right.format:
        status = Status.TYPE
    elif left.shape != right.shape:
        status = Status.SHAPE
    if left and right and status is Status.VALUES:
        return _elements((a, left), (b, right), step)
    return TensorDiff(
        name, status,
        left.format.name if left else None, right.format.name if right else None,
        left.shape if left else None, right.shape if right else None,
    )  # fmt: skip


def _elements(left: tuple[Container, Tensor], right: tuple[Container, Tensor], step: Step) -> TensorDiff:
    from builder.harness.compare.bits import Tally, components  # noqa: PLC0415 - NumPy is for comparing only

    (a, tensor_a), (b, tensor_b) = left, right
    form, size = tensor_a.format, tensor_a.size
    tally = Tally(form)
    buffers = bytearray(min(CHUNK, size)), bytearray(min(CHUNK, size))
    untold = 0
    for start in range(0, size, CHUNK):
        if size - start < len(buffers[0]):
            buffers = bytearray(size - start), bytearray(size - start)
        a.read_into(tensor_a, start, buffers[0])
        b.read_into(tensor_b, start, buffers[1])
        same = buffers[0] == buffers[1]
        if form.kind == "bool":
            _check_bool(left, buffers[0])
            _check_bool(right, buffers[1])
        if not same:
            tally.add(components(buffers[0], form), components(buffers[1], form), start // form.width)
        untold += len(buffers[0])
        if untold >= _TOLD:
            step.advance(untold)
            untold = 0
    step.advance(untold)

    def element(place: int) -> Element | None:
        if place < 0:
            return None
        number = place // form.components
        one, other = a.element(tensor_a, number), b.element(tensor_b, number)
        return Element(
            index_of(number, tensor_a.shape), bits(one, form), value(one, form), bits(other, form), value(other, form)
        )

    filled = max((k + 1 for k, count in enumerate(tally.histogram.tolist()) if count), default=0)
    return TensorDiff(
        tensor_a.name, Status.VALUES if tally.differing else Status.EQUAL, form.name, form.name,
        tensor_a.shape, tensor_b.shape,
        elements=tensor_a.elements,
        differing=tally.differing,
        first=element(tally.first),
        worst=element(tally.worst),
        cases=Cases(tally.numbers, tally.signed_zero, tally.infinity, tally.nan_bits, tally.nan),
        unit={"float": Unit.ULP, "bool": Unit.NONE}.get(form.kind, Unit.ABSOLUTE),
        largest=tally.largest,
        histogram=tuple(tally.histogram.tolist()[:filled]),
    )  # fmt: skip


def _check_bool(which: tuple[Container, Tensor], data: bytearray) -> None:
    """A byte other than 0 and 1 has no meaning that two readers must share."""
    if data.translate(None, b"\0\1"):
        which[0].refuse_bool(which[1])


def index_of(place: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of an element by its place in C order."""
    index = []
    for length in reversed(shape):
        place, at = divmod(place, length)
        index.append(at)
    return tuple(reversed(index))
