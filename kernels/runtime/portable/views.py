"""Values that are others with their axes renamed or repeated, so that fused operations read these in place.

Axes of size one carry nothing and are left out: (n, 1) and (n,) are one shape here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kernels.runtime.portable.flatten import Known, Operand, Operation, Program

SAME: Final = frozenset({"stop_gradient", "copy", "copy_p", "name", "convert_element_type"})


@dataclass(frozen=True, slots=True)
class View:
    """A slot or a stated value, whose own axes of size over one are axes `axes` of what it is seen as."""

    base: Operand
    axes: tuple[int, ...]


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its ones."""
    return tuple(size for size in shape if size != 1)


class Views:
    """Every slot of a program as a view; most are views of themselves."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._views: dict[int, View] = {}
        for operation in program.operations:
            view = self._of(operation)
            if view is not None:
                self._views[operation.outputs[0]] = view

    def __contains__(self, slot: int) -> bool:
        return slot in self._views

    def of(self, operand: Operand) -> View:
        """The view that an operand is."""
        if isinstance(operand, int) and operand in self._views:
            return self._views[operand]
        return View(operand, tuple(range(len(squeezed(self._program.kind(operand).shape)))))

    def stretched(self, operand: Operand, shape: Sequence[int]) -> View:
        """An operand of an elementwise operation, of rank zero or the result's, as part of the result's shape."""
        own = self._program.kind(operand).shape
        return self._through(operand, tuple(range(len(own))), shape)

    def _of(self, operation: Operation) -> View | None:
        if len(operation.outputs) != 1 or not operation.inputs:
            return None
        source, into = self._program.kind(operation.inputs[0]), self._program.kinds[operation.outputs[0]]
        if operation.name == "broadcast_in_dim":
            dims = tuple(operation.params["broadcast_dimensions"])
            return self._through(operation.inputs[0], dims, into.shape)
        same = operation.name in SAME and source == into
        regrouped = operation.name in {"reshape", "squeeze"} and squeezed(source.shape) == squeezed(into.shape)
        return self.of(operation.inputs[0]) if same or regrouped else None

    def _through(self, operand: Operand, dims: Sequence[int], shape: Sequence[int]) -> View:
        """The view of an operand whose axis i becomes axis dims[i] of a shape."""
        place = {axis: number for number, axis in enumerate(a for a, size in enumerate(shape) if size != 1)}
        own = self._program.kind(operand).shape
        moved = [place[dims[axis]] for axis, size in enumerate(own) if size != 1]
        view = self.of(operand)
        return View(view.base, tuple(moved[axis] for axis in view.axes))


def stated(view: View) -> bool:
    """Whether it is a constant of the program's text."""
    return isinstance(view.base, Known)
