"""Operations on complex numbers, as programs over their parts (docs/numerics/complex.md).

Each is plain JAX over real arrays. The transform traces it and goes on with the operations inside, so that nothing here
says how a real number is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Definition = Callable[..., Array]

PARTS: Final[Mapping[str, str]] = {"complex64": "float32", "complex128": "float64"}


def _parts(z: Array) -> tuple[Array, Array]:
    return lax.real(z), lax.imag(z)


def _add(a: Array, b: Array, **_: Any) -> Array:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return lax.complex(ar + br, ai + bi)


def _sub(a: Array, b: Array, **_: Any) -> Array:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return lax.complex(ar - br, ai - bi)


def _mul(a: Array, b: Array, **_: Any) -> Array:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return lax.complex(ar * br - ai * bi, ar * bi + ai * br)


def _div(a: Array, b: Array, **_: Any) -> Array:
    """By Smith's method: divided through by the greater part, so that no square overflows."""
    (ar, ai), (br, bi) = jnp.broadcast_arrays(*_parts(a)), _parts(b)
    swapped = abs(br) < abs(bi)
    great, small = jnp.where(swapped, bi, br), jnp.where(swapped, br, bi)
    ratio = small / great
    scale = great + small * ratio
    real = jnp.where(swapped, ar * ratio + ai, ar + ai * ratio)
    imag = jnp.where(swapped, ai * ratio - ar, ai - ar * ratio)
    return lax.complex(real / scale, imag / scale)


def _abs(z: Array, **_: Any) -> Array:
    real, imag = (abs(part) for part in _parts(z))
    great, small = jnp.maximum(real, imag), jnp.minimum(real, imag)
    ratio = jnp.where(great == 0, 0, small / great).astype(great.dtype)
    length = great * jnp.sqrt(1 + ratio * ratio)
    return jnp.where((real == np.inf) | (imag == np.inf), np.inf, length).astype(great.dtype)


def _neg(z: Array, **_: Any) -> Array:
    real, imag = _parts(z)
    return lax.complex(-real, -imag)


def _conj(z: Array, **_: Any) -> Array:
    real, imag = _parts(z) if jnp.iscomplexobj(z) else (z, jnp.zeros_like(z))
    return lax.complex(real, -imag)


def _exp(z: Array, **_: Any) -> Array:
    real, imag = _parts(z)
    length = jnp.exp(real)
    return lax.complex(length * jnp.cos(imag), length * jnp.sin(imag))


def _square(z: Array, **_: Any) -> Array:
    return _mul(z, z)


def _integer_pow(z: Array, *, y: int, **_: Any) -> Array:
    """By squaring; the factors from the lowest bit of the exponent up."""
    made, left, power = None, abs(y), z
    while left:
        if left & 1:
            made = power if made is None else _mul(made, power)
        left >>= 1
        power = _mul(power, power) if left else power
    found = jnp.ones_like(z) if made is None else made
    return _div(jnp.ones_like(z), found) if y < 0 else found


def _eq(a: Array, b: Array, **_: Any) -> Array:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return (ar == br) & (ai == bi)


def _ne(a: Array, b: Array, **_: Any) -> Array:
    return ~_eq(a, b)


def _convert(z: Array, *, new_dtype: Any, **_: Any) -> Array:
    real, imag = _parts(z) if jnp.iscomplexobj(z) else (z, jnp.zeros(z.shape))
    if np.dtype(new_dtype).name not in PARTS:
        return real.astype(new_dtype)
    part = np.dtype(PARTS[np.dtype(new_dtype).name])
    return lax.complex(real.astype(part), imag.astype(part))


def _dot_general(a: Array, b: Array, **params: Any) -> Array:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    wanted = params.pop("preferred_element_type")
    part = None if wanted is None else np.dtype(PARTS[np.dtype(wanted).name])

    def dot(left: Array, right: Array) -> Array:
        made: Array = lax.dot_general_p.bind(left, right, preferred_element_type=part, **params)
        return made

    return lax.complex(dot(ar, br) - dot(ai, bi), dot(ar, bi) + dot(ai, br))


DEFINITIONS: Final[Mapping[str, Definition]] = {
    "abs": _abs,
    "add": _add,
    "add_any": _add,
    "conj": _conj,
    "convert_element_type": _convert,
    "div": _div,
    "dot_general": _dot_general,
    "eq": _eq,
    "exp": _exp,
    "integer_pow": _integer_pow,
    "mul": _mul,
    "ne": _ne,
    "neg": _neg,
    "square": _square,
    "sub": _sub,
}


def definition(equation: Any) -> Any | None:
    """The program that a complex operation stands for; None if it is no such operation.

    Args:
        equation: of a jaxpr.
    """
    types = {str(atom.aval.dtype) for atom in (*equation.invars, *equation.outvars)}
    found = DEFINITIONS.get(equation.primitive.name)
    moves = equation.primitive.name == "convert_element_type" and len(types) == 1
    if found is None or moves or types.isdisjoint(PARTS):
        return None
    avals = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in equation.invars]  # type: ignore[no-untyped-call]
    return jax.make_jaxpr(lambda *args: found(*args, **equation.params))(*avals)
