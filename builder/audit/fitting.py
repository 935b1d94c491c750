"""A program taken apart, held to what was asked for and to what the manifest says of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from builder.audit.executable import Array, Executable, differing
from builder.audit.manifest import Manifest, Program
from builder.errors import IntegrityError, KernelError

ELEMENTS: Final[Mapping[str, str]] = {
    "bool": "PRED", "int8": "S8", "int16": "S16", "int32": "S32", "int64": "S64", "uint8": "U8", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "C128",
}  # fmt: skip
"""XLA's names of element types (xla.PrimitiveType), by the protocol's."""

_KEY: Final = ("uint32", (2,))
"""The random key's words."""


def require_made_for(
    found: Executable,
    *,
    triple: str,
    cpu: str,
    features: Collection[str],
    threads: int | None,
    flags: Mapping[str, str],
    where: str,
) -> None:
    """Hold what XLA recorded to what it was to compile for.

    Args:
        found: the program.
        triple: how LLVM's name of the platform begins.
        cpu: LLVM's name of the CPU.
        features: of it, that code may use, as LLVM calls them.
        threads: that its work is to be cut for; None: any.
        flags: XLA's, with their values.
        where: it is, for people.

    Raises:
        KernelError: it was compiled for something else; one line for each difference.
    """
    target = found.target
    lines = [
        f"{what}: asked for {asked}, compiled for {seen}"
        for what, asked, seen, same in (
            ("platform", triple, target.triple, target.triple.startswith(f"{triple}-")),
            ("CPU", cpu, target.cpu, target.cpu == cpu),
            ("threads", threads, found.threads, threads in (None, found.threads)),
        )
        if not same
    ]
    used = {name[1:] for name in target.features if name.startswith("+")}
    if more := sorted(used - set(features)):
        lines.append(f"CPU features that {cpu} has not: {', '.join(more)}")
    lines += [
        f"{name}: asked for {asked}, seen {seen}" for name, (asked, seen) in differing(found, dict(flags)).items()
    ]
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        raise KernelError(
            f"XLA compiled for something else than the spec's{listed}",
            where=where,
            hint="the kernel's own code must not change JAX's or XLA's settings",
        )


def require_described(found: Executable, program: Program, manifest: Manifest, where: str) -> None:
    """Hold what a program takes and gives to the manifest, which nodes believe when they read memory.

    Raises:
        IntegrityError: the manifest says something else; one line for each difference.
    """
    takes = [_taken(argument, program, manifest) for argument in program.arguments]
    gives = [leaf.tensor for _, leaf in program.outputs]
    lines = [*_parted("takes", takes, found.arguments), *_parted("gives", gives, found.results)]
    if lines:
        raise IntegrityError("does not say what the program is" + "".join(f"\n  {line}" for line in lines), where=where)


def _taken(
    argument: tuple[str] | tuple[str, int] | tuple[str, str], program: Program, manifest: Manifest
) -> tuple[str, tuple[int, ...]]:
    match argument:
        case ("parameter", int(index)):
            return manifest.parameters[index].tensor
        case ("array", str(name)):
            return program.arrays[name].tensor
    return _KEY


def _parted(verb: str, said: list[tuple[str, tuple[int, ...]]], found: tuple[Array, ...]) -> Iterator[str]:
    if len(said) != len(found):
        yield f"{verb} {len(found)} arrays, and the manifest says {len(said)}"
        return
    for index, ((dtype, shape), array) in enumerate(zip(said, found, strict=True)):
        if (ELEMENTS[dtype], shape) != (array.element, array.shape):
            yield f"{verb} {array.element} {list(array.shape)} at place {index}, not {dtype} {list(shape)}"
        elif not array.plain:
            yield f"{verb} at place {index} an array that is not in C order"
