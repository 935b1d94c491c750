"""Which programs a spec asks to be compiled at build: one for each choice of lengths for its named dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from kernels.runtime.aot.manifest import Leaf, Program
from kernels.runtime.declared import Declared, Table
from kernels.runtime.errors import InputError, KernelError
from kernels.runtime.tensors import Array


def arrays(declared: Declared) -> Mapping[str, Table]:
    """The entry's arrays: what `prepare` makes, by the spec's word, or the inputs themselves.

    Raises:
        KernelError: the spec asks for no programs.
    """
    if declared.aot is None:
        raise KernelError("the spec asks for no programs to be compiled at build")
    return declared.aot.arrays or declared.inputs


def choices(declared: Declared) -> Iterator[dict[str, Leaf]]:
    """The arrays of every program, in the order of the sizes; names in sorted order, the last one fastest."""
    tables = arrays(declared)
    sizes = declared.aot.sizes if declared.aot else {}
    names = sorted({name for table in tables.values() for name in table.shape if isinstance(name, str)})
    for lengths in itertools.product(*(sizes[name] for name in names)):
        chosen = dict(zip(names, lengths, strict=True))
        yield {
            name: Leaf(table.dtype, tuple(chosen[one] if isinstance(one, str) else one for one in table.shape))
            for name, table in tables.items()
        }


def fitting(programs: tuple[Program, ...], given: Mapping[str, Array]) -> Program | None:
    """The program for these arrays, if one was compiled."""
    wanted = {name: Leaf(array.dtype.name, array.shape) for name, array in given.items()}
    return next((program for program in programs if program.arrays == wanted), None)


def none_fits(declared: Declared, given: Mapping[str, Array]) -> InputError:
    """What is said of arrays that no program was compiled for."""
    found = ", ".join(f"{name} {array.dtype.name} {list(array.shape)}" for name, array in sorted(given.items()))
    sizes = declared.aot.sizes if declared.aot else {}
    known = "; ".join(f"{name}: {', '.join(map(str, lengths))}" for name, lengths in sorted(sizes.items()))
    return InputError(
        f"no program was compiled for {found}" + (f" (compiled for {known})" if known else ""),
        hint='give it other inputs, or build it with more `aot.sizes`, or with other = "compile" in [aot]',
    )
