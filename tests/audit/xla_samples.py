"""Compiles a few programs with XLA and writes each as `<name>.executable` into the folder given: run on its own."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp


def mlp(parameters: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    """Three layers and a softmax: kernels, and products that XLA's library computes."""
    for weights, bias in parameters:
        x = jnp.tanh(x @ weights + bias)
    return jax.nn.softmax(x)


def looped(x: jax.Array) -> jax.Array:
    """A kernel within a loop."""
    return jax.lax.fori_loop(0, x.shape[0], lambda i, y: y * jnp.cos(y) + i, x)


def inverse(x: jax.Array) -> jax.Array:
    """Where XLA may use the CPU's own approximation."""
    return jax.lax.rsqrt(x) * 2


def counted(x: jax.Array) -> jax.Array:
    """Nothing but integers."""
    return jnp.sort(x) + 1


def main(folder: Path) -> None:
    """Write one file per program."""
    floats = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    layers = [(floats, jax.ShapeDtypeStruct((64,), jnp.float32))] * 3
    programs = {
        mlp: (layers, floats),
        looped: (floats,),
        inverse: (floats,),
        counted: (jax.ShapeDtypeStruct((100,), jnp.int32),),
    }
    for program, arguments in programs.items():
        compiled = jax.jit(program).lower(*arguments).compile()
        loaded = compiled.runtime_executable()
        (folder / f"{program.__name__}.executable").write_bytes(loaded.serialize())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
