"""What `aot/manifest.json` says of the programs in an image, held to the files beside it.

Whoever wrote it had just run the kernel's own code, so it is read as anything from outside is: every name, number and
hash of it is bounded or computed again, before an image repeats it in its labels and nodes go by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder.errors import IntegrityError

FOLDER: Final = "opt/kernel/aot"
FILE: Final = "manifest.json"
PARAMETERS: Final = "parameters.bin"
LONGEST: Final = 16 << 20
"""Bytes of the file: as many as nodes read."""

SIZES: Final[Mapping[str, int]] = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of an element, by the protocol's name of its type."""

_SHOWN: Final = 8
_MOST_BYTES: Final = 1 << 50

Text = Annotated[str, Field(max_length=4096)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Length = Annotated[int, Field(ge=0, le=_MOST_BYTES)]
Shape = Annotated[tuple[Length, ...], Field(max_length=32)]
DType = Annotated[str, Field(pattern=rf"^({'|'.join(SIZES)})$")]
Argument = (
    tuple[Literal["parameter"], Annotated[int, Field(ge=0)]] | tuple[Literal["array"], Text] | tuple[Literal["key"]]
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Leaf(_Table):
    """A tensor's type and shape."""

    dtype: DType
    shape: Shape

    @property
    def tensor(self) -> tuple[str, tuple[int, ...]]:
        """The two as a pair."""
        return self.dtype, self.shape


class Parameter(Leaf):
    """A tensor that the kernel loaded: its bytes begin at `offset` of `file`, a path of the image."""

    file: Text
    offset: Length


class Handler(_Table):
    """A function of a native library of the image, which XLA knows by `name`."""

    library: Text
    symbol: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}$")]
    name: Text


class Program(_Table):
    """One program: `code` is the hash of its file, `program` that of the StableHLO it was compiled from."""

    file: Text
    code: Sha256
    program: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    arrays: Mapping[Text, Leaf]
    arguments: tuple[Argument, ...]
    outputs: tuple[tuple[Text, Leaf], ...]
    foreign: bool


class Manifest(_Table):
    """The whole file."""

    aot: Literal[1]
    platform: Text
    cpu: Text
    compiled_on: Text
    environment: Mapping[Text, Annotated[str, Field(max_length=1 << 20)]]
    versions: Mapping[Text, Text]
    seed: Annotated[int, Field(ge=0)]
    stored: Sha256
    """Of `parameters.bin`."""
    parameters: tuple[Parameter, ...]
    handlers: tuple[Handler, ...]
    programs: tuple[Program, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the compiler left: its length and the hash of its content."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What programs were to be compiled for, and out of what; see `builder.plan.aot.Compilation`.

    Attributes:
        told: what the manifest must say, by its own keys.
        versions: of distributions, by name.
        programs: the arrays of each, in order: type and shape by name.
        weights: length of each file of weights, by its path in the image.
        libraries: names of native libraries that the image has.
    """

    told: Mapping[str, Any]
    versions: Mapping[str, str]
    programs: tuple[Mapping[str, tuple[str, tuple[int, ...]]], ...]
    weights: Mapping[str, int]
    libraries: frozenset[str]


def read(data: bytes) -> Manifest:
    """Read the file.

    Raises:
        IntegrityError: it is not of the form that nodes read, or not canonical, so that two readers might differ.
    """
    import rfc8785  # noqa: PLC0415 - only where programs are compiled

    if len(data) > LONGEST:
        raise IntegrityError(f"has {len(data):,} bytes; at most {LONGEST:,} are read", where=FILE)
    try:
        if rfc8785.dumps(json.loads(data)) != data:
            raise IntegrityError("is not canonical JSON (RFC 8785)", where=FILE)
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        lines = "".join(
            f"\n  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)[:_SHOWN]
        )
        raise IntegrityError(f"is malformed{lines}", where=FILE) from None
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise IntegrityError(f"is malformed ({type(error).__name__})", where=FILE) from None


def require_true(manifest: Manifest, files: Mapping[str, Found], asked: Asked) -> None:
    """Hold a manifest to the files beside it and to what was asked for.

    Args:
        manifest: as `read` gave it.
        files: everything that the compiler left, by its path below the folder.
        asked: for what.

    Raises:
        IntegrityError: it says what is not so; one line for each finding.
    """
    found = [*_told(manifest, asked), *_files(manifest, files)]
    sizes = {**asked.weights, f"{FOLDER}/{PARAMETERS}": files[PARAMETERS].size if PARAMETERS in files else 0}
    found += [
        f"parameter {index}: {problem}"
        for index, item in enumerate(manifest.parameters)
        if (problem := _parameter(item, sizes))
    ]
    found += [
        f"a function of the library {handler.library!r}, which the image has not"
        for handler in manifest.handlers
        if handler.library not in asked.libraries
    ]
    for program in manifest.programs:
        found += [f"{program.file}: {problem}" for problem in _arguments(program, len(manifest.parameters))]
    if found:
        lines = "".join(f"\n  {line}" for line in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise IntegrityError(f"does not say what was compiled{lines}{more}", where=FILE)


def _told(manifest: Manifest, asked: Asked) -> Iterator[str]:
    for name, value in asked.told.items():
        if (said := getattr(manifest, name)) != value:
            yield f"{name}: {_short(said)} where {_short(value)} was asked for"
    for name, version in asked.versions.items():
        if (said := manifest.versions.get(name)) != version:
            yield f"the version of {name}: {said} where {version} was asked for"
    if len(manifest.programs) != len(asked.programs):
        yield f"{len(manifest.programs)} programs where {len(asked.programs)} were asked for"
    for program, arrays in zip(manifest.programs, asked.programs, strict=False):
        if {name: leaf.tensor for name, leaf in program.arrays.items()} != dict(arrays):
            yield f"{program.file}: is for other arrays than asked for"


def _files(manifest: Manifest, files: Mapping[str, Found]) -> Iterator[str]:
    """Which files there are, by what names, with which content; the manifest cannot say this of itself."""
    wanted = {f"{index}.xla": program.code for index, program in enumerate(manifest.programs)}
    for name, program in zip(wanted, manifest.programs, strict=True):
        if program.file != name:
            yield f"{program.file!r} in place of {name}"
    wanted[PARAMETERS] = manifest.stored
    for name, sha256 in wanted.items():
        if name not in files:
            yield f"{name}: the compiler left no such file"
        elif files[name].sha256 != sha256:
            yield f"{name}: its hash is {files[name].sha256}, not {sha256}"
    for name in sorted(files.keys() - wanted.keys() - {FILE}):
        yield f"{name}: a file that nothing names"


def _arguments(program: Program, parameters: int) -> Iterator[str]:
    for argument in program.arguments:
        if argument[0] == "parameter" and argument[1] >= parameters:
            yield f"takes parameter {argument[1]} of {parameters}"
        if argument[0] == "array" and argument[1] not in program.arrays:
            yield f"takes {argument[1]!r}, which is none of its arrays"


def _parameter(item: Parameter, sizes: Mapping[str, int]) -> str:
    """What is wrong with where a parameter is said to be; nothing if it is there."""
    if item.file not in sizes:
        return f"is said to be in {_short(item.file)}, which holds no weights"
    end = item.offset + math.prod(item.shape) * SIZES[item.dtype]
    return f"ends at byte {end} of {item.file}, which has {sizes[item.file]}" if end > sizes[item.file] else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004
