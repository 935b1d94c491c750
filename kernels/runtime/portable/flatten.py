"""A traced program as a list of operations over numbered slots: calls that only group are dissolved, dead ones dropped.

Loops and conditionals stay single operations; their bodies are programs of their own.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from kernels.runtime import trace_program
from kernels.runtime.errors import KernelError
from kernels.runtime.portable import definitions

CALLS: Final = trace_program.CALLS | {"composite": "jaxpr", "custom_vmap_call": "call", "linear_call": "callee"}
"""Primitives that only group others, by the parameter that holds these."""

OURS: Final = str(Path(__file__).parent)
JAX: Final = str(Path(jax.__file__).parent)


@dataclass(frozen=True, slots=True)
class Kind:
    """Shape and type of a value."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An operand that the program itself states."""

    value: np.ndarray

    @property
    def kind(self) -> Kind:
        """Its shape and type."""
        return Kind(self.value.shape, self.value.dtype)


Operand = int | Known
"""A slot, or a stated value."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One equation. `origins` are what JAX remembers of its making, and of the calls around it, innermost first."""

    primitive: Any
    params: Mapping[str, Any]
    inputs: tuple[Operand, ...]
    outputs: tuple[int, ...]
    context: Any = None
    origins: tuple[Any, ...] = ()
    acts: bool = False
    """Whether it does something besides giving results."""
    refused: KernelError | None = None
    """Why it is no program of others, though there are such for its primitive."""

    @property
    def name(self) -> str:
        """The primitive's."""
        return str(self.primitive.name)


@dataclass(frozen=True, slots=True)
class Program:
    """Operations in order. `constants` are the slots that the program fills itself."""

    arguments: tuple[int, ...]
    constants: dict[int, Any]
    operations: tuple[Operation, ...]
    results: tuple[Operand, ...]
    kinds: Sequence[Kind]

    def kind(self, operand: Operand) -> Kind:
        """Shape and type of an operand."""
        return operand.kind if isinstance(operand, Known) else self.kinds[operand]


def flatten(jaxpr: Any, consts: Sequence[Any], origins: tuple[Any, ...] = ()) -> Program:
    """Take a program to pieces.

    Args:
        jaxpr: an open jaxpr.
        consts: the values of its constant variables.
        origins: of the operation whose body it is.
    """
    flat = _Flat()
    bound: dict[Any, Operand] = {}
    arguments = tuple(flat.fresh(bound, variable) for variable in jaxpr.invars)
    flat.walk(jaxpr, consts, bound, origins)
    results = tuple(flat.operand(bound, atom) for atom in jaxpr.outvars)
    return Program(arguments, flat.constants, _live(flat.operations, results), results, flat.kinds)


@dataclass(slots=True)
class _Flat:
    operations: list[Operation] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    kinds: list[Kind] = field(default_factory=list)

    def fresh(self, bound: dict[Any, Operand], variable: Any) -> int:
        slot = len(self.kinds)
        self.kinds.append(Kind(tuple(variable.aval.shape), variable.aval.dtype))
        bound[variable] = slot
        return slot

    @staticmethod
    def operand(bound: Mapping[Any, Operand], atom: Any) -> Operand:
        return Known(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else bound[atom]

    def walk(self, jaxpr: Any, consts: Sequence[Any], bound: dict[Any, Operand], origins: tuple[Any, ...]) -> None:
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            self.constants[self.fresh(bound, variable)] = value
        for equation in jaxpr.eqns:
            inputs = tuple(self.operand(bound, atom) for atom in equation.invars)
            made = (equation.source_info, *origins)
            if equation.primitive.name == "platform_index":
                bound[equation.outvars[0]] = Known(np.asarray(_on_cpu(equation.params["platforms"]), np.int32))
                continue
            refused = None
            try:
                called, inputs = _called(equation, inputs)
            except KernelError as error:
                called, refused = None, error
            if called is None:
                outputs = tuple(self.fresh(bound, variable) for variable in equation.outvars)
                inputs = self._powers(equation, inputs, made)
                acts = bool(equation.effects)
                self.operations.append(
                    Operation(equation.primitive, equation.params, inputs, outputs, equation.ctx, made, acts, refused),
                )
                continue
            if equation.params.get("prevent_cse") and equation.params.get("differentiated"):
                inputs = self._apart(inputs, made)
            inner: Any = getattr(called, "jaxpr", called)
            within: dict[Any, Operand] = dict(zip(inner.invars, inputs, strict=True))
            self.walk(inner, getattr(called, "consts", ()), within, made)
            for variable, atom in zip(equation.outvars, inner.outvars, strict=True):
                bound[variable] = self.operand(within, atom)

    def _powers(self, equation: Any, inputs: tuple[Operand, ...], origins: tuple[Any, ...]) -> tuple[Operand, ...]:
        """What `pow` takes, an integer exponent being converted to the base's type first."""
        own = equation.outvars[0].aval.dtype if equation.outvars else None
        if equation.primitive.name != "pow" or equation.invars[1].aval.dtype == own:
            return inputs
        slot = len(self.kinds)
        self.kinds.append(Kind(tuple(equation.invars[1].aval.shape), own))
        params = {"new_dtype": own, "weak_type": False, "sharding": None}
        self.operations.append(
            Operation(jax.lax.convert_element_type_p, params, inputs[1:], (slot,), origins=origins),
        )
        return inputs[0], slot

    def _apart(self, inputs: tuple[Operand, ...], origins: tuple[Any, ...]) -> tuple[Operand, ...]:
        """Keep XLA from finding that a rematerialised part was computed before: its memory is what it saves."""
        held = [one for one in inputs if isinstance(one, int)]
        if not held:
            return inputs
        first = len(self.kinds)
        self.kinds.extend(self.kinds[one] for one in held)
        outputs = tuple(range(first, len(self.kinds)))
        self.operations.append(
            Operation(jax.lax.optimization_barrier_p, {}, tuple(held), outputs, origins=origins),
        )
        renamed = iter(outputs)
        return tuple(next(renamed) if isinstance(one, int) else one for one in inputs)


def _called(equation: Any, inputs: tuple[Operand, ...]) -> tuple[Any, tuple[Operand, ...]]:
    """The program that an equation only calls, if so, and what it calls it with."""
    name, params = equation.primitive.name, equation.params
    if name == "cond" and isinstance(inputs[0], Known):  # of the platform, by `platform_index`
        branches = params["branches"]
        return branches[min(max(int(inputs[0].value), 0), len(branches) - 1)], inputs[1:]
    if name == "custom_linear_solve":  # a call of its `solve`; what else it holds serves derivatives
        lengths = params["const_lengths"]
        skipped = lengths.matvec + lengths.vecmat
        return params["jaxprs"].solve, inputs[skipped : skipped + lengths.solve] + inputs[sum(lengths) :]
    return params[CALLS[name]] if name in CALLS else definitions.definition(equation), inputs


def _on_cpu(platforms: Sequence[Sequence[str] | None]) -> int:
    """Which of the alternatives for platforms is a CPU's; the one for None is for all others."""
    return next(index for index, names in enumerate(platforms) if names is None or "cpu" in names)


def _live(operations: Sequence[Operation], results: Sequence[Operand]) -> tuple[Operation, ...]:
    needed = {one for one in results if isinstance(one, int)}
    kept = []
    for operation in reversed(operations):
        if needed.isdisjoint(operation.outputs) and not operation.acts:
            continue
        kept.append(operation)
        needed.update(one for one in operation.inputs if isinstance(one, int))
    return tuple(reversed(kept))


def place(origins: Sequence[Any]) -> str:
    """`file:line in function` of the innermost line that is neither JAX's nor this transform's; empty if unknown."""
    for origin in origins:
        try:  # of JAX's internals, where other versions may keep it elsewhere
            frames = traceback.extract_tb(origin.traceback.as_python_traceback())
        except AttributeError:
            continue
        for found in reversed(frames):
            if not found.filename.startswith((JAX, OURS, "<")):
                return f"{found.filename}:{found.lineno} in {found.name}"
    return ""
