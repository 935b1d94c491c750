"""Results on their way out: held to the spec, then written so that equal tensors are equal files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.runtime import canonical
from kernels.runtime.declared import Table
from kernels.runtime.errors import KernelError
from kernels.runtime.folder import STRINGS, TENSORS, put
from kernels.runtime.shapes import mismatches
from kernels.runtime.tensors import Tensor, Text, little_endian


def validate(outputs: Mapping[str, Tensor], tables: Mapping[str, Table], bound: Mapping[str, int]) -> None:
    """Hold the kernel's results to its spec; named dimensions mean what they meant among the inputs.

    Raises:
        KernelError: they differ from what is declared.
    """
    if found := mismatches(outputs, tables, dict(bound)):
        raise KernelError("the kernel's outputs are not as declared: " + "; ".join(found))


def write(folder: Path, outputs: Mapping[str, Tensor]) -> None:
    """Write numeric tensors to `outputs.safetensors` and, if there are any, strings to `outputs.json`.

    Raises:
        HostError: the disk is full, for example.
        KernelError: a tensor is of a type that the file format lacks.
    """
    from safetensors.numpy import save  # noqa: PLC0415

    arrays = {name: little_endian(value) for name, value in outputs.items() if not isinstance(value, Text)}
    texts = {name: value.nested() for name, value in outputs.items() if isinstance(value, Text)}
    if unwritable := sorted(name for name, array in arrays.items() if array.dtype.name == "complex128"):
        raise KernelError(
            f"{unwritable[0]!r} is complex128, which safetensors files can't hold", hint="give two float64 tensors"
        )
    # The library orders tensors by element size, then name, whatever the order here.
    put(folder / TENSORS, save(arrays))
    if texts:
        put(folder / STRINGS, canonical.dumps(texts) + b"\n")
