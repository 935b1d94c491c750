"""A traced run (docs/trace.md): after the plain run, the same call is taken to pieces, as a request says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kernels.runtime import canonical, folder
from kernels.runtime.blame import blaming
from kernels.runtime.errors import InputError
from kernels.runtime.program import Call
from kernels.runtime.tensors import describe
from kernels.runtime.trace_merkle import Tree
from kernels.runtime.trace_program import Frame, frame, kind
from kernels.runtime.trace_request import VERSION, Hashes, Request, Segments, Values, read
from kernels.runtime.trace_segments import segments
from kernels.runtime.trace_values import host_array, stored
from kernels.runtime.trace_walk import Leaf, Valued, Walker


def record(request: Path, target: Path, call: Call) -> dict[str, Any]:
    """Trace a call as a request says; leave `trace.json` and, for values, `trace.safetensors`.

    Args:
        request: the file that says how.
        target: folder for the results.
        call: what the plain run ran.

    Returns:
        What the receipt says about it: the mode, and the hash of `trace.json`.

    Raises:
        InputError: the request is malformed, or names what the program does not have.
        KernelError: the program can't be evaluated in pieces.
        HostError: there is too little memory or space.
    """
    asked = read(request)
    with blaming(call.reference, call.kernel.folder):
        document, tensors = trace(asked, call)
    data = canonical.dumps(document) + b"\n"
    if tensors:
        from safetensors.numpy import save  # noqa: PLC0415  # only where values are asked for

        folder.put(target / folder.TRACED, save({name: stored(value) for name, value in tensors.items()}))
    folder.put(target / folder.TRACE, data)
    return {"mode": asked.mode, "sha256": hashlib.sha256(data).hexdigest()}


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

    def __init__(self, asked: Hashes) -> None:
        self._asked = asked
        self._tree = Tree()
        self._leaves: list[dict[str, Any]] = []
        self._places: dict[str, Any] = {}
        self._parameters: dict[int, str] = {}

    def add(self, leaf: Leaf) -> None:
        entry = {
            "inputs": [one.hash for one in leaf.inputs],
            "outputs": [one.hash for one in leaf.outputs],
            "parameters": self._digest(leaf),
            "path": leaf.path,
            "primitive": leaf.primitive,
        }
        if self._asked.start <= self._tree.leaves < self._asked.stop:
            self._leaves.append(entry)
            self._places.setdefault(static(leaf.path), _place(leaf))
        self._tree.add(canonical.dumps(entry))

    def _digest(self, leaf: Leaf) -> str:
        key = id(leaf.equation)
        if key not in self._parameters:
            text = leaf.equation.parameters if leaf.equation else ""
            self._parameters[key] = hashlib.sha256(text.encode()).hexdigest()
        return self._parameters[key]

    def document(self) -> dict[str, Any]:
        return {
            "leaves": self._tree.leaves,
            "root": self._tree.root().hex(),
            "level": self._tree.level,
            "chunks": [chunk.hex() for chunk in self._tree.chunks()],
            "window": {"start": self._asked.start, "leaves": self._leaves},
            "places": self._places,
        }


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


def _kept(asked: Values, program: Frame, arguments: list[tuple[str, Any]], call: Call) -> dict[str, Any]:
    missing = set(asked.equations)
    kept: dict[str, Any] = {}

    def keep(leaf: Leaf) -> None:
        if leaf.path not in missing:
            return
        missing.discard(leaf.path)
        # The values are the program's own: copied, since a buffer may be used again.
        for role, values in (("in", leaf.inputs), ("out", leaf.outputs)):
            kept.update({f"{leaf.path}:{role}{index}": np.array(stored(one.value)) for index, one in enumerate(values)})
        if not missing:
            raise _Enough

    try:
        _walked(program, arguments, call, keep)
    except _Enough:
        return kept
    if missing:
        raise InputError(f"the program has no {min(missing)!r}")
    return kept
