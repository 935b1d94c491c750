"""Inverse functions of complex numbers: near the true values in each part, with C's values at infinities."""

from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_one_value, every
from jax import lax
from zoo_inputs import pairs

from kernels.runtime.portable.transform import portable

NAMES = ("asin", "acos", "atan", "asinh", "acosh", "atanh")
MOST = 3.5
"""Units in the last place of a part; 2.9 was the most over 15 000 values."""


def every_one(z):
    return {name: getattr(lax, name)(z) for name in NAMES}


def table():
    """Operands by type, and the true values at each by function."""
    found = {"complex64": {}, "complex128": {}}
    for line in Path(__file__).with_name("complex_values.txt").read_text().splitlines()[1:]:
        name, dtype, real, imag, *true = line.split()
        operand = complex(float.fromhex(real), float.fromhex(imag))
        found[dtype].setdefault(operand, {})[name] = [Fraction(part) for part in true]
    return found


def units(found, true, dtype):
    """The distance of a part, in units of the true value's last place."""
    size = np.finfo(dtype).dtype.type
    return abs(Fraction(float(found)) - true) / Fraction(float(np.spacing(size(abs(float(true))))))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_each_part_is_near(dtype):
    true = table()[dtype]
    z = np.array(list(true), dtype)
    with jax.enable_x64(True):
        found = jax.jit(portable(every_one))(z)
    for name in NAMES:
        for operand, got in zip(true, np.asarray(found[name]), strict=True):
            real, imag = true[operand][name]
            assert max(units(got.real, real, dtype), units(got.imag, imag, dtype)) < MOST, (name, operand)


EDGES = [(np.inf, 1.0), (-np.inf, -1.0), (1.0, np.inf), (-1.0, -np.inf), (np.inf, np.inf), (-np.inf, np.inf)]
EDGES += [(0.0, 0.0), (-0.0, -0.0), (0.5, -0.0), (2.0, 0.0), (2.0, -0.0), (-2.0, -0.0), (1.0, 0.0), (-1.0, -0.0)]
EDGES += [(0.0, 2.0), (-0.0, 2.0), (-0.0, -2.0), (0.0, 1.0), (np.nan, 1.0), (np.inf, np.nan), (1.0, np.nan)]


@pytest.mark.parametrize("name", NAMES)
def test_edges(name):
    z = np.array([complex(*pair) for pair in EDGES], np.complex128)
    with jax.enable_x64(True):
        found = np.asarray(portable(getattr(lax, name))(z))
    with np.errstate(all="ignore"):
        wanted = getattr(np, name.replace("a", "arc", 1))(z)
    np.testing.assert_allclose(found.real, wanted.real, rtol=1e-15)
    np.testing.assert_allclose(found.imag, wanted.imag, rtol=1e-15)
    plain = np.isfinite(z)
    np.testing.assert_array_equal(np.signbit(found.imag)[plain], np.signbit(wanted.imag)[plain])
    np.testing.assert_array_equal(np.signbit(found.real)[plain], np.signbit(wanted.real)[plain])


def test_fast_is_the_referee_on_special_values():
    x, y = pairs()
    assert_one_value(every(portable(lambda x, y: every_one(lax.complex(x, y))), x, y))


@pytest.mark.slow
def test_gradients():
    z = np.array([0.5 + 0.25j, -1.5 + 2j, 3 - 1e-3j, 0.99 - 0.01j])
    with jax.enable_x64(True):
        for name in NAMES:
            slope = jax.grad(lambda z, name=name: jnp.sum(jnp.real(getattr(lax, name)(z))))
            np.testing.assert_allclose(portable(slope)(z), slope(z), rtol=1e-9)
