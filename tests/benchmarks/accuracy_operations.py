"""How far operations that are no functions of one binary32 number are from the true values, ours and stock XLA's.

`python tests/benchmarks/accuracy_operations.py [--libraries DIR]` prints the tables of docs/numerics/accuracy.md that
accuracy_elementwise.py does not. The true values are NumPy's and SciPy's, computed in binary64 from narrower operands,
and with the x87's significand of 64 bits from binary64; of linear algebra in binary64, mpmath's with 50 digits. Arrays
are measured in units in the last place of the greatest true number of the result's row, which is the last axis: what
cancels to little is held to what it was made of. Functions are measured in units of each number's own last place.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import scipy.fft
import scipy.special
from bench_elementwise import compile_library
from jax import lax

from kernels.runtime import native
from kernels.runtime.portable import portable

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]

WIDER = {"float32": np.float64, "bfloat16": np.float64, "float16": np.float64, "float64": np.longdouble,
         "complex64": np.complex128, "complex128": np.clongdouble}  # fmt: skip
SQUARE = 20
"""Rows of matrices whose true values are mpmath's."""


@dataclass(frozen=True)
class Line:
    """One row of the table: `function` of JAX, `true` of the operands in a wider type."""

    name: str
    dtype: str
    function: Function
    true: Function
    operands: tuple[Array, ...]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def positive(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape)


def contractions() -> Iterator[Line]:
    """Products of matrices, and a convolution as one."""
    for inner, dtype in ((64, "float32"), (1024, "float32"), (8192, "float32"), (1024, "bfloat16"), (1024, "float16"),
                         (1024, "float64")):  # fmt: skip
        operands = normal(256, inner), normal(inner, 384, seed=1)
        yield Line(f"matrix product, {inner} terms", dtype, jnp.matmul, np.matmul, operands)
    yield Line(
        "matrix by vector, 4096 terms", "float32", jnp.matmul, np.matmul, (normal(512, 4096), normal(4096, seed=1))
    )
    convolve = functools.partial(
        lax.conv_general_dilated, window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    yield Line(
        "convolution 3x3 of 64 to 32", "float32", convolve, convolved, (normal(4, 14, 14, 64), normal(3, 3, 64, 32))
    )


def convolved(x: Array, kernel: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))  # type: ignore[call-overload]
    return np.asarray(np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True))


def reductions() -> Iterator[Line]:
    """Sums of many kinds, and what models build from them."""
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        length = 10_000 if dtype == "float16" else 100_000  # a sum of more is no binary16
        columns = functools.partial(jnp.sum, axis=0), functools.partial(np.sum, axis=0)
        rows = functools.partial(jnp.sum, axis=1), functools.partial(np.sum, axis=1)
        yield Line(f"sums of {length} positive numbers", dtype, *rows, (positive(128, length),))
        yield Line("sums of 4096 numbers in columns", dtype, *columns, (normal(4096, 8192),))
        yield Line("sums of 4096 numbers in rows", dtype, *rows, (normal(8192, 4096),))
    for dtype in ("float32", "float64"):
        yield Line("sums of 1000 numbers in rows", dtype, *rows, (normal(8192, 1000),))
        yield Line("sums of 20000 numbers in rows", dtype, *rows, (normal(2048, 20_000),))
    near = (1 + normal(16_384, 1000) / 100,)
    yield Line("product of 1000", "float32", lambda x: jnp.prod(x, -1), lambda x: x.prod(-1), near)
    yield from cumulative()
    yield Line(
        "average of windows 3x3", "float32", pooled, lambda x: windows_of(x).mean((-1, -2)), (normal(4, 30, 30),)
    )
    index = np.random.default_rng(2).integers(0, 16, 100_000)
    yield Line("scatter-add of 100000 to 16", "float32", lambda x: jnp.zeros(16, x.dtype).at[index].add(x),
               lambda x: np.array([x[index == at].sum() for at in range(16)]), (positive(100_000),))  # fmt: skip
    for dtype in ("float32", "bfloat16"):
        values = normal(2048, 1000) * 3
        yield Line("softmax of 1000", dtype, jax.nn.softmax, lambda x: scipy.special.softmax(x, -1), (values,))
        yield Line(
            "log-softmax of 1000", dtype, jax.nn.log_softmax, lambda x: scipy.special.log_softmax(x, -1), (values,)
        )
        yield Line("layer norm of 1000", dtype, normed, normed, (values,))
        yield Line("RMS norm of 1000", dtype, scaled, scaled, (values,))
    yield Line("gelu, by erf", "float32", lambda x: jax.nn.gelu(x, approximate=False),
               lambda x: x * scipy.special.ndtr(x), (normal(256, 1000),))  # fmt: skip
    heads = tuple(normal(4, 128, 64, seed=seed) for seed in range(3))
    yield Line("attention, 128 of 64", "float32", attended(jax.nn.softmax),
               attended(functools.partial(scipy.special.softmax, axis=-1)), heads)  # fmt: skip


def cumulative() -> Iterator[Line]:
    """Cumulative operations along many rows, and along a few long ones."""
    sums, products = functools.partial(jnp.cumsum, axis=-1), functools.partial(jnp.cumprod, axis=-1)
    for length, rows in ((1000, 1024), (100_000, 1), (1_000_000, 1)):
        for kind, made in (("positive", positive(rows, length)), ("normal", normal(rows, length))):
            true = functools.partial(np.cumsum, axis=-1)
            yield Line(f"cumulative sum of {length} {kind} numbers", "float32", sums, true, (made,))
    made, near = normal(1024, 1000), 1 + normal(1024, 1000) / 100
    for dtype in ("bfloat16", "float64"):
        yield Line("cumulative sum of 1000 normal numbers", dtype, sums, functools.partial(np.cumsum, axis=-1), (made,))
    for dtype in ("float32", "float64"):
        yield Line("cumulative product of 1000", dtype, products, functools.partial(np.cumprod, axis=-1), (near,))
        logs = functools.partial(lax.cumlogsumexp, axis=1)
        yield Line("cumlogsumexp of 1000", dtype, logs, functools.partial(np.logaddexp.accumulate, axis=1), (made,))


def windows_of(x: Array) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # type: ignore[call-overload, no-any-return]


def pooled(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, np.float32(0), lax.add, (1, 3, 3), (1, 1, 1), "VALID") / np.float32(9)


def normed(x: Any) -> Any:
    far = x - x.mean(-1, keepdims=True)
    return far / ((far * far).mean(-1, keepdims=True) + x.dtype.type(1e-5)) ** x.dtype.type(0.5)


def scaled(x: Any) -> Any:
    return x / ((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-5)) ** x.dtype.type(0.5)


def attended(softmax: Function) -> Function:
    return lambda q, k, v: softmax(q @ k.swapaxes(-1, -2) * q.dtype.type(0.125)) @ v


def transforms() -> Iterator[Line]:
    """Fourier transforms of even, prime and mixed length."""
    for length, dtype in (
        (1024, "complex64"),
        (1009, "complex64"),
        (1000, "complex64"),
        (1024, "complex128"),
        (1009, "complex128"),
    ):
        x = normal(16, length) + 1j * normal(16, length, seed=1)
        yield Line(f"FFT of {length}", dtype, jnp.fft.fft, scipy.fft.fft, (x,))
    yield Line("FFT of 4096 real numbers", "float32", jnp.fft.rfft, scipy.fft.rfft, (normal(16, 4096),))


def by(function: Function) -> Function:
    """A function of mpmath's matrices, of batches of arrays."""

    def matrix(x: Array) -> Any:
        return mpmath.matrix([[mpmath.mpf(float(one)) for one in np.atleast_1d(row)] for row in x])

    def each(*operands: Array) -> Array:
        rows = function(*map(matrix, operands)).tolist()
        return np.array([[np.longdouble(mpmath.nstr(one, 40)) for one in row] for row in rows]).squeeze()

    def evaluate(*operands: Array) -> Array:
        with mpmath.workdps(50):
            return np.array([each(*one) for one in zip(*operands, strict=True)])

    return evaluate


def of_vectors(solve: Function) -> Function:
    """Of a matrix and the one column of a right side, in a batch."""
    return lambda a, b: solve(a, b[..., None])[..., 0]


NUMPY: dict[str, Function] = {
    "cholesky": np.linalg.cholesky,
    "solve": of_vectors(np.linalg.solve),
    "q": lambda a: abs(np.linalg.qr(a).Q),
    "r": lambda a: abs(np.linalg.qr(a).R),
    "svd": lambda a: np.linalg.svd(a, compute_uv=False),
    "eigvalsh": np.linalg.eigvalsh,
}
MPMATH: dict[str, Function] = {
    "cholesky": by(mpmath.cholesky),
    "solve": by(mpmath.lu_solve),
    "q": by(lambda a: mpmath.qr(a, "full")[0].apply(abs)),
    "r": by(lambda a: mpmath.qr(a, "full")[1].apply(abs)),
    "svd": by(lambda a: mpmath.svd_r(a, compute_uv=False)),
    "eigvalsh": by(lambda a: mpmath.eigsy(a, eigvals_only=True)),
}


def factors() -> Iterator[Line]:
    """Linear algebra whose results are unique, of matrices that are no nearer to singular ones than most."""
    below = functools.partial(lax.linalg.triangular_solve, left_side=True, lower=True)
    values = functools.partial(jnp.linalg.svd, compute_uv=False)
    for dtype, count, rows, true in (
        ("float32", 32, 128, NUMPY),
        ("float32", 8, 300, NUMPY),
        ("float64", 48, SQUARE, MPMATH),
    ):
        a, b = normal(count, rows, rows), normal(count, rows, seed=1)
        definite = (a @ a.swapaxes(-1, -2) / rows + np.eye(rows),)
        regular = a + 1.5 * np.sqrt(rows) * np.eye(rows)
        triangle = np.tril(a) / np.sqrt(rows) + np.eye(rows)
        yield Line(f"Cholesky, {rows}", dtype, jnp.linalg.cholesky, true["cholesky"], definite)
        yield Line(f"solution by LU, {rows}", dtype, of_vectors(jnp.linalg.solve), true["solve"], (regular, b))
        yield Line(f"triangular solution, {rows}", dtype, of_vectors(below), true["solve"], (triangle, b))
        yield Line(f"R of QR, {rows}", dtype, lambda a: abs(jnp.linalg.qr(a).R), true["r"], (a,))
        yield Line(f"Q of QR, {rows}", dtype, lambda a: abs(jnp.linalg.qr(a).Q), true["q"], (a,))
        yield Line(f"singular values, {rows}", dtype, values, true["svd"], (a,))
        yield Line(f"eigenvalues, symmetric, {rows}", dtype, jnp.linalg.eigvalsh, true["eigvalsh"], definite)


def line_of(line: Line) -> str:
    """One line of the first table."""
    operands = [jnp.asarray(one, line.dtype) for one in line.operands]
    wide = WIDER[line.dtype]
    true = np.asarray(line.true(*(np.asarray(one).astype(wide) for one in operands)))
    cells = []
    for function in (portable(line.function), line.function):
        found = np.asarray(jax.jit(function)(*operands))
        parts = [(found.real, true.real), (found.imag, true.imag)] if found.dtype.kind == "c" else [(found, true)]
        far = np.concatenate([rows_apart(*part).ravel() for part in parts])
        cells += [f"{far.max():.3g}", f"{far.mean():.3g}"]
    return "| " + " | ".join([line.name, line.dtype, *cells]) + " |"


def rows_apart(found: Array, true: Array) -> Array:
    greatest = np.max(np.abs(true), axis=-1, keepdims=True)
    return np.asarray(np.abs(found.astype(true.dtype) - true) / last_place(greatest, found.dtype))


def last_place(x: Array, dtype: np.dtype[Any]) -> Array:
    """What one unit in the last place of a type is for numbers of this size."""
    info = jnp.finfo(dtype)
    return np.ldexp(np.ones_like(x), np.maximum(np.frexp(x)[1] - 1, info.minexp) - info.nmant)


FUNCTIONS: dict[str, Function] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)), "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip
"""Those that NumPy has in wider types than binary64."""


def function_lines() -> Iterator[str]:
    """The second table: binary64 by a sample, the narrow types by every number."""
    random = np.random.default_rng(0)
    for name, true in FUNCTIONS.items():
        cells = []
        for dtype in ("float64", "bfloat16", "float16"):
            if dtype == "float64":
                x = np.concatenate([random.standard_normal(200_000) * 4, random.uniform(-1, 1, 200_000)])
                x = np.abs(x) + (name == "acosh") if name in {"log", "sqrt", "rsqrt", "acosh"} else x
            else:
                x = np.arange(1 << 16, dtype=np.uint16).view(jnp.dtype(dtype))
            with np.errstate(all="ignore"):
                wanted = true(x.astype(WIDER[dtype]))
            least = jnp.finfo(dtype).smallest_normal
            plain = np.isfinite(wanted) & (np.abs(wanted) >= least) & (np.abs(wanted) <= jnp.finfo(dtype).max)
            plain &= np.abs(x).astype(np.float64) >= least
            for function in (portable(getattr(lax, name)), getattr(lax, name)):
                found = np.asarray(jax.jit(function)(jnp.asarray(x)))[plain]
                true_ones = wanted[plain]
                far = np.abs(found.astype(true_ones.dtype) - true_ones) / last_place(true_ones, found.dtype)
                cells += [f"{far.max():.3g}", f"{far.mean():.4f}"]
        yield "| " + " | ".join([f"`{name}`", *cells]) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, jax.enable_x64(True):
        folder = options.libraries or Path(temporary)
        if options.libraries is None:
            compile_library(folder)
        native.search(folder)
        print("| | type | max | mean | XLA: max | mean |\n|---|---|---|---|---|---|")
        for family in (contractions, reductions, transforms, factors):
            for line in family():
                print(line_of(line), flush=True)
        types = ("binary64", "bfloat16", "binary16")
        print("\n| | " + " | ".join(f"{one}: max | mean | XLA: max | mean" for one in types) + " |")
        print("|---" * 13 + "|")
        for text in function_lines():
            print(text, flush=True)


if __name__ == "__main__":
    main()
