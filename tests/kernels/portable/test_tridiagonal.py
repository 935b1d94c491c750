"""Tridiagonal systems: LAPACK's gtsv, of which each step is in the specification."""

import jax
import numpy as np
import pytest
from agreement import assert_one_value, bits, every, numbers
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable.transform import portable


@pytest.fixture(autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


def system(shape, columns, dtype, seed=0):
    """Diagonals whose pivots have to be exchanged, and right sides."""
    random = np.random.default_rng(seed)

    def drawn(shape):
        x = random.standard_normal(shape)
        return (x + 1j * random.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)

    return drawn(shape), 0.1 * drawn(shape), drawn(shape), drawn((*shape, columns))


def full(dl, d, du):
    return np.stack([np.diag(b) + np.diag(a[1:], -1) + np.diag(c[:-1], 1) for a, b, c in zip(dl, d, du, strict=True)])


def gtsv(dl, d, du, b):
    """One system in plain scalars, in the order of 5.9."""
    dl, d, du, b = (list(map(np.array, x)) for x in (dl, d, du, b))
    n, second = len(d), [d[0] * 0] * len(d)
    du[-1] = d[0] * 0
    for i in range(n - 1):
        if not abs(d[i]) < abs(dl[i + 1]):
            f = dl[i + 1] / d[i]
            d[i + 1], b[i + 1] = d[i + 1] - f * du[i], b[i + 1] - f * b[i]
        else:
            f = d[i] / dl[i + 1]
            d[i], d[i + 1], du[i] = dl[i + 1], du[i] - f * d[i + 1], d[i + 1]
            second[i], du[i + 1] = du[i + 1], -(f * du[i + 1])
            b[i], b[i + 1] = b[i + 1], b[i] - f * b[i + 1]
    b[-1] = b[-1] / d[-1]
    for i in range(n - 2, -1, -1):
        far = b[i + 2] if i + 2 < n else b[-1] * 0
        b[i] = (b[i] - du[i] * b[i + 1] - second[i] * far) / d[i]
    return np.stack(b)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_it_solves(dtype):
    dl, d, du, b = system((3, 12), 2, dtype)
    found = jax.jit(portable(lax.linalg.tridiagonal_solve))(dl, d, du, b)
    wanted = np.linalg.solve(full(dl, d, du), b)
    np.testing.assert_allclose(found, wanted, rtol=1e4 * np.finfo(dtype).eps, atol=1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_every_step_is_as_written(size):
    systems = system((2, size), 3, "float64", size)
    found = jax.jit(portable(lax.linalg.tridiagonal_solve))(*systems)
    for row, one in enumerate(np.asarray(found)):
        np.testing.assert_array_equal(bits(one), bits(gtsv(*(x[row] for x in systems))))


@pytest.mark.slow
def test_special_values_and_what_is_no_element():
    dl, d, du = (numbers((4, 9), "float32", seed, 0.1) for seed in range(3))
    b = numbers((4, 9, 2), "float32", 3, 0.1)
    assert_one_value(every(portable(lax.linalg.tridiagonal_solve), dl, d, du, b))
    dl, d, du, b = system((1, 5), 1, "float64")
    plain = portable(lax.linalg.tridiagonal_solve)(dl, d, du, b)
    dl[0, 0] = du[0, -1] = np.nan
    np.testing.assert_array_equal(portable(lax.linalg.tridiagonal_solve)(dl, d, du, b), plain)


def test_a_singular_system_alone_is_nan():
    dl, d, du, b = system((2, 4), 1, "float32")
    dl[0], d[0] = 0, [1, 0, 1, 1]
    found = np.asarray(portable(lax.linalg.tridiagonal_solve)(dl, d, du, b))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert portable(lax.linalg.tridiagonal_solve)(*(x[:0] for x in (dl, d, du, b))).shape == (0, 4, 1)


@pytest.mark.slow
def test_gradients():
    arguments = system((1, 6), 2, "float64")

    def loss(*args):
        return (lax.linalg.tridiagonal_solve(*args) ** 2).sum()

    every_one = tuple(range(4))
    found, wanted = portable(jax.grad(loss, every_one))(*arguments), jax.grad(loss, every_one)(*arguments)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_what_is_refused():
    dl, d, du, b = (x.astype("f4") for x in system((1, 3), 1, "float32"))
    with pytest.raises(KernelError, match="perturb_singular"):
        portable(lambda *args: lax.linalg.tridiagonal_solve(*args, perturb_singular=True))(dl, d, du, b)
    with pytest.raises(KernelError, match="bfloat16"):
        portable(lax.linalg.tridiagonal_solve)(*(x.astype("bfloat16") for x in (dl, d, du, b)))
