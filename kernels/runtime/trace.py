"""A traced run (docs/trace.md): after the plain run, the same call is taken to pieces, as a request says."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kernels.runtime import canonical, folder
from kernels.runtime.blame import blaming
from kernels.runtime.errors import InputError, KernelError
from kernels.runtime.program import Call
from kernels.runtime.tensors import describe
from kernels.runtime.trace_merkle import Tree
from kernels.runtime.trace_program import Frame, frame, kind
from kernels.runtime.trace_request import VERSION, Hashes, Operations, Referee, Request, Segments, Values, read
from kernels.runtime.trace_segments import segments
from kernels.runtime.trace_values import host_array, stored
from kernels.runtime.trace_walk import Leaf, Valued, Walker


@dataclass(frozen=True, slots=True)
class Plain:
    """The run that is traced: the profile it ran under, and each output as the receipt describes it."""

    profile: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a receipt says of a trace.

    Attributes:
        summary: the mode, and the hash of `trace.json`; never hashed.
        operations: what the hashed part has of a list of operations; None in other modes.
    """

    summary: Mapping[str, Any]
    operations: Mapping[str, Any] | None


def record(request: Path, target: Path, call: Call, plain: Plain) -> Recorded:
    """Trace a call as a request says; leave `trace.json` and, for values, `trace.safetensors`.

    Args:
        request: the file that says how.
        target: folder for the results.
        call: what the plain run ran.
        plain: what came of that.

    Raises:
        InputError: the request is malformed, names what the program does not have, or asks what only portable kernels
            can answer.
        KernelError: the program can't be evaluated in pieces, or operation by operation came to other bits although
            the kernel is portable.
        HostError: there is too little memory or space.
    """
    asked = read(request)
    if isinstance(asked, Operations | Referee) and plain.profile != "portable":
        raise InputError(
            f"a trace in mode {asked.mode!r} is of portable kernels; this one is {plain.profile}",
            hint="use kbuild verify, which finds where runs of any kernel part, by running them again",
        )
    with blaming(call.reference, call.kernel.folder):
        document, tensors = trace(asked, call)
    operations = None
    if isinstance(asked, Operations):
        if document["outputs"] != plain.outputs:
            raise KernelError("operation by operation this kernel comes to other outputs, although it is portable")
        operations = {"version": VERSION, "leaves": document["leaves"], "root": document["root"]}
    data = canonical.dumps(document) + b"\n"
    if tensors:
        from safetensors.numpy import save  # noqa: PLC0415  # only where values are asked for

        folder.put(target / folder.TRACED, save({name: stored(value) for name, value in tensors.items()}))
    folder.put(target / folder.TRACE, data)
    return Recorded({"mode": asked.mode, "sha256": hashlib.sha256(data).hexdigest()}, operations)


def trace(asked: Request, call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `trace.json` says, and the values for `trace.safetensors` by name."""
    traced = jax.jit(call.kernel.entry).trace(*call.arguments)
    program = frame(traced.jaxpr.jaxpr, traced.jaxpr.consts, call.kernel.folder)
    arguments = _arguments(call)
    names = sorted(traced.out_info)  # of a dict, JAX orders the values so
    document: dict[str, Any] = {"version": VERSION, "mode": asked.mode}
    if isinstance(asked, Segments):
        found, tensors = segments(asked, program, [value for _, value in arguments], names, call.kernel.folder)
        return document | found, tensors
    if isinstance(asked, Values):
        return document, _kept(asked, program, arguments, call)
    if isinstance(asked, Referee):
        return document | _refereed(asked, program, arguments, call), {}
    listing = _Listing(asked)
    results = _walked(program, arguments, call, listing.add)
    outputs = {name: describe(name, host_array(one.value)) for name, one in zip(names, results, strict=True)}
    return document | listing.document() | {"outputs": outputs}, {}


def _arguments(call: Call) -> list[tuple[str, Any]]:
    """What the program begins with, named, in the order of its arguments."""
    leaves = jax.tree_util.tree_leaves_with_path(call.arguments)
    roles = ("params", "inputs", "key")
    return [(roles[path[0].idx] + jax.tree_util.keystr(path[1:]), leaf) for path, leaf in leaves]


def _walked(program: Frame, arguments: list[tuple[str, Any]], call: Call, sink: Any) -> list[Valued]:
    values = [Valued(value) for _, value in arguments]
    for (name, _), value in zip(arguments, values, strict=True):
        role = {"p": "parameter", "i": "input", "k": "key"}[name[0]]
        sink(Leaf(name, role, None, (), (value,)))
    return Walker(call.kernel.folder, sink).walk(program, values)


class _Listing:
    """The leaves of a window, and the tree over all."""

    def __init__(self, asked: Hashes | Operations) -> None:
        self._asked = asked
        self._tree = Tree()
        self._starts: list[str] = []
        self._leaves: list[dict[str, Any]] = []
        self._places: dict[str, Any] = {}
        self._parameters: dict[int, str] = {}

    def add(self, leaf: Leaf) -> None:
        entry = _entry(leaf, self._digest(leaf))
        if self._asked.start <= self._tree.leaves < self._asked.stop:
            self._leaves.append(entry)
            self._places.setdefault(static(leaf.path), _place(leaf))
        level = self._tree.level
        self._tree.add(canonical.dumps(entry))
        if self._tree.level > level:
            self._starts = self._starts[::2]
        if (self._tree.leaves - 1) % (1 << self._tree.level) == 0:
            self._starts.append(leaf.path)

    def _digest(self, leaf: Leaf) -> str:
        key = id(leaf.equation)
        if key not in self._parameters:
            self._parameters[key] = _parameters(leaf)
        return self._parameters[key]

    def document(self) -> dict[str, Any]:
        return {
            "leaves": self._tree.leaves,
            "root": self._tree.root().hex(),
            "level": self._tree.level,
            "chunks": [chunk.hex() for chunk in self._tree.chunks()],
            **({"starts": self._starts} if self._tree.level and isinstance(self._asked, Operations) else {}),
            "window": {"start": self._asked.start, "leaves": self._leaves},
            "places": self._places,
        }


def _entry(leaf: Leaf, parameters: str) -> dict[str, Any]:
    return {
        "inputs": [one.hash for one in leaf.inputs],
        "outputs": [one.hash for one in leaf.outputs],
        "parameters": parameters,
        "path": leaf.path,
        "primitive": leaf.primitive,
    }


def _parameters(leaf: Leaf) -> str:
    return hashlib.sha256((leaf.equation.parameters if leaf.equation else "").encode()).hexdigest()


def static(path: str) -> str:
    """A path without the numbers of passes: the place in the program's text."""
    return re.sub(r"/([ic])[0-9]+", r"/\1", path)


def _place(leaf: Leaf) -> dict[str, Any]:
    if leaf.equation is None:
        array = leaf.outputs[0].value
        return {"inputs": [], "outputs": [kind(array)], "parameters": "", "source": None}
    return leaf.equation.document()


class _Enough(Exception):
    """All that was asked for is at hand."""


def _picked(
    paths: tuple[str, ...], program: Frame, arguments: list[tuple[str, Any]], call: Call, take: Callable[[Leaf], None]
) -> None:
    """Walk the program until each of these leaves was handed over."""
    missing = set(paths)

    def pick(leaf: Leaf) -> None:
        if leaf.path not in missing:
            return
        missing.discard(leaf.path)
        take(leaf)
        if not missing:
            raise _Enough

    with contextlib.suppress(_Enough):
        _walked(program, arguments, call, pick)
    if missing:
        raise InputError(f"the program has no {min(missing)!r}")


def _kept(asked: Values, program: Frame, arguments: list[tuple[str, Any]], call: Call) -> dict[str, Any]:
    kept: dict[str, Any] = {}

    def keep(leaf: Leaf) -> None:
        # The values are the program's own: copied, since a buffer may be used again.
        for role, values in (("in", leaf.inputs), ("out", leaf.outputs)):
            kept.update({f"{leaf.path}:{role}{index}": np.array(stored(one.value)) for index, one in enumerate(values)})

    _picked(asked.equations, program, arguments, call, keep)
    return kept


def _refereed(asked: Referee, program: Frame, arguments: list[tuple[str, Any]], call: Call) -> dict[str, Any]:
    from kernels.runtime.trace_referee import judged  # noqa: PLC0415  # not in the image of another profile

    leaves: list[dict[str, Any]] = []
    places: dict[str, Any] = {}

    def judge(leaf: Leaf) -> None:
        leaves.append(_entry(leaf, _parameters(leaf)) | {"referee": [one.hash for one in judged(leaf)]})
        places[static(leaf.path)] = _place(leaf)

    _picked(asked.equations, program, arguments, call, judge)
    return {"operations": leaves, "places": places}
