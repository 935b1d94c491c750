"""Factorisations and solves: every fast library gives the referee's bits, and LAPACK's accuracy."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_one_value, bits, every, numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import linalg, portable

FORMATS = ("float32", "float64")
EPS = {"float32": 2.0**-24, "float64": 2.0**-53}
SHAPES = (
    (0, 0),
    (0, 3),
    (3, 0),
    (1, 1),
    (1, 4),
    (4, 1),
    (5, 8),
    (9, 4),
    (13, 11),
    (33, 64),
    (70, 33),
    (65, 65),
    (2, 3, 5, 5),
    (100, 100),
)
SQUARES = tuple(shape for shape in SHAPES if shape[-1] == shape[-2])
SOME = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

QR = {"pivoting": False, "use_magma": None}
EIGH = {"lower": True, "sort_eigenvalues": True, "subset_by_index": None, "algorithm": None}
SVD = {"full_matrices": True, "compute_uv": True, "subset_by_index": None, "algorithm": None}


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def matrices(shapes, dtype, seed=0):
    return [np.random.default_rng(seed).standard_normal(shape).astype(dtype) for shape in shapes]


def definite(a):
    return a @ a.swapaxes(-1, -2) + np.eye(a.shape[-1], dtype=a.dtype) * a.shape[-1]


def peculiar(dtype):
    """Square matrices that iterations and pivots stumble over."""
    n = 9
    ramp = np.arange(n, dtype=float)
    rank_one = np.outer(ramp + 1, ramp - 3)
    with np.errstate(over="ignore"):
        return [
            x.astype(dtype)
            for x in (
                np.zeros((n, n)),
                np.eye(n),
                -np.eye(n),
                np.ones((n, n)),
                rank_one + rank_one.T,
                np.diag(ramp) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1),
                np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1),
                np.diag(2.0 ** (-8 * ramp)) + 2.0**-30,
                np.triu(np.ones((n, n))),
                np.eye(n)[::-1],
                np.diag(1.0 / (1 + ramp)) * 1e-40,
                np.full((n, n), 3e37),
                np.full((n, n), -0.0),
            )
        ]


def run(rule, a, **params):
    return [np.asarray(x) for x in jax.jit(lambda x: rule([x], params))(a)]


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_shape(dtype):
    squares, all_shapes = matrices(SQUARES, dtype), matrices(SHAPES, dtype, 1)

    def function(squares, all_shapes):
        out = [linalg.cholesky([definite(x)], {}) for x in squares]
        out += [linalg.eigh([x], EIGH | {"lower": lower}) for x in squares for lower in (True, False)]
        for x in all_shapes:
            out += [linalg.lu([x], {}), linalg.geqrf([x], {}), linalg.svd([x], SVD | {"compute_uv": False})]
            for full in (True, False):
                out += [linalg.qr([x], QR | {"full_matrices": full}), linalg.svd([x], SVD | {"full_matrices": full})]
        return out

    assert_one_value(every(function, [definite(x) for x in squares], all_shapes))


@pytest.mark.parametrize("dtype", FORMATS)
def test_solves_of_every_side_triangle_and_transposition(dtype):
    triangles = [
        x + 4 * np.eye(x.shape[-1], dtype=dtype) for x in matrices(((0, 0), (1, 1), (5, 5), (2, 67, 67)), dtype)
    ]
    sides = [x for n in (0, 1, 5, 67) for x in matrices(((n, 9), (9, n)), dtype, n)]

    def function(triangles, sides):
        out = []
        for left, lower, turned, unit in itertools.product((False, True), repeat=4):
            flags = {"left_side": left, "lower": lower, "transpose_a": turned, "conjugate_a": False}
            for i, a in enumerate(triangles):
                b = jnp.broadcast_to(sides[2 * i + 1 - left], (*a.shape[:-2], *sides[2 * i + 1 - left].shape))
                out += linalg.triangular_solve([a, b], flags | {"unit_diagonal": unit})
        return out

    found = every(function, triangles, sides)
    assert_one_value(found)
    flags = list(itertools.product((False, True), repeat=4))
    for index, (left, lower, turned, unit) in enumerate(flags):
        a, x, b = triangles[2], found[0][4 * index + 2], sides[5 - left]
        m = np.tril(a, -1 if unit else 0) if lower else np.triu(a, 1 if unit else 0)
        m = m + unit * np.eye(5, dtype=dtype)
        m = m.T if turned else m
        residual = (m @ x if left else x @ m) - b
        assert np.abs(residual).max() <= 100 * EPS[dtype] * np.abs(m).max() * np.abs(x).max()


@pytest.mark.parametrize("dtype", FORMATS)
def test_peculiar_matrices(dtype):
    operands = peculiar(dtype)
    broken = [operands[5].copy() for _ in range(3)]
    for x, value in zip(broken, (np.nan, np.inf, -np.inf), strict=True):
        x[4, 2] = value

    def function(operands):
        rules = (linalg.cholesky, linalg.lu, linalg.geqrf)
        out = [rule([x], {}) for x in operands for rule in rules]
        out += [linalg.eigh([x], EIGH) for x in operands] + [linalg.svd([x], SVD) for x in operands]
        flags = {"left_side": True, "lower": True, "transpose_a": False, "unit_diagonal": False}
        return out + [linalg.triangular_solve([x, x], flags) for x in operands]

    found = every(function, [*operands, *broken])
    assert_one_value(found)
    for x, (v, w), (s, u, vt) in zip(operands, found[0][48:61], found[0][64:77], strict=True):
        scale = max(np.abs(x.astype("f8")).max(), 1e-300)
        mirrored = np.tril(x).astype("f8") + np.tril(x, -1).astype("f8").T
        tiny = 1e-45 / scale if dtype == "float32" else 0
        assert np.abs(mirrored @ v - v * w.astype("f8")).max() <= (300 * EPS[dtype] + 20 * tiny) * scale
        assert np.abs((u * s.astype("f8")) @ vt - x).max() <= (300 * EPS[dtype] + 20 * tiny) * scale
        for q in (v, u, vt):
            assert np.abs(q.astype("f8").T @ q - np.eye(9)).max() <= 60 * EPS[dtype]


@SOME
@given(
    st.sampled_from([(1, 1), (2, 2), (3, 5), (9, 9), (20, 7)]),
    st.sampled_from(FORMATS),
    st.integers(0, 99),
    st.sampled_from([0, 0.02, 0.3]),
)
def test_any_values(shape, dtype, seed, special):
    x = numbers(shape, dtype, seed, special)

    def function(x):
        square = x[: min(shape), : min(shape)]
        out = [linalg.lu([x], {}), linalg.qr([x], QR | {"full_matrices": True}), linalg.svd([x], SVD)]
        return [*out, linalg.eigh([square], EIGH), linalg.cholesky([square], {})]

    assert_one_value(every(function, x))


def test_a_failed_cholesky_is_nan_throughout():
    for x in (-np.eye(3), np.zeros((3, 3)), np.diag([1.0, np.nan, 1]), np.array([[1.0, 0, 0], [2, 1, 0], [0, 0, 1]])):
        (factor,) = run(linalg.cholesky, x)
        assert (bits(factor) == 0x7FF8000000000000).all()


def test_cholesky_reads_below_the_diagonal_and_writes_zeros_above():
    x = definite(matrices(((70, 70),), "float64")[0])
    (whole,) = run(linalg.cholesky, x)
    (half,) = run(linalg.cholesky, np.tril(x) + np.triu(np.full((70, 70), np.nan), 1))
    np.testing.assert_array_equal(bits(whole), bits(half))
    assert (bits(whole)[np.triu_indices(70, 1)] == 0).all()


def test_pivots_are_the_lowest_row_of_a_tie():
    factors, pivots, permutation = run(linalg.lu, np.array([[1.0, 5], [-2, 1], [2, 7], [0, 1]]))
    assert pivots.tolist()[0] == 1
    assert permutation.tolist()[0] == 1
    assert factors[0, 0] == -2


def test_a_singular_matrix_keeps_its_factors():
    factors, pivots, _ = run(linalg.lu, np.array([[0.0, 1], [0, 2]]))
    assert factors.tolist() == [[0, 1], [0, 2]]
    assert pivots.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", FORMATS)
def test_as_accurate_as_lapack(dtype):
    (a,) = matrices(((150, 150),), dtype, 5)
    s = a + a.T
    size = np.abs(np.linalg.eigvalsh(s.astype("f8"))).max()

    def errors(*factors):
        eye = np.eye(150)
        v, w, q, r, singular, u, vt = (x.astype("f8") for x in factors)
        return [
            np.abs(s @ v - v * w).max() / size,
            np.abs(v.T @ v - eye).max(),
            np.abs(q @ r - a).max() / size,
            np.abs(q.T @ q - eye).max(),
            np.abs(u * singular @ vt - a).max() / size,
            np.abs(u.T @ u - eye).max(),
        ]

    ours = errors(
        *run(linalg.eigh, s, **EIGH), *run(linalg.qr, a, **QR, full_matrices=True), *run(linalg.svd, a, **SVD)
    )
    w, v = jnp.linalg.eigh(s)
    u, singular, vt = jnp.linalg.svd(a)
    theirs = errors(v, w, *jnp.linalg.qr(a), singular, u, vt)
    assert all(mine <= 4 * other + 2 * EPS[dtype] for mine, other in zip(ours, theirs, strict=True)), (ours, theirs)


@pytest.mark.parametrize("dtype", FORMATS)
def test_values_that_are_exact_stay_so(dtype):
    values = np.array([0, 0.1, 1, 3, 7, 7, 8.7, 12], dtype)
    (_, w), (s,) = (
        run(linalg.eigh, np.diag(values), **EIGH),
        run(linalg.svd, np.diag(values), **SVD | {"compute_uv": False}),
    )
    np.testing.assert_array_equal(bits(w), bits(values))
    np.testing.assert_array_equal(bits(s), bits(values[::-1]))


def test_a_matrix_of_a_batch_is_as_alone():
    a = matrices(((7, 40, 40),), "float32")[0]
    for rule, params in ((linalg.lu, {}), (linalg.geqrf, {}), (linalg.svd, SVD), (linalg.eigh, EIGH)):
        for whole, alone in zip(run(rule, a, **params), run(rule, a[3], **params), strict=True):
            np.testing.assert_array_equal(bits(whole[3]), bits(alone))


_THREADS = """
import hashlib, sys, jax, numpy as np
from pathlib import Path
from kernels.runtime import native
from kernels.runtime.portable import fft, linalg
native.search(Path(sys.argv[1]))
a = np.random.default_rng(0).standard_normal((550, 550)).astype("f4")
s = a @ a.T + 550 * np.eye(550, dtype="f4")
svd = {"full_matrices": True, "compute_uv": True, "subset_by_index": None, "algorithm": None}
flags = {"left_side": False, "lower": True, "transpose_a": True, "unit_diagonal": False}
fourier = {"fft_type": jax.lax.FftType.FFT, "fft_lengths": (550, 550)}
def all_of(a, s):
    out = [linalg.cholesky([s], {}), linalg.lu([a], {}), linalg.geqrf([a], {}), linalg.svd([a[:300, :200]], svd)]
    out += [linalg.eigh([s], {"lower": True, "subset_by_index": None, "algorithm": None})]
    return out + [linalg.triangular_solve([s, a], flags), fft.fft([a + 0j], fourier)]
found = jax.tree.leaves(jax.jit(all_of)(a, s))
print([hashlib.sha256(np.asarray(x).tobytes()).hexdigest() for x in found])
"""


def test_the_number_of_threads_cannot_be_seen(libraries):
    seen = set()
    for threads in (1, 3):
        ran = subprocess.run(
            [sys.executable, "-c", _THREADS, str(libraries)],
            env={**os.environ, "NPROC": str(threads), "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(ran.stdout)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: linalg.cholesky([x + 0j], {}), "no cholesky of complex128"),
        (lambda x: linalg.lu([x.astype("bfloat16")], {}), "no lu of bfloat16"),
        (lambda x: linalg.qr([x], {"pivoting": True, "full_matrices": True}), "no qr with pivoting"),
        (lambda x: linalg.svd([x], SVD | {"subset_by_index": (0, 1)}), "no svd with subset_by_index"),
        (lambda x: linalg.svd([x], SVD | {"algorithm": jax.lax.linalg.SvdAlgorithm.JACOBI}), "algorithm JACOBI"),
    ],
)
def test_what_is_not_defined_is_refused(call, said):
    with pytest.raises(KernelError, match=said):
        call(jnp.ones((3, 3)))


def test_what_jax_makes_of_them_under_the_transform():
    a, b = matrices(((6, 6), (6, 3)), "float32")
    (tall,) = matrices(((9, 5),), "float32")
    positive = definite(a)

    def factored(a, b, tall, positive):
        solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(positive), b)
        return (
            [jnp.linalg.solve(a, b), jnp.linalg.inv(a), jnp.linalg.det(a), *jnp.linalg.slogdet(a), solved],
            [
                jnp.linalg.lstsq(tall, tall[:, :2])[0],
                jnp.linalg.pinv(tall),
                jnp.linalg.cond(a),
                jnp.linalg.matrix_rank(a),
            ],
            [jnp.linalg.cholesky(positive), jnp.linalg.eigvalsh(positive), *map(jnp.abs, jnp.linalg.qr(tall))],
            jax.grad(lambda x: jnp.sum(jnp.linalg.svd(x, compute_uv=False) ** 3))(tall),
            jax.grad(lambda x: jnp.sum(jnp.linalg.eigvalsh(x) ** 3))(positive / 6),
            jax.vmap(jnp.linalg.solve, (0, None))(jnp.stack([a, positive]), b),
        )

    ours = jax.jit(portable(factored))(a, b, tall, positive)
    theirs = jax.jit(factored)(a, b, tall, positive)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=3e-4, atol=3e-5), ours, theirs)
