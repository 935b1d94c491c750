"""What an image holds that was compiled at build: `aot/manifest.json`, in canonical JSON.

It says for what the programs were made, so that they are loaded where they fit and nowhere else; which arrays each of
them takes; and where the bytes of every parameter are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from kernels.runtime import canonical
from kernels.runtime.errors import KernelError

FOLDER: Final = Path("opt/kernel/aot")
FILE: Final = FOLDER / "manifest.json"
FORM: Final = 1
LONGEST: Final = 16 << 20
"""Bytes of the file; one program with a hundred parameters has some ten thousand."""


class Leaf(NamedTuple):
    """A tensor: its element type by the protocol's name, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class Parameter(NamedTuple):
    """A parameter that the kernel loaded at build: `offset` bytes into `file`, a path below the image's root."""

    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int


class Handler(NamedTuple):
    """A function of a native library, by the name under which a program calls it."""

    library: str
    symbol: str
    name: str


class Program(NamedTuple):
    """One compiled program.

    Attributes:
        file: its name below the manifest's folder.
        code: hex SHA-256 of that file.
        program: what a receipt calls `program`: the hash of the lowered entry.
        arrays: the entry's arrays that it is for, by name.
        arguments: what it takes, in order: `["parameter", i]`, `["array", name]` or `["key"]`.
        outputs: names and tensors of what it gives, in order.
        foreign: whether it calls functions that only JAX registers, such as LAPACK's.
    """

    file: str
    code: str
    program: str
    arrays: Mapping[str, Leaf]
    arguments: tuple[tuple[str | int, ...], ...]
    outputs: tuple[tuple[str, Leaf], ...]
    foreign: bool


class Manifest(NamedTuple):
    """Everything that was compiled for one image.

    Attributes:
        platform: such as `linux/amd64`.
        cpu: the level or version of the architecture that it was compiled for.
        compiled_on: the CPU that was emulated meanwhile.
        environment: every variable at that time that can reach code, by name.
        versions: of jax, jaxlib, NumPy, Python, and the LLVM in jaxlib.
        seed: of the key.
        stored: hex SHA-256 of the file of parameters that no weights hold. Builders hold that file to it; a node, which
            only maps the file, has the image's digest for that.
        parameters: what the kernel's `load` gave, flattened.
        handlers: functions of native libraries that programs call.
        programs: each for other shapes.
    """

    platform: str
    cpu: str
    compiled_on: str
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    seed: int
    stored: str
    parameters: tuple[Parameter, ...]
    handlers: tuple[Handler, ...]
    programs: tuple[Program, ...]


def dumps(manifest: Manifest) -> bytes:
    """The manifest's file."""
    return canonical.dumps({"aot": FORM, **_plain(manifest)})


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def read(root: Path) -> Manifest:
    """Read the manifest of the image whose file system is at `root`.

    Raises:
        KernelError: there is none, or it is not of the form that this runtime knows.
    """
    path = root / FILE
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise KernelError(
            f"{path}: {error.strerror}", hint="the spec asks for programs compiled at build; build the image again"
        ) from error
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise KernelError(f"{path} is no manifest of form {FORM} ({type(error).__name__}: {error})") from error


def parse(data: bytes) -> Manifest:
    """Read a manifest's bytes; malformed ones raise whatever they run into (see `read`)."""
    if len(data) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    document: dict[str, Any] = json.loads(data)
    if canonical.dumps(document) != data:
        raise ValueError("not canonical JSON")
    if document.pop("aot") != FORM:
        raise ValueError("of another form")
    parameters = tuple(Parameter(**{**item, "shape": tuple(item["shape"])}) for item in document.pop("parameters"))
    handlers = tuple(Handler(**item) for item in document.pop("handlers"))
    programs = tuple(_program(item) for item in document.pop("programs"))
    for program in programs:
        if any(which[0] == "parameter" and which[1] not in range(len(parameters)) for which in program.arguments):
            raise ValueError("a program takes a parameter that is not there")
    return Manifest(parameters=parameters, handlers=handlers, programs=programs, **document)


def _program(item: Mapping[str, Any]) -> Program:
    if Path(item["file"]).name != item["file"]:
        raise ValueError(f"a program's file {item['file']!r}")
    found = {
        **item,
        "arrays": {name: _leaf(leaf) for name, leaf in item["arrays"].items()},
        "arguments": tuple(tuple(argument) for argument in item["arguments"]),
        "outputs": tuple((name, _leaf(leaf)) for name, leaf in item["outputs"]),
    }
    return Program(**found)


def _leaf(item: Mapping[str, Any]) -> Leaf:
    shape: Sequence[int] = item["shape"]
    return Leaf(item["dtype"], tuple(shape))
