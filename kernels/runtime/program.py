"""The entry as a program: traced for one call, named by a hash, compiled, run (docs/protocol.md, section 6).

Lowering, compiling and running are apart, so that a trace can take the same call to pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kernels.runtime import products
from kernels.runtime.blame import blaming
from kernels.runtime.declared import Declared
from kernels.runtime.errors import KernelError
from kernels.runtime.kernel import Kernel
from kernels.runtime.tensors import Array


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the entry: `kernel.entry(*arguments)`, where `arguments` are params, arrays and the random key.

    To lower it, types in place of arrays and key will do.
    """

    kernel: Kernel
    reference: str
    arguments: tuple[Any, Mapping[str, Any], Any]


def call(kernel: Kernel, declared: Declared, arrays: Mapping[str, Array]) -> Call:
    """What the entry is called with; the key is threefry2x32's."""
    words = jax.numpy.asarray(np.array(declared.key, np.uint32))
    return Call(
        kernel, declared.entry, (kernel.params, dict(arrays), jax.random.wrap_key_data(words, impl="threefry2x32"))
    )


def lowered(one: Call) -> jax.stages.Lowered:
    """The entry traced for these arguments' shapes and types.

    Raises:
        KernelError: the entry can't be traced.
    """
    with blaming(one.reference, one.kernel.folder):
        return jax.jit(one.kernel.entry).lower(*one.arguments)


def identity(program: jax.stages.Lowered) -> str:
    """`sha256:` and the hex SHA-256 of the program as StableHLO in text, without source locations.

    Locations hold paths and lines; without them the text follows from the traced program and the versions of JAX.
    """
    return f"sha256:{hashlib.sha256(program.as_text(dialect='stablehlo', debug_info=False).encode()).hexdigest()}"


def compiled(one: Call, program: jax.stages.Lowered) -> jax.stages.Compiled:
    """Machine code for this host, as the environment's pins allow; a note on stderr names what no pin holds.

    Raises:
        KernelError: it can't be compiled.
    """
    with blaming(one.reference, one.kernel.folder):
        made = program.compile()
    products.note(made.as_text() or "")
    return made


def run(one: Call, program: jax.stages.Compiled) -> dict[str, Array]:
    """Call it and wait for its results.

    Raises:
        KernelError: it fails, or gives something else than a dict of named arrays.
        HostError: there is too little memory.
    """
    with blaming(one.reference, one.kernel.folder):
        made = jax.block_until_ready(program(*one.arguments))  # type: ignore[no-untyped-call]
        if not isinstance(made, dict) or not all(isinstance(name, str) for name in made):
            raise KernelError(f"{one.reference} gave {type(made).__name__}, not a dict of named arrays")
        return {name: np.asarray(value) for name, value in made.items()}  # refuses random keys and nested trees


@dataclass(frozen=True, slots=True)
class Here:
    """A call that was compiled on this host."""

    one: Call
    program: jax.stages.Compiled
    identity: str
    code: None = None

    def run(self) -> dict[str, Array]:
        """Call it; see `run`."""
        return run(self.one, self.program)


def here(one: Call) -> Here:
    """Lower and compile a call.

    Raises:
        KernelError: it can't be traced or compiled.
    """
    program = lowered(one)
    return Here(one, compiled(one, program), identity(program))
