"""Evaluating parts of a program as compiled wholes, so that operations are fused as in the plain run.

Which part is a cut's prefix, a stretch between two cuts, or the first passes of a loop. Values at a cut are those that
what follows needs; asking for them ends fusion there, and only there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernels.runtime.errors import InputError
from kernels.runtime.tensors import describe
from kernels.runtime.trace_compute import scan_passes, stretch, taken_by, while_passes
from kernels.runtime.trace_program import LOOPS, Equation, Frame, Known, frame
from kernels.runtime.trace_request import Segments
from kernels.runtime.trace_values import hashed, host_array, picked

Found = tuple[dict[str, Any], dict[str, Any]]
"""What trace.json says, and values by name."""


def segments(asked: Segments, program: Frame, arguments: Sequence[Any], names: Sequence[str], folder: Path) -> Found:
    """Answer a request for segments.

    Args:
        asked: the request.
        program: the whole program.
        arguments: what it is called with.
        names: of its results, in order.
        folder: the kernel's, whose files are named as sources.

    Raises:
        InputError: the program has no such frame, cut or loop.
    """
    place = _Place(program, arguments, folder)
    loop: Equation | None = None
    for equation, step in _steps(asked.frame):
        found = place.equation(equation)
        if step is None:
            loop = found
        else:
            place = place.inside(found, step)
    document: dict[str, Any] = {"frame": asked.frame}
    if loop is not None:
        if loop.primitive not in LOOPS or asked.cuts or asked.segments:
            raise InputError(f"{asked.frame!r} is {loop.primitive}, not a frame of the program")
        return document | {"loop": _loop(loop, place.inputs(loop), asked.iterations)}, {}
    if asked.iterations:
        raise InputError(f"{asked.frame!r} is no loop")
    if asked.values and len(asked.segments) != 1:
        raise InputError("values are given for exactly one segment")
    document["inputs"] = [hashed(value) for value in place.arguments]
    document["equations"] = [
        {
            "path": equation.path,
            "primitive": equation.primitive,
            "takes": [place.names[slot] for slot in taken_by([equation])],
            **equation.document(),
        }
        for equation in place.frame.equations
    ]
    document["cuts"] = [{"cut": cut, "values": _hashes(place, place.at(cut, live=True))} for cut in asked.cuts]
    if place.frame is program and len(program.equations) in asked.cuts:
        document["outputs"] = {
            name: describe(name, host_array(value)) for name, value in zip(names, place.results(), strict=True)
        }
    tensors: dict[str, Any] = {}
    document["segments"] = []
    for start, stop in asked.segments:
        taken, made = place.segment(start, stop)
        document["segments"].append(
            {"segment": [start, stop], "inputs": _hashes(place, taken), "outputs": _hashes(place, made)}
        )
        if asked.values:
            tensors |= {f"in:{place.names[slot]}": value for slot, value in taken.items()}
            tensors |= {f"out:{place.names[slot]}": value for slot, value in made.items()}
    return document, tensors


def _steps(path: str) -> list[tuple[str, str | None]]:
    """A frame's path as equations and which of their programs to enter; None at the end names the equation itself."""
    steps: list[tuple[str, str | None]] = []
    numbers: list[str] = []
    for part in path.split("/") if path else []:
        if part[0] in "icb":
            steps.append(("/".join(numbers), part))
            numbers = []
        else:
            numbers.append(part)
    return [*steps, ("/".join(numbers), None)] if numbers else steps


@dataclass(slots=True)
class _Place:
    """A frame and what it is called with."""

    frame: Frame
    arguments: Sequence[Any]
    folder: Path
    names: dict[int, str] = field(default_factory=dict)
    """Each slot's name: which argument it is, or the equation that fills it and which of its results it is."""

    def __post_init__(self) -> None:
        self.names |= {slot: f"argument{index}" for index, slot in enumerate(self.frame.arguments)}
        self.names |= {slot: f"const[{index}]" for index, slot in enumerate(self.frame.constants)}
        for equation in self.frame.equations:
            used = [slot for slot in equation.outputs if slot is not None]
            self.names |= {slot: f"{equation.path}:out{index}" for index, slot in enumerate(used)}

    def equation(self, path: str) -> Equation:
        for equation in self.frame.equations:
            if equation.path == path:
                return equation
        raise InputError(f"the program has no {path!r} there")

    def before(self) -> dict[int, Any]:
        """What is known before the first equation."""
        return dict(zip(self.frame.arguments, self.arguments, strict=True)) | dict(self.frame.constants)

    def at(self, cut: int, *, live: bool) -> dict[int, Any]:
        """The values at a cut; with `live` only those that the equations before it made."""
        if cut > len(self.frame.equations):
            raise InputError(f"there are {len(self.frame.equations)} equations, so no cut {cut}")
        made = stretch(self.frame, 0, cut, self.before()) if cut else {}
        return made if live else self.before() | made

    def segment(self, start: int, stop: int) -> tuple[dict[int, Any], dict[int, Any]]:
        """What the equations [start, stop) take and give."""
        if stop > len(self.frame.equations):
            raise InputError(f"there are {len(self.frame.equations)} equations, so no segment to {stop}")
        values = self.at(start, live=False)
        taken = {slot: values[slot] for slot in taken_by(self.frame.equations[start:stop])}
        return taken, stretch(self.frame, start, stop, values)

    def inputs(self, equation: Equation) -> list[Any]:
        """What an equation takes, when all before it ran as one program."""
        values = self.at(self.frame.equations.index(equation), live=False)
        return [one.value if isinstance(one, Known) else values[one] for one in equation.inputs]

    def results(self) -> list[Any]:
        """What the frame gives, when all of it ran as one program."""
        values = self.at(len(self.frame.equations), live=False)
        return [one.value if isinstance(one, Known) else values[one] for one in self.frame.results]

    def inside(self, equation: Equation, step: str) -> _Place:
        """One of an equation's own programs, as it is called at that point."""
        params, inputs = equation.equation.params, self.inputs(equation)
        if equation.primitive == "cond" and step[0] == "b":
            branches = params["branches"]
            taken = min(max(int(inputs[0]), 0), len(branches) - 1)
            if step not in {"b", f"b{taken}"}:
                raise InputError(f"{equation.path!r} takes branch {taken}, not {step!r}")
            return self._body(branches[taken], inputs[1:], equation)
        number = int(step[1:] or 0)
        if equation.primitive == "scan" and step[0] == "i" and number < params["length"]:
            first, head = params["num_consts"], params["num_consts"] + params["num_carry"]
            carry = scan_passes(equation, inputs, number)[: params["num_carry"]] if number else inputs[first:head]
            index = params["length"] - 1 - number if params["reverse"] else number
            slices = [picked(x, index) for x in inputs[head:]]
            return self._body(params["jaxpr"], [*inputs[:first], *carry, *slices], equation)
        if equation.primitive == "while" and step[0] in "ic":
            first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
            made, state = while_passes(equation, inputs, number)
            if made == number and step[0] == "c":
                return self._body(params["cond_jaxpr"], [*inputs[:first], *state], equation)
            if made == number:
                return self._body(params["body_jaxpr"], [*inputs[first:second], *state], equation)
        raise InputError(f"{equation.path!r} is {equation.primitive} and has no {step!r}")

    def _body(self, closed: Any, arguments: Sequence[Any], caller: Equation) -> _Place:
        return _Place(frame(closed.jaxpr, closed.consts, self.folder, caller.source), arguments, self.folder)


def _hashes(place: _Place, values: Mapping[int, Any]) -> list[list[str]]:
    return [[place.names[slot], hashed(value)] for slot, value in values.items()]


def _loop(equation: Equation, inputs: Sequence[Any], iterations: Sequence[int]) -> dict[str, Any]:
    """A loop's results after some of its passes. A while loop ends where it ends: `made` says after how many."""
    answers = []
    length = equation.equation.params["length"] if equation.primitive == "scan" else None
    for passes in iterations:
        if length is None:
            made, values = while_passes(equation, inputs, passes)
        else:
            if passes > length:
                raise InputError(f"{equation.path!r} makes {length} passes, not {passes}")
            made, values = passes, scan_passes(equation, inputs, passes)
        answers.append({"passes": passes, "made": made, "values": [hashed(value) for value in values]})
    return {"primitive": equation.primitive, "length": length, "iterations": answers}
