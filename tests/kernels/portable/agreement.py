"""One operation from every library of this host, compared bit for bit."""

import platform

import jax
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from jax.extend.core import Literal

from kernels.runtime.portable import library

DTYPES = ("float32", "float64", "bfloat16", "float16")
LEVELS = ("portable",) if platform.machine() == "aarch64" else ("portable-v3", "portable-v4")
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38, 3e38, -3e38, 2.0**-24, 0.1)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 17, 65]), max_size=4).filter(lambda s: np.prod(s) <= 4500)

QUICK = settings(max_examples=12, deadline=None)


def bits(x):
    """The value as unsigned integers of its width; others as they are."""
    x = np.asarray(x)
    return x if x.dtype.kind in "biuc" else x.view(f"u{x.dtype.itemsize}")


def numbers(shape, dtype, seed, special=0.0):
    """Numbers of many magnitudes, of which a part is drawn from the special ones."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(shape) * 2.0 ** random.integers(-6, 7, shape)
    chosen = np.where(random.random(shape) < special, random.choice(SPECIAL, shape), x)
    with np.errstate(over="ignore"):
        return chosen.astype(jax.numpy.dtype(dtype))


def _jitted(function, args):
    def anew(*args):  # jit would give an older trace of `function`, and with it another library
        return function(*args)

    return jax.tree.map(np.asarray, jax.jit(anew)(*args))


def every(function, *args):
    """What a jitted `function` gives from each fast library that this CPU runs, and from the referee, the last."""
    found = []
    with pytest.MonkeyPatch.context() as patched, jax.enable_x64(True):
        for level in LEVELS[: LEVELS.index(library.level()) + 1]:
            patched.setattr(library, "level", lambda name=level: name)
            found.append(_jitted(function, args))
    with library.arbitrated(), jax.enable_x64(True):
        found.append(_jitted(function, args))
    return found


def assert_one_value(found):
    """Fail unless all of them are equal, bit for bit."""
    *fast, referee = found
    for one in fast:
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), one, referee)


def applied(rules, function, *args):
    """The rule for the last equation of this function, applied to its arguments and literals."""
    *_, equation = jax.make_jaxpr(function)(*args).eqns
    literals = [jax.numpy.asarray(v.val) for v in equation.invars if isinstance(v, Literal)]
    found = rules[equation.primitive.name]((*args, *literals), equation.params)
    return found if len(found) > 1 else found[0]
