"""Which programs a spec asks to be compiled at build: one for each choice of lengths for its named dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from kernels.runtime.aot.manifest import Leaf, Program
from kernels.runtime.declared import Aot
from kernels.runtime.errors import InputError
from kernels.runtime.tensors import Array


def choices(aot: Aot) -> Iterator[dict[str, Leaf]]:
    """The arrays of every program, in the order of the sizes; names in sorted order, the last one fastest."""
    names = sorted({name for table in aot.arrays.values() for name in table.shape if isinstance(name, str)})
    for lengths in itertools.product(*(aot.sizes[name] for name in names)):
        chosen = dict(zip(names, lengths, strict=True))
        yield {
            name: Leaf(table.dtype, tuple(chosen[one] if isinstance(one, str) else one for one in table.shape))
            for name, table in aot.arrays.items()
        }


def fitting(programs: tuple[Program, ...], given: Mapping[str, Array]) -> Program | None:
    """The program for these arrays, if one was compiled."""
    wanted = {name: Leaf(array.dtype.name, array.shape) for name, array in given.items()}
    return next((program for program in programs if program.arrays == wanted), None)


def none_fits(aot: Aot, given: Mapping[str, Array]) -> InputError:
    """What is said of arrays that no program was compiled for."""
    found = ", ".join(f"{name} {array.dtype.name} {list(array.shape)}" for name, array in sorted(given.items()))
    known = "; ".join(f"{name}: {', '.join(map(str, lengths))}" for name, lengths in sorted(aot.sizes.items()))
    return InputError(
        f"no program was compiled for {found}" + (f" (compiled for {known})" if known else ""),
        hint='give it other inputs, or build it with more `aot.sizes`, or with other = "compile" in [aot]',
    )
