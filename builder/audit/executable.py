"""What XLA's CPU compiler put into an executable: machine code, the flags it saw, and the program it was made of.

`read(serialised, schema)` takes the bytes that an XLA executable's own `serialize()` gave, without Python's pickle
around them, and the schema of the jaxlib that made them (`builder.audit.schema.of_wheel`). Neither JAX nor XLA is
needed, nor run. What comes back:

    found = read(serialised, of_wheel(store, wheel_sha256))
    found.objects    symbol of a kernel → relocatable ELF object, sorted
    found.kernels    symbol → the HLO operations that it computes, and their source lines
    found.calls      what the program calls in XLA's own libraries and through `jax.ffi`
    found.flags      every field of XLA's DebugOptions, as the compiler saw it
    found.target     triple, CPU and features that the code was made for
    found.arguments  type and shape of what it takes; found.results of what it gives
    found.threads    that its work was cut for
    found.code_sha256, found.program_sha256

`differing(found, {"xla_cpu_max_isa": "AVX2"})` compares flags with those that were asked for.

The layout: a length (varint) and as many bytes of metadata of JAX's runtime, then an `xla.ExecutableAndOptionsProto`,
whose `serialized_executable` is an `xla.cpu.CompilationResultProto`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from builder.audit.binary import Unreadable, parse
from builder.audit.schema import Schema
from builder.errors import IntegrityError

MOST: Final = 1 << 30
"""Bytes of a serialised executable; smollm2's have a few million. Protocol buffers end at 2 GiB."""

_INNER: Final = frozenset({"kernel", "sort", "while", "conditional", "call", "copy"})
"""Kinds of steps that run emitted code (a sort runs its comparison), or other steps, or none."""

_SOURCES: Final = 6
"""Operations of one kernel that are named: a fusion can hold hundreds."""


@dataclass(frozen=True, slots=True)
class Target:
    """What code was generated for, in LLVM's words."""

    triple: str
    cpu: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function that XLA emitted: the operations that it computes, each as `jit(f)/rsqrt (model.py:12)`."""

    symbol: str
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A step that code outside of the executable computes: its kind (`ynn-fusion`, `custom-call`) and its target.

    `operations` are named as a kernel's are; `floats` if its result is of a floating-point or complex type.
    """

    kind: str
    target: str
    operations: tuple[str, ...]
    floats: bool


@dataclass(frozen=True, slots=True)
class Array:
    """What an executable takes or gives: XLA's name of its element type, and its shape; `plain` if in C order."""

    element: str
    shape: tuple[int, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class Executable:
    """A serialised executable, taken apart; see the module."""

    module: str
    target: Target
    arguments: tuple[Array, ...]
    results: tuple[Array, ...]
    threads: int
    flags: Mapping[str, str] = field(repr=False)
    objects: Mapping[str, bytes] = field(repr=False)
    kernels: Mapping[str, Kernel] = field(repr=False)
    calls: tuple[Call, ...] = field(repr=False)
    code_sha256: str
    program_sha256: str


def read(serialised: bytes, schema: Schema) -> Executable:
    """Take a serialised executable apart.

    Raises:
        IntegrityError: it is malformed, of another jaxlib, or holds what no executable of XLA's CPU compiler does.
    """
    if len(serialised) > MOST:
        raise IntegrityError(f"a serialised executable of {len(serialised):,} bytes; at most {MOST:,} are read")
    whole = schema.parse("xla.ExecutableAndOptionsProto", _behind_metadata(serialised))
    result = schema.parse("xla.cpu.CompilationResultProto", whole.serialized_executable)
    module, config = result.hlo_module.hlo_module, result.hlo_module.config
    if not module.name or not result.target_machine_options.triple or not config.HasField("debug_options"):
        raise IntegrityError("is no executable of XLA's CPU compiler: it names no program, target or flags")
    objects = _objects(result)
    kernels, calls = _used(module, _steps(result.thunk_sequence), objects)
    machine = result.target_machine_options
    code = hashlib.sha256()
    for symbol, content in objects.items():
        code.update(hashlib.sha256(symbol.encode()).digest() + hashlib.sha256(content).digest())
    return Executable(
        module=module.name,
        target=Target(machine.triple, machine.cpu, tuple(machine.features.split(","))),
        arguments=tuple(_array(shape) for shape in module.host_program_shape.parameters),
        results=_results(module.host_program_shape.result),
        threads=config.intra_op_parallelism_threads,
        flags=_flags(config.debug_options),
        objects=objects,
        kernels=kernels,
        calls=calls,
        code_sha256=code.hexdigest(),
        program_sha256=hashlib.sha256(module.SerializeToString(deterministic=True)).hexdigest(),
    )


def differing(found: Executable, wanted: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Flags that the compiler did not see as they were asked for: the value asked for, and the one seen.

    A value is written as for XLA_FLAGS. None was seen of a flag that this XLA has not.
    """
    return {
        name: (value, found.flags.get(name))
        for name, value in sorted(wanted.items())
        if name not in found.flags or not _same(value, found.flags[name])
    }


def _same(asked: str, seen: str) -> bool:
    """`-reduce,+dot` asks for some of a list and against others; anything else for a value."""
    parts = [part.strip().lower() for part in asked.split(",")]
    if parts and all(part[:1] in {"+", "-"} and part[1:].replace("_", "").isalpha() for part in parts):
        held = {part.lower() for part in seen.split(",")}
        return all((part[0] == "+") == (part[1:] in held) for part in parts)
    if asked.lower() in {"true", "false"}:
        return asked.lower() == seen
    try:
        return float(asked) == float(seen)
    except ValueError:
        return asked.lower() == seen.lower()


def _behind_metadata(serialised: bytes) -> bytes:
    length = 0
    for index, byte in enumerate(serialised[:4]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004
            begin = index + 1 + length
            if begin >= len(serialised):
                break
            return serialised[begin:]
    raise IntegrityError("is no serialised executable: its metadata ends behind it")


def _objects(result: Any) -> dict[str, bytes]:
    """Objects by the first symbol that each defines: XLA's own name for one says which emitter wrote it, not what."""
    found: dict[str, bytes] = {}
    defined: set[str] = set()
    for item in result.object_files:
        try:
            binary = parse(item.contents)
        except Unreadable as error:
            raise IntegrityError(f"the executable holds an object that {error}: {item.name!r}") from None
        if binary is None or not binary.relocatable or not binary.names:
            raise IntegrityError(f"the executable holds an object that is no relocatable ELF file: {item.name!r}")
        symbol = min(binary.names)
        if symbol in found:
            raise IntegrityError(f"the executable holds two objects that define {symbol!r}")
        found[symbol] = item.contents
        defined.update(binary.names)
    for symbol in result.compiled_symbols:
        if symbol.name not in defined:
            raise IntegrityError(f"the executable lists a function that none of its objects defines: {symbol.name!r}")
    return dict(sorted(found.items()))


def _steps(message: Any) -> Iterator[Any]:
    """Every thunk of a sequence, also within loops, branches and calls."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for item in value if descriptor.is_repeated else (value,):
            if descriptor.message_type.GetOptions().map_entry:
                break
            if descriptor.message_type.full_name == "xla.cpu.ThunkProto":
                yield item
            yield from _steps(item)


def _used(
    module: Any, steps: Iterable[Any], objects: Mapping[str, bytes]
) -> tuple[dict[str, Kernel], tuple[Call, ...]]:
    """By symbol, the operations of every step that calls it (equal kernels are emitted once); and all other calls."""
    frames = _frames(module.stack_frame_index)
    computations = {item.id: item for item in module.computations}
    instructions = {item.name: item for computation in module.computations for item in computation.instructions}
    found: dict[str, dict[str, None]] = {symbol: {} for symbol in objects}
    calls = []
    for step in steps:
        instruction = instructions.get(step.info.op_name)
        operations = {} if instruction is None else _operations(instruction, computations, frames)
        if symbol := step.kernel_thunk.kernel_name or step.sort_thunk.comparator_name:
            found.setdefault(symbol, {}).update(operations)
        if step.kind not in _INNER:
            floats = instruction is None or _floats(instruction.shape)
            calls.append(Call(step.kind, step.custom_call_thunk.target_name, tuple(operations)[:_SOURCES], floats))
    kernels = {symbol: Kernel(symbol, tuple(names)[:_SOURCES]) for symbol, names in sorted(found.items())}
    return kernels, tuple(calls)


def _element(shape: Any) -> str:
    """The name that xla.PrimitiveType has for an array's elements: F32, BF16, F8E4M3, C64; empty if none."""
    named = shape.DESCRIPTOR.fields_by_name["element_type"].enum_type.values_by_number.get(shape.element_type)
    return named.name if named else ""


def _array(shape: Any) -> Array:
    order = list(reversed(range(len(shape.dimensions))))
    return Array(_element(shape), tuple(shape.dimensions), list(shape.layout.minor_to_major) == order)


def _results(shape: Any) -> tuple[Array, ...]:
    return tuple(map(_array, shape.tuple_shapes if _element(shape) == "TUPLE" else (shape,)))


def _floats(shape: Any) -> bool:
    """Whether elements are floating-point numbers; a tuple's are its parts'."""
    element = _element(shape)
    if element == "TUPLE":
        return any(_floats(part) for part in shape.tuple_shapes)
    return not element or element.startswith(("F", "BF", "C"))


def _operations(instruction: Any, computations: Mapping[int, Any], frames: list[str]) -> dict[str, None]:
    """Where a fusion has no source of its own, its parts have; what a pass of XLA's added has none at all."""
    parts = [instruction]
    for called in instruction.called_computation_ids:
        if called in computations:
            parts += reversed(computations[called].instructions)
    found: dict[str, None] = {}
    for part in parts:
        name, frame = part.metadata.op_name, part.metadata.stack_frame_id
        line = part.metadata.source_file and f"{part.metadata.source_file}:{part.metadata.source_line}"
        if 0 < frame <= len(frames):
            line = frames[frame - 1]
        if line:
            found[f"{name or part.opcode} ({line})"] = None
    return found or {instruction.metadata.op_name or instruction.opcode: None}


def _frames(index: Any) -> list[str]:
    """`file:line` of each stack frame, innermost; numbers begin with 1."""
    found = []
    for frame in index.stack_frames:
        line = ""
        if 0 < frame.file_location_id <= len(index.file_locations):
            place = index.file_locations[frame.file_location_id - 1]
            if 0 < place.file_name_id <= len(index.file_names):
                line = f"{index.file_names[place.file_name_id - 1]}:{place.line}"
        found.append(line)
    return found


def _flags(options: Any) -> dict[str, str]:
    """All flags, those at zero too, as XLA_FLAGS would have them."""
    found = {}
    for descriptor in options.DESCRIPTOR.fields:
        value = getattr(options, descriptor.name)
        if descriptor.message_type is not None:
            text = str(value).strip().replace("\n", " ") if descriptor.is_repeated or value.ByteSize() else ""
            if descriptor.message_type.GetOptions().map_entry:
                text = ",".join(f"{key}={_plain(value[key])}" for key in sorted(value))
            found[descriptor.name] = text
        elif descriptor.is_repeated:
            found[descriptor.name] = ",".join(_text(descriptor, item) for item in value)
        else:
            found[descriptor.name] = _text(descriptor, value)
    return found


def _plain(value: Any) -> str:
    return " ".join(str(value).split())


def _text(descriptor: Any, value: Any) -> str:
    if descriptor.enum_type is not None:
        named = descriptor.enum_type.values_by_number.get(value)
        return _enumerator(descriptor.enum_type, named.name) if named else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _enumerator(kind: Any, name: str) -> str:
    """A value's name without the words that all values of its enumeration begin with."""
    names = [item.name.split("_") for item in kind.values]
    words = name.split("_")
    common = 0
    while len(names) > 1 and all(len(item) > common + 1 and item[common] == words[common] for item in names):
        common += 1
    return "_".join(words[common:])
