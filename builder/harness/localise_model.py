"""What the search for the first operation that diverged found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builder.harness.compare.model import TensorDiff
from builder.harness.localise_causes import Suspect
from builder.harness.trace import Equation, Kind, Leaf, Line, Place, Source


class Found(StrEnum):
    """What kind of thing the two hosts first parted at."""

    ARGUMENT = "argument"
    """The program began with other values: weights, inputs, the key, or constants that tracing made."""
    OPERATION = "operation"
    """One operation gave other bits, from equal inputs, when it was compiled alone."""
    SEGMENT = "segment"
    """Operations that agree alone gave other bits when they were compiled together: fusion is involved."""
    PROGRAM = "program"
    """The two did not carry out the same program."""
    NOTHING = "nothing"
    """No difference showed while it was searched for."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the program.

    Attributes:
        path: its place (docs/trace.md, section 2).
        primitive: JAX's name for it.
        parameters: its settings, cut short.
        source: the line of the kernel's own code that asked for it.
        inputs: element type and shape of each operand.
        outputs: likewise of each result that is used.
    """

    path: str
    primitive: str
    parameters: str
    source: Source | None
    inputs: tuple[Kind, ...]
    outputs: tuple[Kind, ...]

    @classmethod
    def of_leaf(cls, leaf: Leaf, place: Place | None) -> Operation:
        """An operation out of a listed trace."""
        place = place or Place(inputs=(), outputs=(), parameters="", source=None)
        return cls(leaf.path, leaf.primitive, place.parameters, place.source, place.inputs, place.outputs)

    @classmethod
    def of_equation(cls, equation: Equation, frame: str) -> Operation:
        """An operation out of a frame."""
        path = f"{frame}/{equation.path}" if frame else equation.path
        return cls(
            path, equation.primitive, equation.parameters, equation.source, equation.inputs, equation.outputs
        )  # fmt: skip

    @property
    def callers(self) -> tuple[Line, ...]:
        """The lines of the kernel that led to the one that asked for it, nearest first."""
        return self.source.callers if self.source else ()

    def __str__(self) -> str:
        at = f" at {self.source}" if self.source else ""
        shapes = ", ".join(f"{dtype}{list(shape)}" for dtype, shape in self.inputs)
        results = ", ".join(f"{dtype}{list(shape)}" for dtype, shape in self.outputs)
        return f"{self.primitive}({shapes}) -> {results}{at} [{self.path}]"


@dataclass(frozen=True, slots=True)
class Localisation:
    """Where two runs of one image first parted.

    Attributes:
        a: the name of one host.
        b: the name of the other.
        found: what kind of thing it is.
        operations: the operation; or those of the segment, in order, without those that the difference does not
            depend on; or the values that the program began with and that differ, by name.
        inputs_equal: whether what these took was the same on both, bit for bit.
        inputs: what they took, compared.
        outputs: what they gave, compared.
        suspects: influences that can do this, likeliest first.
        fusion: whether the operations agree on both hosts when each is compiled alone.
        confirmed: whether, compiled together as in the plain run, everything before agrees; None if not asked.
        leaves: operations and values in the trace of one host; 0 if there is none.
        runs: traced runs that each host made.
        compared: pairs of nodes of the two Merkle trees that were looked at.
        notes: what a reader must know to judge this, in sentences.
    """

    a: str
    b: str
    found: Found
    operations: tuple[Operation, ...] = ()
    inputs_equal: bool | None = None
    inputs: tuple[TensorDiff, ...] = ()
    outputs: tuple[TensorDiff, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    fusion: bool = False
    confirmed: bool | None = None
    leaves: int = 0
    runs: int = 0
    compared: int = 0
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Operation | None:
        """The operation to name if only one is: of a segment the last, whose result is the first that differs."""
        return self.operations[-1 if self.found is Found.SEGMENT else 0] if self.operations else None

    def lines(self) -> list[str]:
        """What was found, for people."""
        said = [f"{self.a} and {self.b}: {self.found.value}"]
        for operation in self.operations:
            said.append(f"  {operation}")
            said += [f"    called from {line}" for line in operation.callers]
        if self.inputs_equal is not None:
            said.append(f"  inputs: {'equal' if self.inputs_equal else 'differ'}")
        for diff in self.outputs:
            if not diff.equal:
                said.append(
                    f"  {diff.name}: {diff.differing} of {diff.elements} differ, by up to {diff.largest} {diff.unit}"
                )
        said += [
            f"  suspect: {one.influence}: {one.why}" + (f" (differs: {', '.join(one.seen)})" if one.seen else "")
            for one in self.suspects
        ]
        return said + [f"  note: {note}" for note in self.notes]
