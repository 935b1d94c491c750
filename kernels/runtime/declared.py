"""What the image's spec declares: the part of `spec.json` that the runtime acts on.

The file was validated when the image was built and is covered by the image's digest, so this reader checks only what
it needs in order to fail with a sentence instead of a traceback.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kernels.runtime.errors import KernelError

SPEC = Path("opt/kernel/spec.json")
KERNEL = Path("opt/kernel")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
WIDE = frozenset({"int64", "uint64", "float64", "complex128"})


class Table(NamedTuple):
    """One declared tensor; a dimension is a length or a name."""

    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        dimensions = ", ".join(map(str, self.shape))
        return f"{self.dtype} [{dimensions}]"


class Cuda(NamedTuple):
    """What is asked of NVIDIA's GPUs: the least driver and compute capability; empty: any."""

    driver: str
    capability: str


class Aot(NamedTuple):
    """What is compiled at build: the entry's arrays, whoever makes them, and lengths of their named dimensions.

    `elsewhere` says that a node compiles for itself what the image has no program for.
    """

    arrays: Mapping[str, Table]
    sizes: Mapping[str, tuple[int, ...]]
    elsewhere: bool


class Declared(NamedTuple):
    """One kernel's declarations. `identity` is the hex SHA-256 of `spec.json`; `memory` is in bytes."""

    identity: str
    name: str
    version: str
    entry: str
    load: str | None
    prepare: str | None
    requirements: tuple[str, ...]
    profile: str
    threads: int
    seed: int
    cpu: Mapping[str, str]
    features: Mapping[str, Sequence[str]]
    without: Mapping[str, Sequence[str]]
    memory: int
    cuda: Cuda | None
    weights: tuple[str, ...]
    inputs: Mapping[str, Table]
    outputs: Mapping[str, Table]
    aot: Aot | None = None

    @property
    def key(self) -> tuple[int, int]:
        """The random key's two words: the seed's 64 bits, high half first.

        `jax.random.key` alone would drop the high half unless 64-bit types are on.
        """
        return self.seed >> 32, self.seed & 0xFFFFFFFF

    @property
    def wide(self) -> bool:
        """Whether JAX computes with 64-bit types: exactly if a declared tensor has one."""
        return any(table.dtype in WIDE for table in (*self.inputs.values(), *self.outputs.values()))


def read(root: Path) -> Declared:
    """Read the spec of the image whose file system is at `root`.

    Raises:
        KernelError: there is none, or it is not of the form that this runtime knows.
    """
    path = root / SPEC
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", hint="run this inside an image that kbuild made") from error
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KernelError(f"{path} is not a kernel spec of schema 1 ({type(error).__name__}: {error})") from error


def parse(data: bytes) -> Declared:
    """Read `spec.json`'s bytes; malformed ones raise whatever they run into (see `read`)."""
    spec: dict[str, Any] = json.loads(data)
    if spec["schema"] != 1:
        raise ValueError(f"schema {spec['schema']}")
    kernel, determinism, hardware = spec["kernel"], spec["determinism"], spec["hardware"]
    size = re.fullmatch(r"([0-9]+)(KiB|MiB|GiB|TiB)", hardware["memory"])
    if size is None:
        raise ValueError(f"memory {hardware['memory']!r}")
    if hardware["accelerator"] not in {"none", "cuda"}:
        raise ValueError(f"accelerator {hardware['accelerator']!r}")
    cuda = hardware.get("cuda", {"driver": "", "capability": ""})
    return Declared(
        identity=hashlib.sha256(data).hexdigest(),
        name=kernel["name"],
        version=kernel["version"],
        entry=kernel["entry"],
        load=kernel["load"],
        prepare=kernel["prepare"],
        requirements=tuple(spec["python"]["requirements"]),
        profile=determinism["profile"],
        threads=determinism["threads"],
        seed=determinism["seed"],
        cpu={name: level for name, level in hardware["cpu"].items() if f"linux/{name}" in kernel["platforms"]},
        features=hardware.get("features", {}),
        without=hardware.get("without", {}),
        memory=int(size[1]) * UNITS[size[2]],
        cuda=Cuda(cuda["driver"], cuda["capability"]) if hardware["accelerator"] == "cuda" else None,
        weights=tuple(spec["weights"]),
        inputs={name: _table(table) for name, table in spec["inputs"].items()},
        outputs={name: _table(table) for name, table in spec["outputs"].items()},
        aot=_aot(spec["aot"], spec["inputs"]) if "aot" in spec else None,
    )


def _aot(table: dict[str, Any], inputs: dict[str, Any]) -> Aot:
    return Aot(
        arrays={name: _table(item) for name, item in (table["arrays"] or inputs).items()},
        sizes={name: tuple(lengths) for name, lengths in table["sizes"].items()},
        elsewhere=table["other"] == "compile",
    )


def _table(table: dict[str, Any]) -> Table:
    return Table(table["dtype"], tuple(table["shape"]))
