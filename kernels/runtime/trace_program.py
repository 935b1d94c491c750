"""A traced program as frames of equations: calls inlined, loops and conditionals kept, every equation at a path.

A frame is what XLA compiles as one computation: the whole program, or the body of a loop. Within it, calls that only
group (jit, custom derivatives, rematerialisation) are dissolved, as XLA dissolves them; a loop or a conditional is one
equation, whose own programs are frames again.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

LONGEST_PARAMETERS: Final = 500
"""Characters of an equation's parameters that are repeated in full; their hash covers all."""

MOST_CALLERS: Final = 8

CALLS: Final = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
"""Primitives that only group others, by the parameter that holds these."""

LOOPS: Final = frozenset({"scan", "while"})
BRANCHES: Final = frozenset({"cond"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the kernel's own code; `file` is relative to the kernel's folder."""

    file: str
    line: int
    function: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"file": self.file, "function": self.function, "line": self.line}


@dataclass(frozen=True, slots=True)
class Source:
    """The line that asked for an operation, and the lines that called it, nearest first."""

    at: Line
    callers: tuple[Line, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.at.document(), "callers": [line.document() for line in self.callers]}


@dataclass(frozen=True, slots=True)
class Known:
    """An operand that the program itself states."""

    value: Any


Operand = int | Known
"""A slot of the frame, or a stated value."""


@dataclass(frozen=True, slots=True)
class Equation:
    """One operation. `path` is within its frame; `outputs` has None for results that nothing uses.

    `primitive` is JAX's name, and of an `ffi_call` also, behind a blank, that of the native function.
    """

    path: str
    primitive: str
    equation: Any
    inputs: tuple[Operand, ...]
    outputs: tuple[int | None, ...]
    source: Source | None

    @property
    def parameters(self) -> str:
        """The equation's own settings as text that is the same in every process."""
        return parameters(self.equation.params)

    def document(self) -> dict[str, Any]:
        """What the program's text says about it, as JSON."""
        used = zip(self.equation.outvars, self.outputs, strict=True)
        return {
            "inputs": [kind(atom.aval) for atom in self.equation.invars],
            "outputs": [kind(variable.aval) for variable, slot in used if slot is not None],
            "parameters": self.parameters[:LONGEST_PARAMETERS],
            "source": self.source.document() if self.source else None,
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """Equations in order over numbered slots. `constants` are slots that the program fills itself."""

    arguments: tuple[int, ...]
    equations: tuple[Equation, ...]
    results: tuple[Operand, ...]
    constants: Mapping[int, Any]
    needed: Sequence[int] = field(repr=False)
    """By slot: one more than the index of the last equation that takes it; beyond all equations if it is a result."""

    def live(self, cut: int) -> list[int]:
        """The slots that are filled by equations before a cut and used after it, in order of their making."""
        if cut == len(self.equations):
            return list(dict.fromkeys(slot for slot in self.results if isinstance(slot, int) and self._made(slot, cut)))
        made = (slot for equation in self.equations[:cut] for slot in equation.outputs if slot is not None)
        return [slot for slot in made if self.needed[slot] > cut]

    def _made(self, slot: int, cut: int) -> bool:
        return any(slot in equation.outputs for equation in self.equations[:cut])


def frame(jaxpr: Any, consts: Sequence[Any], folder: Path, caller: Source | None = None) -> Frame:
    """Flatten a jaxpr.

    Args:
        jaxpr: an open jaxpr.
        consts: the values of its constant variables.
        folder: the kernel's, whose files are named as sources.
        caller: the line to name where an equation has none of its own.
    """
    flat = _Flat(folder)
    bound: dict[Any, Operand] = {}
    arguments = tuple(flat.fresh(bound, variable) for variable in jaxpr.invars)
    flat.constants |= dict(zip((flat.fresh(bound, one) for one in jaxpr.constvars), consts, strict=True))
    flat.walk(jaxpr, bound, "", caller)
    results = tuple(flat.operand(bound, atom) for atom in jaxpr.outvars)
    needed = [0] * flat.slots
    for index, equation in enumerate(flat.equations):
        for slot in equation.inputs:
            if isinstance(slot, int):
                needed[slot] = index + 1
    for slot in results:
        if isinstance(slot, int):
            needed[slot] = len(flat.equations) + 1
    return Frame(arguments, tuple(flat.equations), results, flat.constants, needed)


class _Flat:
    def __init__(self, folder: Path) -> None:
        self.equations: list[Equation] = []
        self.constants: dict[int, Any] = {}
        self.slots = 0
        self._folder = folder

    def fresh(self, bound: dict[Any, Operand], variable: Any) -> int:
        bound[variable] = self.slots
        self.slots += 1
        return self.slots - 1

    @staticmethod
    def operand(bound: Mapping[Any, Operand], atom: Any) -> Operand:
        return Known(atom.val) if hasattr(atom, "val") else bound[atom]

    def walk(self, jaxpr: Any, bound: dict[Any, Operand], prefix: str, caller: Source | None) -> None:
        for index, equation in enumerate(jaxpr.eqns):
            name, path = equation.primitive.name, f"{prefix}{index}"
            source = _under(source_of(equation, self._folder), caller)
            inputs = tuple(self.operand(bound, atom) for atom in equation.invars)
            called = equation.params.get(CALLS[name]) if name in CALLS else None
            if name == "custom_linear_solve":  # a call of its `solve`; what else it holds serves derivatives
                called, lengths = equation.params["jaxprs"].solve, equation.params["const_lengths"]
                skipped = lengths.matvec + lengths.vecmat
                inputs = inputs[skipped : skipped + lengths.solve] + inputs[sum(lengths) :]
            if called is not None:
                inner, consts = getattr(called, "jaxpr", called), getattr(called, "consts", ())
                within: dict[Any, Operand] = dict(zip(inner.invars, inputs, strict=True))
                for variable, value in zip(inner.constvars, consts, strict=True):
                    self.constants[self.fresh(within, variable)] = value
                self.walk(inner, within, f"{path}/", source)
                bound |= {
                    variable: self.operand(within, atom)
                    for variable, atom in zip(equation.outvars, inner.outvars, strict=True)
                }
                continue
            outputs = tuple(
                None if type(variable).__name__ == "DropVar" else self.fresh(bound, variable)
                for variable in equation.outvars
            )
            self.equations.append(Equation(path, _named(equation), equation, inputs, outputs, source))


def _named(equation: Any) -> str:
    """The primitive's name; of native code, with what is called."""
    name = str(equation.primitive.name)
    return f"{name} {equation.params['target_name']}" if name == "ffi_call" else name


def kind(aval: Any) -> list[Any]:
    """Element type and shape, as JSON."""
    return [str(getattr(aval, "dtype", "none")), list(getattr(aval, "shape", ()))]


def source_of(equation: Any, folder: Path) -> Source | None:
    """The innermost line of the kernel's own files that made an equation, as far as JAX remembers it."""
    try:  # of JAX's internals, where other versions may keep it elsewhere
        frames = traceback.extract_tb(equation.source_info.traceback.as_python_traceback())
    except AttributeError:
        return None
    lines = [
        Line(str(Path(found.filename).relative_to(folder)), found.lineno or 0, found.name)
        for found in reversed(frames)
        if Path(found.filename).is_relative_to(folder)
    ]
    return Source(lines[0], tuple(lines[1 : 1 + MOST_CALLERS])) if lines else None


def _under(source: Source | None, caller: Source | None) -> Source | None:
    """A line with those that called it; JAX forgets these for what it traced on its own, such as a loop's body."""
    if source is None or caller is None or source.callers or source.at == caller.at:
        return source or caller
    return Source(source.at, (caller.at, *caller.callers)[:MOST_CALLERS])


def parameters(params: Mapping[str, Any]) -> str:
    """An equation's parameters, sorted; programs inside are left out, as their equations stand for themselves."""
    return ", ".join(f"{name}={_plain(params[name])}" for name in sorted(params) if not _program(params[name]))


def _program(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(_program(item) for item in value)
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _plain(value: Any) -> str:
    if callable(value) and not isinstance(value, type):
        return getattr(value, "__qualname__", type(value).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
