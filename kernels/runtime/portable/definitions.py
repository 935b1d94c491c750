"""Operations that are programs of others: the transform goes on with what is inside them.

Each definition is plain JAX. What it says of floating-point numbers is said by the operations that it is made of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.portable import (
    approximate,
    complex_functions,
    complex_inverse,
    complex_linalg,
    complex_spectral,
    complexes,
    generators,
    ragged,
    tridiagonal,
)

Definition = Callable[..., Any]


def _ranked(x: Array) -> Array:
    """Integers in the order of IEEE's totalOrder (docs/numerics/elementwise.md, E3)."""
    word = np.dtype(f"int{8 * x.dtype.itemsize}")
    bits = lax.bitcast_convert_type(x, word)
    return jnp.where(bits < 0, bits ^ np.array(np.iinfo(word).max), bits)


def _eq_to(a: Array, b: Array, **_: Any) -> Array:
    return _ranked(a) == _ranked(b)


def _le_to(a: Array, b: Array, **_: Any) -> Array:
    return _ranked(a) <= _ranked(b)


def _lt_to(a: Array, b: Array, **_: Any) -> Array:
    return _ranked(a) < _ranked(b)


FLOATS: Final = frozenset({"float32", "float64", "bfloat16", "float16"})
ORDER: Final[Mapping[str, Definition]] = {"eq_to": _eq_to, "le_to": _le_to, "lt_to": _lt_to}


COMPLEX: Final[Mapping[str, Definition]] = {
    **complexes.DEFINITIONS,
    **complex_functions.DEFINITIONS,
    **complex_inverse.DEFINITIONS,
    **complex_linalg.DEFINITIONS,
    **complex_spectral.DEFINITIONS,
}


ANY: Final[Mapping[str, Definition]] = {
    "approx_top_k": approximate.approx_top_k,
    "ragged_dot_general": ragged.ragged_dot_general,
    "rng_bit_generator": generators.rng_bit_generator,
    "tridiagonal_solve": tridiagonal.tridiagonal_solve,
}
"""Of every type that the operations inside are defined for."""


def definition(equation: Any) -> Any | None:
    """The program that an operation stands for; None if it is one by itself.

    Args:
        equation: of a jaxpr.
    """
    found = _found(equation.primitive, {str(atom.aval.dtype) for atom in (*equation.invars, *equation.outvars)})
    if found is None:
        return None
    avals = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in equation.invars]  # type: ignore[no-untyped-call]
    return jax.make_jaxpr(lambda *args: found(*args, **equation.params))(*avals)


def _found(primitive: Any, types: set[str]) -> Definition | None:
    name = str(primitive.name)
    if name in ANY:
        return ANY[name]
    if not types.isdisjoint(complexes.PARTS):
        moves = name == "convert_element_type" and len(types) == 1
        return None if moves else COMPLEX.get(name)
    if name == "random_gamma" and "key<fry>" in types:
        return functools.partial(primitive.impl, use_vmap=True)
    return ORDER.get(name) if not types.isdisjoint(FLOATS) else None
