"""Complex numbers: functions near NumPy's in more digits, edges as C has them; their order is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.transform import portable


@pytest.fixture(scope="module", autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


def complexes(count, dtype, seed=0):
    """Ordinary ones, and ones next to the unit circle."""
    random = np.random.default_rng(seed)
    plain = random.standard_normal(count) + 1j * random.standard_normal(count)
    return np.concatenate([plain * 3, np.exp(1j * plain.real) * (1 + 1e-4 * plain.imag)]).astype(dtype)


FUNCTIONS = {
    "log": np.log,
    "log1p": lambda z: np.log(1 + z),
    "sqrt": np.sqrt,
    "rsqrt": lambda z: 1 / np.sqrt(z),
    "exp": np.exp,
    "exp2": lambda z: np.exp(z * np.log(np.longdouble(2))),
    "expm1": lambda z: np.exp(z) - 1,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "sign": lambda z: z / np.abs(z),
}
LOOSE = {"exp2": 16.0}
"""An angle times log 2 is rounded before its cosine; the others stay within four units of the result's size."""


def all_of(z):
    return {name: getattr(lax, name)(z) for name in FUNCTIONS}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_functions_are_near(dtype):
    z = complexes(200, dtype)
    found = jax.jit(portable(all_of))(z)
    epsilon = np.finfo(dtype).eps
    for name, true in FUNCTIONS.items():
        wanted = true(z.astype(np.clongdouble))
        far = np.abs(np.asarray(found[name]) - wanted) / np.abs(wanted) / epsilon
        assert far.max() < LOOSE.get(name, 4), (name, z[far.argmax()])


def test_the_logarithm_next_to_the_unit_circle_keeps_its_real_part():
    z = complexes(300, np.complex64)[300:]
    found = np.asarray(portable(jnp.log)(z)).real
    wanted = np.log(np.abs(z.astype(np.clongdouble)))
    assert np.abs(found - wanted).max() < 2 * np.spacing(np.abs(wanted).max().astype(np.float32))
    np.testing.assert_allclose(found, wanted.astype(float), rtol=4e-7)


def test_powers_and_products():
    z, w = complexes(60, np.complex128), complexes(60, np.complex128, 1)
    found = portable(lambda z, w: (z**w, z**2.5, jnp.prod(z[:7].reshape(7, 1) * w[:3], axis=0), jnp.linalg.norm(z)))(
        z, w
    )
    np.testing.assert_allclose(found[0], z**w, rtol=1e-13)
    np.testing.assert_allclose(found[1], z**2.5, rtol=1e-13)
    np.testing.assert_allclose(found[2], np.prod(z[:7, None] * w[:3], axis=0), rtol=1e-13)
    np.testing.assert_allclose(portable(jnp.convolve)(z, w), np.convolve(z, w), rtol=1e-12)
    np.testing.assert_array_equal(portable(jnp.power)(np.zeros(3, complex), np.array([0, 2, 1 + 1j])), [1, 0, 0])


@pytest.mark.parametrize("shape", [(2, 6, 6), (5, 3), (2, 4), (0, 3), (35, 40)])
def test_lu_pivots_as_lapack_does(shape):
    random = np.random.default_rng(2)
    a = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    found, wanted = jax.jit(portable(lax.linalg.lu))(a), lax.linalg.lu(a)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-14)
    np.testing.assert_array_equal(found[1], wanted[1])
    np.testing.assert_array_equal(found[2], wanted[2])


@pytest.mark.parametrize("shape", [(2, 6, 4), (3, 5), (0, 3)])
def test_qr_is_lapacks(shape):
    random = np.random.default_rng(4)
    a = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    mode = "complete" if len(shape) == 3 else "reduced"
    q, r = jax.jit(portable(lambda a: jnp.linalg.qr(a, mode=mode)))(a)
    np.testing.assert_allclose(q @ r, a, atol=1e-14)
    np.testing.assert_allclose(
        np.conj(np.swapaxes(q, -1, -2)) @ q,
        np.broadcast_to(np.eye(q.shape[-1]), (*q.shape[:-2], q.shape[-1], q.shape[-1])),
        atol=1e-14,
    )
    np.testing.assert_allclose(r, np.linalg.qr(a, mode=mode)[1], atol=1e-14)


def test_qr_of_what_is_triangular_already():
    a = np.array([[2, 1j], [0, -3]], np.complex64)
    q, r = portable(jnp.linalg.qr)(a)
    np.testing.assert_array_equal(q, np.eye(2))
    np.testing.assert_array_equal(r, a)
    with pytest.raises(KernelError, match="no qr with pivoting of complex64"):
        portable(lambda a: lax.linalg.qr(a, pivoting=True))(a)


def test_factors_and_solutions():
    random = np.random.default_rng(3)
    a, b = (random.standard_normal((5, n)) + 1j * random.standard_normal((5, n)) for n in (5, 2))
    positive = a @ a.conj().T

    def everything(a, b, positive):
        options = {"left_side": True, "lower": True, "conjugate_a": True, "transpose_a": True}
        triangles = [lax.linalg.triangular_solve(a, b, **options, unit_diagonal=unit) for unit in (False, True)] + [
            lax.linalg.triangular_solve(a, b.T)
        ]
        return triangles, jnp.linalg.solve(a, b), jnp.linalg.det(a), jnp.linalg.cholesky(positive)

    found = jax.jit(portable(everything))(a, b, positive)
    lower, unit = np.tril(a), np.tril(a, -1) + np.eye(5)
    np.testing.assert_allclose(lower.conj().T @ found[0][0], b, atol=1e-12)
    np.testing.assert_allclose(unit.conj().T @ found[0][1], b, atol=1e-12)
    np.testing.assert_allclose(found[0][2] @ np.triu(a), b.T, atol=1e-12)
    np.testing.assert_allclose(a @ found[1], b, atol=1e-12)
    np.testing.assert_allclose(found[2], np.linalg.det(a), rtol=1e-13)
    np.testing.assert_allclose(found[3], np.linalg.cholesky(positive), atol=1e-13)
    assert np.isnan(np.asarray(portable(jnp.linalg.cholesky)(-positive))[np.tril_indices(5)]).all()


EDGES = {
    "sqrt": [(-0.0, -0.0), (0.0, -0.0), (-4.0, 0.0), (-4.0, -0.0), (np.nan, np.inf), (-np.inf, -1.0), (np.inf, -1.0)],
    "log": [(0.0, 0.0), (-0.0, -0.0), (np.inf, np.inf), (-np.inf, 1.0), (np.nan, np.inf), (1.0, 0.0)],
    "exp": [(-np.inf, 2.0), (np.inf, 0.0), (0.0, -0.0), (-np.inf, 0.0)],
    "tanh": [(1000.0, 1.0), (-1000.0, 1.0), (0.0, 0.0), (np.inf, 1.0)],
    "sinh": [(0.0, 0.0), (np.inf, 0.0), (0.5, 0.0)],
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    z = np.array([complex(*pair) for pair in EDGES[name]], np.complex128)
    found = np.asarray(portable(getattr(jnp, name))(z))
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(z)
    np.testing.assert_allclose(found.real, wanted.real, rtol=1e-15)
    np.testing.assert_allclose(found.imag, wanted.imag, rtol=1e-15)
    plain = ~np.isnan(wanted.real)
    np.testing.assert_array_equal(np.signbit(found.imag)[plain], np.signbit(wanted.imag)[plain])


@pytest.mark.parametrize("name", ["sort", "max", "argmax"])
def test_what_there_is_not_is_refused(name):
    with pytest.raises(KernelError, match="complex64"):
        portable(getattr(jnp, name))(np.ones(3, np.complex64))
