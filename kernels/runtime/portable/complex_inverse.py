"""Inverse circular and hyperbolic functions of complex numbers (docs/numerics/complex.md, 7.2).

asin and acos are Hull, Fairgrieve and Tang's (ACM TOMS 23, 1997), whose every part is accurate; the others follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.portable.complexes import length, parts

Definition = Callable[..., Array]

LN2: Final = 0.6931471805599453
HALF_PI: Final = 1.5707963267948966
PI: Final = 3.141592653589793
STEEP: Final = 0.6417
"""Quotients above it are too near 1 for asin and acos of them."""
NEAR: Final = 1.5


def _limits(x: Array) -> tuple[Array, Array, Array]:
    """The format's epsilon, and between which numbers no square here under- or overflows."""
    if x.dtype == np.float32:
        return tuple(jnp.asarray(np.float32(one)) for one in (2.0**-23, 2.0**-61, 2.0**61))
    return tuple(jnp.asarray(np.float64(one)) for one in (2.0**-52, 2.0**-509, 2.0**509))


def _signed(x: Array, sign: Array) -> Array:
    """A number that is not negative, with the sign bit of another."""
    return jnp.where(jnp.signbit(sign), -x, x)


def _choose(*cases: tuple[Array, tuple[Array, Array, Array]], otherwise: tuple[Array, Array, Array]) -> list[Array]:
    """The triple of the first case that holds, element by element."""
    found = list(otherwise)
    for holds, triple in reversed(cases):
        found = [jnp.where(holds, one, other).astype(other.dtype) for one, other in zip(triple, found, strict=True)]
    return found


def _quarter(x: Array, y: Array) -> list[Array]:
    """The real parts of asin and acos, and the size of their imaginary part, for x, y ≥ 0 that are finite."""
    epsilon, small, great = _limits(x)
    more, less = x + 1, x - 1
    r, s = length(lax.complex(more, y)), length(lax.complex(less, y))
    a = 0.5 * (r + s)
    b = x / a
    sum_ = a + x
    right = x <= 1
    below = jnp.where(
        right, 0.5 * (sum_ * (y * y / (r + more) + (s - less))), 0.5 * (sum_ / (r + more) + sum_ / (s + less))
    )
    root = jnp.where(right, 1, y) * jnp.sqrt(below)
    steep = b > STEEP
    square = y * y / (r + more)
    excess = 0.5 * (square + jnp.where(x < 1, y * y / (s - less), s + less))
    size = jnp.where(a <= NEAR, jnp.log1p(excess + jnp.sqrt(excess * (a + 1))), jnp.log(a + jnp.sqrt(a * a - 1)))
    plain = (
        jnp.where(steep, lax.atan2(x, root), jnp.arcsin(b)),
        jnp.where(steep, lax.atan2(root, x), jnp.arccos(b)),
        size,
    )
    half_pi = jnp.full_like(x, HALF_PI)
    inner = jnp.sqrt((1 - x) * more)
    outer = jnp.sqrt(less) * jnp.sqrt(more)
    distant = jnp.where(x < great, jnp.log1p(less + outer), LN2 + jnp.log(x))
    flat = (y <= epsilon * abs(less)) & (x != 1)
    ratio, inverse = y / x, x / y
    tall = jnp.sqrt(1 + y * y)
    usual = (x >= small) & (x <= great) & (y >= small) & (y <= great)
    return _choose(
        (usual, plain),
        (flat & (x < 1), (jnp.arcsin(x), jnp.arccos(x), y / inner)),
        (flat, (half_pi, jnp.where(x < great, y / outer, ratio), distant)),
        (y <= small, (HALF_PI - jnp.sqrt(y), jnp.sqrt(y), jnp.sqrt(y))),
        (epsilon * y - 1 >= x, (inverse, half_pi, LN2 + jnp.log(y))),
        (x > 1, (jnp.arctan(inverse), jnp.arctan(ratio), LN2 + jnp.log(y) + 0.5 * jnp.log1p(inverse * inverse))),
        otherwise=(x / tall, half_pi, 0.5 * jnp.log1p(2 * y * (y + tall))),
    )


def _edge(z: Array, real: Array, imag: Array, across: Array) -> Array:
    """With the values at infinities, `across` being the real part there, and at NaNs."""
    a, b = parts(z)
    unbounded = jnp.isinf(a) | jnp.isinf(b)
    nan = jnp.isnan(a) | jnp.isnan(b)
    lost = jnp.full_like(a, np.nan)
    real = jnp.where(unbounded & ~nan, across, jnp.where(nan, lost, real))
    imag = jnp.where(unbounded, jnp.full_like(b, np.inf), jnp.where(nan, lost, imag))
    return lax.complex(real, imag)


def _asin(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    real, _, imag = _quarter(abs(a), abs(b))
    wide, tall = jnp.isinf(a).astype(a.dtype), jnp.isinf(b).astype(a.dtype)
    found = _edge(z, real, imag, lax.atan2(wide, tall))
    return lax.complex(_signed(lax.real(found), a), _signed(lax.imag(found), b))


def _acos(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    _, real, imag = _quarter(abs(a), abs(b))
    real = jnp.where(a < 0, PI - real, real).astype(a.dtype)
    wide, tall = jnp.isinf(a).astype(a.dtype), jnp.isinf(b).astype(a.dtype)
    found = _edge(z, real, imag, lax.atan2(tall, _signed(wide, a)))
    return lax.complex(lax.real(found), -_signed(lax.imag(found), b))


def _asinh(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    real, imag = parts(_asin(lax.complex(-b, a)))
    return lax.complex(imag, -real)


def _acosh(z: Array, **_: Any) -> Array:
    real, imag = parts(_acos(z))
    turned = jnp.signbit(imag) | jnp.isnan(imag)
    return lax.complex(jnp.where(turned, -imag, imag), jnp.where(turned, real, -real))


def _atanh(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    x, y = abs(a), abs(b)
    _, small, great = _limits(x)
    rest = 1 - x
    square = y * y
    real = 0.25 * jnp.log1p(4 * x / (rest * rest + square))
    imag = 0.5 * lax.atan2(2 * y, rest * (1 + x) - square)
    pole = (x == 1) & (y < small)
    far = (x > great) | (y > great)
    most, least = jnp.maximum(x, y), jnp.minimum(x, y)
    ratio = least / most
    real = jnp.where(pole, 0.5 * (LN2 - jnp.log(y)), jnp.where(far, (x / most) / (most * (1 + ratio * ratio)), real))
    imag = jnp.where(far, HALF_PI, imag)
    unbounded, nan = most == np.inf, jnp.isnan(a) | jnp.isnan(b)
    unbounded = jnp.isinf(a) | jnp.isinf(b)
    real = jnp.where(unbounded, 0, jnp.where(nan, np.nan, real)).astype(a.dtype)
    imag = jnp.where(jnp.isnan(b) | (nan & ~unbounded), np.nan, jnp.where(unbounded, HALF_PI, imag)).astype(a.dtype)
    return lax.complex(_signed(real, a), _signed(imag, b))


def _atan(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    real, imag = parts(_atanh(lax.complex(-b, a)))
    return lax.complex(imag, -real)


DEFINITIONS: Final[Mapping[str, Definition]] = {
    "acos": _acos,
    "acosh": _acosh,
    "asin": _asin,
    "asinh": _asinh,
    "atan": _atan,
    "atanh": _atanh,
}
