"""Functions of complex numbers, as programs over their parts (docs/numerics/complex.md, 7.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.portable import complexes
from kernels.runtime.portable.complexes import add, div, exp, length, mul, parts, times

Definition = Callable[..., Array]

LN2: Final = 0.6931471805599453
TINY: Final = 2.0**-100
"""Below it, numbers are made greater before a square root, which would lose their last digits."""
FAR: Final = 20
"""Real parts beyond which tanh is ±1 but for what e^(-2|a|) adds."""


def _square(x: Array) -> tuple[Array, Array]:
    """The square and what rounding took from it, by Dekker's product."""
    high_part = np.array(2**12 + 1 if x.dtype == np.float32 else 2**27 + 1, x.dtype) * x
    high = high_part - (high_part - x)
    low, square, cross = x - high, x * x, high * (x - high)
    return square, ((high * high - square) + (cross + cross)) + low * low


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _log_length(a: Array, b: Array) -> Array:
    great, small = jnp.maximum(abs(a), abs(b)), jnp.minimum(abs(a), abs(b))
    square, rest = _square(great)
    square_of_small, rest_of_small = _square(small)
    less_one, lost = _sum(square, jnp.full_like(square, -1))
    near = 0.5 * jnp.log1p((less_one + square_of_small) + (lost + (rest + rest_of_small)))
    ratio = jnp.where(great == 0, 0, small / great)
    far = jnp.log(great) + 0.5 * jnp.log1p(ratio * ratio)
    found = jnp.where((great >= 0.5) & (great <= 2), near, far)  # noqa: PLR2004
    return jnp.where((abs(a) == np.inf) | (abs(b) == np.inf), np.inf, found).astype(a.dtype)


def _log(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    return lax.complex(_log_length(a, b), lax.atan2(b, a))


def _log1p(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    square, rest = _square(a)
    square_of_b, rest_of_b = _square(b)
    first, lost = _sum(a + a, square_of_b)
    second, more = _sum(first, square)
    near = 0.5 * jnp.log1p(second + (more + (lost + (rest + rest_of_b))))
    within = (abs(a) <= 0.5) & (abs(b) <= 2)  # noqa: PLR2004
    return lax.complex(jnp.where(within, near, _log_length(1 + a, b)), lax.atan2(b, 1 + a))


def _sqrt(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    great = jnp.maximum(abs(a), abs(b))
    tiny = great < TINY
    scale, back = jnp.where(tiny, 2.0**54, 1).astype(a.dtype), jnp.where(tiny, 2.0**-27, 1).astype(a.dtype)
    wide, tall = abs(a) * scale, abs(b) * scale
    root = jnp.sqrt(0.5 * wide + 0.5 * length(lax.complex(wide, tall)))
    other = (0.5 * tall) / root
    root, other = root * back, other * back
    real, imag = jnp.where(a < 0, other, root), _signed(jnp.where(a < 0, root, other), b)
    real, imag = jnp.where(great == 0, 0, real), jnp.where(great == 0, b, imag)
    real = jnp.where(a == -np.inf, 0 * abs(b), jnp.where(a == np.inf, np.inf, real))
    imag = jnp.where(a == -np.inf, _signed(abs(a), b), jnp.where(a == np.inf, 0 * b, imag))
    upright = abs(b) == np.inf
    return lax.complex(
        jnp.where(upright, np.inf, real).astype(a.dtype),
        jnp.where(upright, b, imag).astype(a.dtype),
    )


def _signed(x: Array, sign: Array) -> Array:
    """A number that is not negative, with the sign bit of another."""
    return jnp.where(jnp.signbit(sign), -x, x)


def _rsqrt(z: Array, **_: Any) -> Array:
    return div(jnp.ones_like(z), _sqrt(z))


def _exp2(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    size, angle = jnp.exp2(a), b * np.array(LN2, b.dtype)
    return lax.complex(times(size, jnp.cos(angle)), times(size, jnp.sin(angle)))


def _expm1(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    half = jnp.sin(0.5 * b)
    return lax.complex(times(jnp.expm1(a), jnp.cos(b)) - 2 * (half * half), times(jnp.exp(a), jnp.sin(b)))


def _sin(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    return lax.complex(times(jnp.sin(a), jnp.cosh(b)), times(jnp.cos(a), jnp.sinh(b)))


def _cos(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    return lax.complex(times(jnp.cos(a), jnp.cosh(b)), -times(jnp.sin(a), jnp.sinh(b)))


def _sinh(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    return lax.complex(times(jnp.sinh(a), jnp.cos(b)), times(jnp.cosh(a), jnp.sin(b)))


def _cosh(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    return lax.complex(times(jnp.cosh(a), jnp.cos(b)), times(jnp.sinh(a), jnp.sin(b)))


def _tanh(z: Array, **_: Any) -> Array:
    """By Kahan's formula, in which nothing cancels."""
    a, b = parts(z)
    slope, sine = jnp.tan(b), jnp.sinh(a)
    beta = 1 + slope * slope
    below = 1 + beta * (sine * sine)
    far = abs(a) > FAR
    last = times(4 * (jnp.sin(b) * jnp.cos(b)), jnp.exp(-2 * abs(a)))
    real = beta * jnp.sqrt(1 + sine * sine) * sine / below
    return lax.complex(jnp.where(far, jnp.sign(a), real), jnp.where(far, last, slope / below))


def _tan(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    real, imag = parts(_tanh(lax.complex(-b, a)))
    return lax.complex(imag, -real)


def _logistic(z: Array, **_: Any) -> Array:
    left = lax.real(z) < 0
    power = exp(jnp.where(left, z, -z))
    one = jnp.ones_like(z)
    return div(jnp.where(left, power, one), add(one, power))


def _sign(z: Array, **_: Any) -> Array:
    a, b = parts(z)
    size = length(z)
    return jnp.where(size == 0, jnp.zeros_like(z), lax.complex(a / size, b / size))


def _pow(z: Array, w: Array, **_: Any) -> Array:
    z, w = (one if jnp.iscomplexobj(one) else complexes.convert(one, new_dtype=out) for one, out in _types(z, w))
    real, imag = parts(w)
    base, over = parts(z)
    nought = (base == 0) & (over == 0)
    found = exp(mul(w, _log(z)))
    found = jnp.where(nought & (real > 0), jnp.zeros_like(found), found)
    return jnp.where((real == 0) & (imag == 0), jnp.ones_like(found), found)


def _types(z: Array, w: Array) -> list[tuple[Array, Any]]:
    out = z.dtype if jnp.iscomplexobj(z) else w.dtype
    return [(z, out), (w, out)]


def _reduce_prod(z: Array, *, axes: tuple[int, ...], **_: Any) -> Array:
    """By halves."""
    kept = [axis for axis in range(z.ndim) if axis not in axes]
    shape = tuple(z.shape[axis] for axis in kept)
    count = math.prod(z.shape[axis] for axis in axes)
    left = lax.reshape(lax.transpose(z, (*axes, *kept)), (count, *shape))
    if count == 0:
        return jnp.ones(shape, z.dtype)
    while left.shape[0] > 1:
        half = (left.shape[0] + 1) // 2
        pairs = left.shape[0] - half
        left = lax.concatenate([mul(left[:pairs], left[half:]), left[pairs:half]], 0)
    return left[0]


def _cumprod(z: Array, *, axis: int, reverse: bool, **_: Any) -> Array:
    """Each by what lies 1, 2, 4, ... places before it, so that an element has the same bits in a longer array."""
    found = lax.rev(z, (axis,)) if reverse else z
    apart = 1
    while apart < z.shape[axis]:
        first = lax.slice_in_dim(found, 0, apart, axis=axis)
        before = lax.slice_in_dim(found, 0, -apart, axis=axis)
        found = lax.concatenate([first, mul(before, lax.slice_in_dim(found, apart, None, axis=axis))], axis)
        apart *= 2
    return lax.rev(found, (axis,)) if reverse else found


DEFINITIONS: Final[Mapping[str, Definition]] = {
    "cos": _cos,
    "cosh": _cosh,
    "cumprod": _cumprod,
    "exp2": _exp2,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "logistic": _logistic,
    "pow": _pow,
    "reduce_prod": _reduce_prod,
    "rsqrt": _rsqrt,
    "sign": _sign,
    "sin": _sin,
    "sinh": _sinh,
    "sqrt": _sqrt,
    "tan": _tan,
    "tanh": _tanh,
}
