"""Operations on complex numbers, as programs over their parts (docs/numerics/complex.md).

Each is plain JAX over real arrays. The transform traces it and goes on with the operations inside, so that nothing here
says how a real number is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Definition = Callable[..., Array]

PARTS: Final[Mapping[str, str]] = {"complex64": "float32", "complex128": "float64"}


def parts(z: Array) -> tuple[Array, Array]:
    """Real and imaginary."""
    return lax.real(z), lax.imag(z)


def add(a: Array, b: Array, **_: Any) -> Array:
    """The sum."""
    (ar, ai), (br, bi) = parts(a), parts(b)
    return lax.complex(ar + br, ai + bi)


def sub(a: Array, b: Array, **_: Any) -> Array:
    """The difference."""
    (ar, ai), (br, bi) = parts(a), parts(b)
    return lax.complex(ar - br, ai - bi)


def mul(a: Array, b: Array, **_: Any) -> Array:
    """The product."""
    (ar, ai), (br, bi) = parts(a), parts(b)
    return lax.complex(ar * br - ai * bi, ar * bi + ai * br)


def div(a: Array, b: Array, **_: Any) -> Array:
    """By Smith's method: divided through by the greater part, so that no square overflows."""
    (ar, ai), (br, bi) = jnp.broadcast_arrays(*parts(a)), parts(b)
    swapped = abs(br) < abs(bi)
    great, small = jnp.where(swapped, bi, br), jnp.where(swapped, br, bi)
    ratio = small / great
    scale = great + small * ratio
    real = jnp.where(swapped, ar * ratio + ai, ar + ai * ratio)
    imag = jnp.where(swapped, ai * ratio - ar, ai - ar * ratio)
    return lax.complex(real / scale, imag / scale)


def length(z: Array, **_: Any) -> Array:
    """The absolute value."""
    real, imag = (abs(part) for part in parts(z))
    great, small = jnp.maximum(real, imag), jnp.minimum(real, imag)
    ratio = jnp.where(great == 0, 0, small / great).astype(great.dtype)
    length = great * jnp.sqrt(1 + ratio * ratio)
    return jnp.where((real == np.inf) | (imag == np.inf), np.inf, length).astype(great.dtype)


def _neg(z: Array, **_: Any) -> Array:
    real, imag = parts(z)
    return lax.complex(-real, -imag)


def _conj(z: Array, **_: Any) -> Array:
    real, imag = parts(z) if jnp.iscomplexobj(z) else (z, jnp.zeros_like(z))
    return lax.complex(real, -imag)


def times(x: Array, y: Array) -> Array:
    """The product of two numbers, of which a zero wins over what is not finite."""
    product = x * y
    zero = jnp.where(x == 0, x, y)
    return jnp.where(((x == 0) & ~jnp.isfinite(y)) | ((y == 0) & ~jnp.isfinite(x)), zero, product)


def exp(z: Array, **_: Any) -> Array:
    """The exponential."""
    real, imag = parts(z)
    size = jnp.exp(real)
    return lax.complex(times(size, jnp.cos(imag)), times(size, jnp.sin(imag)))


def _square(z: Array, **_: Any) -> Array:
    return mul(z, z)


def _integer_pow(z: Array, *, y: int, **_: Any) -> Array:
    """By squaring; the factors from the lowest bit of the exponent up."""
    made, left, power = None, abs(y), z
    while left:
        if left & 1:
            made = power if made is None else mul(made, power)
        left >>= 1
        power = mul(power, power) if left else power
    found = jnp.ones_like(z) if made is None else made
    return div(jnp.ones_like(z), found) if y < 0 else found


def _eq(a: Array, b: Array, **_: Any) -> Array:
    (ar, ai), (br, bi) = parts(a), parts(b)
    return (ar == br) & (ai == bi)


def _ne(a: Array, b: Array, **_: Any) -> Array:
    return ~_eq(a, b)


def convert(z: Array, *, new_dtype: Any, **_: Any) -> Array:
    """Part by part, to or from real numbers too."""
    real, imag = parts(z) if jnp.iscomplexobj(z) else (z, jnp.zeros(z.shape))
    if np.dtype(new_dtype).name not in PARTS:
        return real.astype(new_dtype)
    part = np.dtype(PARTS[np.dtype(new_dtype).name])
    return lax.complex(real.astype(part), imag.astype(part))


def _contraction(primitive: Any) -> Definition:
    """Four real ones."""

    def found(a: Array, b: Array, **params: Any) -> Array:
        (ar, ai), (br, bi) = parts(a), parts(b)
        wanted = params.pop("preferred_element_type")
        part = None if wanted is None else np.dtype(PARTS[np.dtype(wanted).name])

        def of(left: Array, right: Array) -> Array:
            made: Array = primitive.bind(left, right, preferred_element_type=part, **params)
            return made

        return lax.complex(of(ar, br) - of(ai, bi), of(ar, bi) + of(ai, br))

    return found


DEFINITIONS: Final[Mapping[str, Definition]] = {
    "abs": length,
    "add": add,
    "add_any": add,
    "conj": _conj,
    "convert_element_type": convert,
    "div": div,
    "conv_general_dilated": _contraction(lax.conv_general_dilated_p),
    "dot_general": _contraction(lax.dot_general_p),
    "eq": _eq,
    "exp": exp,
    "integer_pow": _integer_pow,
    "mul": mul,
    "ne": _ne,
    "neg": _neg,
    "square": _square,
    "sub": sub,
}
