"""Complex eigenvalues and singular values: backward stable, orthonormal, and defined where LAPACK is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_one_value, every
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.grouping import alone
from kernels.runtime.portable.transform import portable


@pytest.fixture(autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


def drawn(shape, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def adjoint(a):
    return np.conj(np.swapaxes(a, -1, -2))


def unitary(n):
    return np.linalg.qr(drawn((n, n), 1))[0]


def near(one, other, dtype, size):
    """Within some units of the format, times the matrix's size."""
    assert np.linalg.norm(np.asarray(one, complex) - other) <= 4 * one.shape[-1] * np.finfo(dtype).eps * size


SQUARE = {
    "random": drawn((7, 7)) + adjoint(drawn((7, 7))),
    "repeated": unitary(8) * np.repeat([1, 1, -2, 5.0], 2) @ adjoint(unitary(8)),
    "diagonal": np.diag([3, 1, 2, 1.0]).astype(complex),
    "zero": np.zeros((3, 3), complex),
    "one": np.full((1, 1), 2.0 + 0j),
    "graded": np.diag(10.0 ** -np.arange(8)) + 1e-10j * (np.triu(np.ones((8, 8)), 1) - np.tril(np.ones((8, 8)), -1)),
    "great": 1e30 * (drawn((4, 4)) + adjoint(drawn((4, 4)))),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_eigenvectors_of_one_shape_after_another(dtype):
    for name, whole in SQUARE.items():
        a = (0.5 * (whole + adjoint(whole))).astype(dtype)
        values, vectors = map(np.asarray, jax.jit(portable(jnp.linalg.eigh))(a))
        size = np.linalg.norm(a.astype(complex)) or 1
        near(a.astype(complex) @ vectors, vectors * values.astype(float), dtype, size)
        near(adjoint(vectors) @ vectors, np.eye(len(a)), dtype, 1)
        near(values[None], np.linalg.eigvalsh(a.astype(complex)), dtype, size)
        assert (np.diff(values) >= 0).all(), name


@pytest.mark.slow
def test_either_triangle_alone_is_read():
    a = SQUARE["random"]
    spoilt = [
        np.where(np.tri(7, dtype=bool) if lower else np.tri(7, dtype=bool).T, a, np.nan) for lower in (True, False)
    ]
    for lower, own in zip((True, False), spoilt, strict=True):
        values = portable(lambda a, lower=lower: lax.linalg.eigh(a, lower=lower, symmetrize_input=False)[1])(own)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(a), atol=1e-13)


@pytest.mark.parametrize(
    "shape", [(2, 3, 5), *(pytest.param(one, marks=pytest.mark.slow) for one in [(5, 3), (4, 4), (1, 1), (1, 4)])]
)
@pytest.mark.parametrize("whole", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_singular_vectors(shape, whole):
    a = drawn(shape)
    found = jax.jit(portable(lambda a: jnp.linalg.svd(a, full_matrices=whole)))(a)
    u, values, v = map(np.asarray, found)
    count = min(shape[-2:])
    near(u[..., :count] * values[..., None, :] @ v[..., :count, :], a, "complex128", np.linalg.norm(a))
    near(adjoint(u) @ u, np.broadcast_to(np.eye(u.shape[-1]), adjoint(u).shape[:-1] + u.shape[-1:]), "complex128", 1)
    near(v @ adjoint(v), np.broadcast_to(np.eye(v.shape[-2]), v.shape[:-1] + v.shape[-2:-1]), "complex128", 1)
    np.testing.assert_allclose(values, np.linalg.svd(a, compute_uv=False), rtol=1e-13)
    alone_values = portable(lambda a: jnp.linalg.svd(a, compute_uv=False))(a)
    np.testing.assert_array_equal(alone_values, values)


@pytest.mark.slow
@pytest.mark.parametrize("a", [np.zeros((4, 2), complex), np.outer(drawn(5), drawn(3, 1)), unitary(5)])
def test_ranks(a):
    u, values, v = map(np.asarray, portable(lambda a: jnp.linalg.svd(a, full_matrices=False))(a))
    near(u * values @ v, a, "complex128", np.linalg.norm(a) or 1)
    near(adjoint(u) @ u, np.eye(u.shape[1]), "complex128", 1)


@pytest.mark.slow
def test_what_is_made_of_them():
    a = drawn((5, 3))
    np.testing.assert_allclose(portable(jnp.linalg.pinv)(a), np.linalg.pinv(a), atol=1e-13)
    np.testing.assert_allclose(portable(lambda a: jnp.linalg.norm(a, 2))(a), np.linalg.norm(a, 2), rtol=1e-14)
    assert portable(jnp.linalg.matrix_rank)(np.outer(drawn(5), drawn(3, 1))) == 1
    square = SQUARE["random"]
    slope = jax.grad(lambda a: jnp.sum(jnp.linalg.eigh(a)[0] ** 2))
    np.testing.assert_allclose(portable(slope)(square), slope(square), atol=1e-10)


@pytest.mark.slow
def test_fast_is_the_referee_and_a_batch_is_its_members():
    a = (drawn((2, 5, 5)) + adjoint(drawn((2, 5, 5)))).astype(np.complex64)

    def both(a):
        return jnp.linalg.eigh(a), jnp.linalg.svd(a[:, :4])

    found = every(portable(both), a)
    assert_one_value(found)
    for at in range(2):
        for one, other in zip(
            jax.tree.leaves(found[0]), jax.tree.leaves(portable(both, alone)(a[at : at + 1])), strict=True
        ):
            assert one[at].tobytes() == np.asarray(other)[0].tobytes()


def test_nan_is_given_back_and_parts_are_refused():
    a = SQUARE["random"].copy()
    a[3, 2] = np.nan
    assert np.isnan(portable(jnp.linalg.eigh)(a)[0]).all()
    assert np.isnan(portable(lambda a: jnp.linalg.svd(a, compute_uv=False))(a)).all()
    assert portable(jnp.linalg.svd)(np.zeros((0, 3), complex))[2].shape == (3, 3)
    with pytest.raises(KernelError, match="subset_by_index"):
        portable(lambda a: lax.linalg.eigh(a, subset_by_index=(0, 2)))(a)


def added(x):
    """The sum of R1, of few numbers of binary64."""
    lanes = np.zeros(32)
    lanes[: len(x)] += x
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


def times(a, b):
    return complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def over(a, b):
    """Smith's quotient, of section 7."""
    if not abs(b.real) < abs(b.imag):
        r = b.imag / b.real
        s = b.real + b.imag * r
        return complex((a.real + a.imag * r) / s, (a.imag - a.real * r) / s)
    r = b.real / b.imag
    s = b.imag + b.real * r
    return complex((a.real * r + a.imag) / s, (a.imag * r - a.real) / s)


def reflector(column, at):
    """V and tau of 7.3's `qr`, row `at` being the first."""
    own, rest = complex(column[at]), np.where(np.arange(len(column)) > at, column, 0)
    g = max(np.abs([rest.real, rest.imag]).max(), abs(own.real), abs(own.imag)) or 1.0
    squares = added((rest.real / g) ** 2 + (rest.imag / g) ** 2)
    size = np.sqrt(squares + ((own.real / g) ** 2 + (own.imag / g) ** 2)) * g
    beta = size if own.real < 0 else -size
    v = np.array([over(complex(one), own - beta) for one in rest])
    v[at] = 1
    return v, complex((beta - own.real) / beta, -own.imag / beta)


def reflected(a, v, tau):
    made = a.copy()
    for j in range(a.shape[1]):
        products = [times(complex(one).conjugate(), complex(other)) for one, other in zip(v, a[:, j], strict=True)]
        w = times(tau, complex(added([one.real for one in products]), added([one.imag for one in products])))
        made[:, j] = [complex(one) - times(complex(other), w) for one, other in zip(a[:, j], v, strict=True)]
    return made


def test_the_reduction_is_as_written():
    a = SQUARE["random"][:5, :5].copy()
    np.fill_diagonal(a, a.diagonal().real)
    found = portable(jnp.linalg.eigh)(a)
    kept = []
    for k in range(4):
        v, tau = reflector(a[:, k], k + 1)
        a = reflected(adjoint(reflected(a, v, tau.conjugate())), v, tau.conjugate())
        a = adjoint(a)
        kept.append((v, tau))
    values, vectors = portable(lambda x: jnp.linalg.eigh(x, symmetrize_input=False))(np.tril(np.triu(a.real, -1), 1))
    made = np.asarray(vectors).astype(complex)
    for v, tau in reversed(kept):
        made = reflected(made, v, tau)
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found[1], made)
