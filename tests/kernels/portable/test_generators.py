"""Named generators: XLA's own bits for every shape, from their definitions; what the platform chooses is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.transform import portable

SHAPES = [(), (1,), (4,), (7,), (3, 2), (3, 5), (3, 3), (2, 3, 4), (1, 1, 6), (5, 4, 3), (0, 3), (2, 0)]
KEY = np.array([0x9ABCDEF0, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF], np.uint32)
"""Of which the counter overflows both of its words."""


@pytest.fixture(autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("shapes", [[(3, 5)], pytest.param(SHAPES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", [lax.RandomAlgorithm.RNG_THREE_FRY, lax.RandomAlgorithm.RNG_PHILOX])
def test_they_are_xlas(algorithm, shapes):
    def drawn(key):
        cases = itertools.product(shapes, ("uint8", "uint16", "uint32", "uint64")[-len(shapes) - 1 :])
        return [lax.rng_bit_generator(key, shape, dtype=dtype, algorithm=algorithm) for shape, dtype in cases]

    for key in (KEY, KEY.view(np.uint64)):
        found, wanted = jax.jit(portable(drawn))(key), jax.jit(drawn)(key)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_philox_is_the_published_one():
    """Known answers of Random123 for ten rounds: all zeros, and all ones."""
    zero, ones = np.zeros(4, np.uint32), np.full(4, 0xFFFFFFFF, np.uint32)

    def first(key):
        return lax.rng_bit_generator(key, (4,), algorithm=lax.RandomAlgorithm.RNG_PHILOX)[1]

    assert [hex(one) for one in portable(first)(zero)] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    assert [hex(one) for one in portable(first)(ones)] == ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]


def test_the_platforms_own_is_refused_unless_nothing_uses_it():
    def drawn(key):
        return lax.rng_bit_generator(key, (4,))[1]

    with pytest.raises(KernelError, match=r"no rng_bit_generator of uint32 by RNG_DEFAULT \(.*test_generators.py:\d+"):
        portable(drawn)(KEY)
    with pytest.raises(KernelError, match="rbg"):
        portable(lambda: jax.random.uniform(jax.random.key(1, impl="rbg"), (3,)))()
    with pytest.raises(KernelError, match="rng_uniform"):
        portable(lambda a, b: lax.rng_uniform(a, b, (3,)))(0.0, 1.0)
    assert portable(lambda key: (drawn(key), key)[1])(KEY)[0] == KEY[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_approximate_selection_is_exact(dtype):
    x = np.random.default_rng(0).permutation(60).reshape(3, 20).astype(dtype)
    x[0, :3] = [0, -0.0, np.nan]

    def chosen(x):
        return lax.approx_max_k(x, 5), lax.approx_min_k(x, 2, 0), lax.approx_max_k(x, 3, aggregate_to_topk=False)

    (most, at), (least, where), (some, _) = jax.jit(portable(chosen))(x)
    plain = lax.top_k(x, 5)
    np.testing.assert_array_equal(np.asarray(most).astype(float), np.asarray(plain[0]).astype(float))
    np.testing.assert_array_equal(at, plain[1])
    np.testing.assert_array_equal(np.asarray(some[..., :3]).astype(float), np.asarray(most[..., :3]).astype(float))
    assert some.shape == chosen(x)[2][0].shape
    order = np.argsort(x.astype(float), 0, kind="stable")
    np.testing.assert_array_equal(where, order[:2])
    np.testing.assert_array_equal(np.asarray(least), np.take_along_axis(x, order, 0)[:2])


def test_products_of_complex_numbers_add_up():
    z = (np.arange(1, 12) + 1j * np.arange(11, 0, -1)) / 8
    found = jax.jit(portable(lambda z: (jnp.cumprod(z), lax.cumprod(z, reverse=True), jnp.cumprod(z[:5]))))(z)
    np.testing.assert_allclose(found[0], np.cumprod(z), rtol=1e-14)
    np.testing.assert_allclose(found[1], np.cumprod(z[::-1])[::-1], rtol=1e-14)
    np.testing.assert_array_equal(found[2], found[0][:5])


@pytest.mark.slow
def test_the_gradient_of_products():
    z = (np.arange(1, 12) + 1j * np.arange(11, 0, -1)) / 8
    slope = jax.grad(lambda z: jnp.sum(jnp.real(jnp.cumprod(z))))
    np.testing.assert_allclose(portable(slope)(z), slope(z), rtol=1e-9)
    assert portable(jnp.cumprod)(z[:0]).shape == (0,)
