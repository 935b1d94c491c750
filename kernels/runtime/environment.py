"""The environment that the image was built for, and whether this process has it.

The image states it twice: in its configuration, for whoever starts it, and in `environment.json`, for this check.
Both are one table of the builder's, so nothing here knows a variable by name that the file may hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from kernels.runtime import canonical
from kernels.runtime.errors import KernelError

FILE = Path("opt/kernel/environment.json")
LONGEST = 1 << 20
"""Bytes of the file; Linux passes no more than a few MiB to a process at all."""

ACTING = (
    "BLIS_", "DNNL_", "GLIBC_TUNABLES", "GOMP_", "GOTO_", "JAX_", "KMP_", "LD_", "MALLOC_", "MKL_", "NPROC", "NPY_",
    "OMP_", "ONEDNN_", "OPENBLAS_", "PJRT_", "PYTHON", "TENSORFLOW_", "TF_", "XLA_",
)  # fmt: skip
"""How variables begin that the loader, Python or a library that computes would act on. Any that the file does not hold
has leaked in from outside."""


def read(root: Path) -> dict[str, str]:
    """Read the environment of the image whose file system is at `root`.

    Raises:
        KernelError: there is none, or it is not canonical JSON of strings by name.
    """
    path = root / FILE
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", hint="run this inside an image that kbuild made") from error
    try:
        return parse(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise KernelError(f"{path} is no environment ({error})") from error


def parse(data: bytes) -> dict[str, str]:
    """Read `environment.json`'s bytes; malformed ones raise whatever they run into (see `read`)."""
    if len(data) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    variables = json.loads(data)
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise TypeError("not an object of strings")
    if canonical.dumps(variables) != data:
        raise ValueError("not canonical JSON")
    return variables


def leaked(pinned: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Variables that are set, were not by the image, and could act on results; sorted."""
    return sorted(name for name in environ if name not in pinned and name.startswith(ACTING))
