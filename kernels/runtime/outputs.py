"""Results on their way out: held to the spec, then written so that equal tensors are equal files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.runtime.declared import Table
from kernels.runtime.errors import KernelError
from kernels.runtime.folder import TENSORS, put
from kernels.runtime.shapes import mismatches
from kernels.runtime.tensors import Array, little_endian


def validate(outputs: Mapping[str, Array], tables: Mapping[str, Table], bound: Mapping[str, int]) -> None:
    """Hold the kernel's results to its spec; named dimensions mean what they meant among the inputs.

    Raises:
        KernelError: they differ from what is declared.
    """
    if found := mismatches(outputs, tables, dict(bound)):
        raise KernelError("the kernel's outputs are not as declared: " + "; ".join(found))


def write(folder: Path, outputs: Mapping[str, Array]) -> None:
    """Write the results to `outputs.safetensors`.

    Raises:
        HostError: the disk is full, for example.
    """
    from safetensors.numpy import save  # noqa: PLC0415

    # The library orders tensors by element size, then name, whatever the order here.
    put(folder / TENSORS, save({name: little_endian(array) for name, array in outputs.items()}))
