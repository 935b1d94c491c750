"""Traces as hosts give them back (docs/trace.md). A host may lie: they are bounded and true to their own hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from builder.errors import IntegrityError
from builder.harness.compare import strict
from builder.harness.trace_merkle import head, leaf_hash
from builder.hosts.exchange import opened

FILE: Final = "trace.json"
VALUES: Final = "trace.safetensors"
LARGEST: Final = 64 << 20
"""Bytes of a trace: 4096 leaves are about 2 MiB."""

WINDOW: Final = 4096
"""Leaves that a trace lists at most, and chunks that it is divided into."""

ARGUMENTS: Final = frozenset({"parameter", "input", "key", "constant"})
"""What stands for a primitive in the leaf of a value that the program begins with."""

_MOST_LEVEL: Final = 40

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Path_ = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Kind = tuple[Annotated[str, StringConstraints(max_length=64)], Annotated[tuple[Count, ...], Field(max_length=64)]]
"""Element type and shape."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Strict):
    """A line of the kernel's own code; `file` is relative to `/opt/kernel`."""

    file: Annotated[str, StringConstraints(max_length=1024)]
    line: Count
    function: Annotated[str, StringConstraints(max_length=1024)]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Source(Line):
    """The line that asked for an operation, and the lines of the kernel that called it, nearest first."""

    callers: Annotated[tuple[Line, ...], Field(max_length=8)] = ()


class Place(_Strict):
    """What the program's text says about an operation."""

    inputs: tuple[Kind, ...]
    outputs: tuple[Kind, ...]
    parameters: Annotated[str, StringConstraints(max_length=4096)]
    source: Source | None


class Leaf(_Strict):
    """One operation that was carried out, by the hashes of what it took and gave."""

    path: Path_
    primitive: Annotated[str, StringConstraints(max_length=256)]
    parameters: Hash
    inputs: tuple[Hash, ...]
    outputs: tuple[Hash, ...]

    @property
    def program(self) -> tuple[str, str, str]:
        """What of it is the program's and not the run's."""
        return self.path, self.primitive, self.parameters


class _Window(_Strict):
    start: Count
    leaves: Annotated[tuple[Leaf, ...], Field(max_length=WINDOW)]


class Described(_Strict):
    """An output, as a receipt describes it."""

    dtype: str
    shape: tuple[Count, ...]
    sha256: Hash


class Hashes(_Strict):
    """The answer in mode `hashes`, or `operations`, where `starts` are the paths of the chunks' first leaves."""

    version: Literal[1]
    mode: Literal["hashes", "operations"]
    leaves: Count
    root: Hash
    level: Annotated[int, Field(ge=0, le=_MOST_LEVEL)]
    chunks: Annotated[tuple[Hash, ...], Field(max_length=WINDOW)]
    starts: Annotated[tuple[Path_, ...], Field(max_length=WINDOW)] = ()
    window: _Window
    places: dict[str, Place]
    outputs: dict[str, Described]

    def place(self, leaf: Leaf) -> Place | None:
        """What the program's text says about a leaf's operation."""
        return self.places.get(static(leaf.path))


class Judged(Leaf):
    """One operation as a host carried it out, and what its referee gave for the same operands."""

    referee: tuple[Hash, ...]


class Judgement(_Strict):
    """The answer in mode `referee`."""

    version: Literal[1]
    mode: Literal["referee"]
    operations: Annotated[tuple[Judged, ...], Field(max_length=64)]
    places: dict[str, Place]


class Equation(Place):
    """An operation of a frame; `takes` names the values that it needs."""

    path: Path_
    primitive: Annotated[str, StringConstraints(max_length=256)]
    takes: tuple[str, ...]


Named = tuple[str, Hash]


class Cut(_Strict):
    """The values at a cut, in the order in which they were made."""

    cut: Count
    values: tuple[Named, ...]


class Segment(_Strict):
    """What a stretch of a frame took and gave when it was compiled alone."""

    segment: tuple[Count, Count]
    inputs: tuple[Named, ...]
    outputs: tuple[Named, ...]


class Frame(_Strict):
    """The answer in mode `segments` for a frame."""

    version: Literal[1]
    mode: Literal["segments"]
    frame: Annotated[str, StringConstraints(max_length=4096)]
    inputs: tuple[Hash, ...]
    equations: tuple[Equation, ...]
    cuts: tuple[Cut, ...]
    segments: tuple[Segment, ...]
    outputs: dict[str, Described] = {}


class Passes(_Strict):
    """A loop's values after some passes; `made` are fewer where it ended before."""

    passes: Count
    made: Count
    values: tuple[Hash, ...]


class _Loop(_Strict):
    primitive: Literal["scan", "while"]
    length: Count | None
    iterations: tuple[Passes, ...]


class Loop(_Strict):
    """The answer in mode `segments` for a loop."""

    version: Literal[1]
    mode: Literal["segments"]
    frame: Path_
    loop: _Loop


Answer = TypeVar("Answer", Hashes, Judgement, Frame, Loop)


def static(path: str) -> str:
    """A path without the numbers of passes: the place in the program's text."""
    return re.sub(r"/([ic])[0-9]+", r"/\1", path)


def read(folder: Path, form: type[Answer]) -> Answer:
    """Read `trace.json`.

    Raises:
        IntegrityError: it is not there, malformed, or not true to its own hashes.
    """
    where = str(folder / FILE)
    source = opened(folder / FILE)
    if source is None:
        raise IntegrityError("the run left no trace", where=where)
    with source:
        data = source.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise IntegrityError(f"the trace is larger than {LARGEST} bytes", where=where)
    try:
        answer = form.model_validate(strict.loads(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"not a trace: {at}: {first['msg']}", where=where) from error
    except ValueError as error:
        raise IntegrityError(f"not a trace: {error}", where=where) from error
    if isinstance(answer, Hashes) and (wrong := untrue(answer)):
        raise IntegrityError(f"not a trace: {wrong}", where=where)
    return answer


def answers(trace: Hashes | Judgement | Frame | Loop, request: Mapping[str, Any]) -> bool:
    """Whether a trace is what was asked for, part by part."""
    if isinstance(trace, Judgement):
        return {one.path for one in trace.operations} == set(request["equations"])
    if isinstance(trace, Hashes):
        start, stop = request.get("window", (0, WINDOW))
        listed = max(0, min(stop, trace.leaves) - start)
        return (trace.window.start, len(trace.window.leaves)) == (start, listed)
    if trace.frame != request.get("frame", ""):
        return False
    if isinstance(trace, Loop):
        return bool([one.passes for one in trace.loop.iterations] == request.get("iterations", []))
    cuts, segments = [one.cut for one in trace.cuts], [list(one.segment) for one in trace.segments]
    return (cuts, segments) == (request.get("cuts", []), request.get("segments", []))


def untrue(trace: Hashes) -> str | None:
    """In what a trace contradicts itself, or None: its tree must be that of its leaves, as far as these are listed."""
    size = 1 << trace.level
    if len(trace.chunks) != -(-trace.leaves // size):
        return f"{trace.leaves} leaves are not {len(trace.chunks)} chunks of {size}"
    if head([bytes.fromhex(chunk) for chunk in trace.chunks]).hex() != trace.root:
        return "the root is not that of the chunks"
    start, listed = trace.window.start, trace.window.leaves
    if len(listed) > max(trace.leaves - start, 0):
        return "it lists more leaves than there are"
    hashes = [leaf_hash(rfc8785.dumps(_plain(leaf))) for leaf in listed]
    for index in range(-(-start // size), (start + len(listed)) // size + 1):
        first, last = index * size - start, min((index + 1) * size, trace.leaves) - start
        if first < last <= len(hashes) and head(hashes[first:last]).hex() != trace.chunks[index]:
            return f"chunk {index} is not that of its leaves"
    if any(static(leaf.path) not in trace.places for leaf in listed):
        return "a leaf's place is not described"
    return None


def _plain(leaf: Leaf) -> Mapping[str, Any]:
    return {**leaf.model_dump(), "inputs": list(leaf.inputs), "outputs": list(leaf.outputs)}
