"""How far elementwise functions of binary32 are from the true values, ours and stock XLA's, as a table for the docs.

`python tests/benchmarks/accuracy_elementwise.py [--libraries DIR] [--count N]`. The true values are binary64's, of
NumPy and SciPy. Numbers are in units in the last place of the true value's binary32: the greatest and the mean, over
operands of every magnitude and of ordinary ones. "All" has subnormal operands and results too, which XLA flushes to
zero; the others leave them out. A result of the wrong kind (a number for a NaN, the wrong infinity) counts as wrong.
A second table is of special functions of binary64, at the points of `tests/kernels/portable/special_values.txt`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from bench_elementwise import compile_library

from kernels.runtime import native
from kernels.runtime.portable.fused import Operand, Step, call

Array = np.ndarray[Any, Any]

TRUE: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": scipy.special.expit,
    "tanh": np.tanh,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "erf_inv": scipy.special.erfinv,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "pow": np.power,
    "atan2": np.arctan2,
    "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
    "bessel_i0e": scipy.special.i0e,
    "bessel_i1e": scipy.special.i1e,
}
PAIRS = frozenset({"pow", "atan2"})
VALUES = Path(__file__).parents[1] / "kernels/portable/special_values.txt"

LEAST = float(np.finfo(np.float32).tiny)


def operands(name: str, count: int) -> list[Array]:
    """Of every magnitude, of ordinary ones, and within ±1."""
    random = np.random.default_rng(0)

    def one() -> Array:
        anything = random.integers(0, 1 << 32, count, np.uint32).view(np.float32)
        ordinary = (random.standard_normal(count) * 4).astype(np.float32)
        return np.concatenate([anything, ordinary, random.uniform(-1, 1, count).astype(np.float32)])

    x = [one() for _ in range(2 if name in PAIRS else 1)]
    if name in {"log", "sqrt", "rsqrt", "pow"}:
        x[0] = np.abs(x[0])
    if name == "acosh":
        x[0] = np.fmax(np.abs(x[0]), 0) + np.float32(1)
    return x


def units(found: Array, true: Array) -> Array:
    """Units in the last place; infinite where a result is of the wrong kind."""
    near = true.astype(np.float32)
    far = np.abs(found.astype(np.float64) - true) / np.spacing(np.abs(near)).astype(np.float64)
    same = (np.isnan(found) & np.isnan(near)) | (found == near)
    return np.where(np.isfinite(near) & np.isfinite(found), far, np.where(same, 0, np.inf))


def row(name: str, count: int) -> str:
    """One line of the table."""
    x = operands(name, count)
    with np.errstate(all="ignore"):
        true = TRUE[name](*(each.astype(np.float64) for each in x))

        def ours(*x: jax.Array) -> jax.Array:
            step = Step(name, tuple(range(len(x))), np.dtype(np.float32))
            return call(x[0].shape, [Operand(each, (0,)) for each in x], [step], [len(x)])[0]

        plain = np.abs(true) >= LEAST
        for each in x:
            plain &= (np.abs(each) >= LEAST) & np.isfinite(each)
        cells = []
        for function in (ours, getattr(jax.lax, name)):
            far = units(np.asarray(jax.jit(function)(*(jnp.asarray(each) for each in x))), true)
            some = far[plain]
            wrong = np.isinf(far)
            cells += [f"{some.max():.3g}", f"{some[np.isfinite(some)].mean():.4f}", f"{far[~wrong].max():.3g}"]
            cells.append(str(int(wrong.sum())))
    return "| " + " | ".join([f"`{name}`", *cells]) + " |"


def exact_rows() -> Iterator[str]:
    """The lines of the second table."""
    given: dict[str, list[list[str]]] = {}
    for line in VALUES.read_text().splitlines()[1:]:
        name, *words = line.split()
        given.setdefault(name, []).append(words)
    for name, points in given.items():
        x = [jnp.array([float.fromhex(words[place]) for words in points]) for place in range(len(points[0]) - 1)]
        step = Step(name, tuple(range(len(x))), np.dtype(np.float64))
        ours = call(x[0].shape, [Operand(each, (0,)) for each in x], [step], [len(x)])[0]
        stock = getattr(jax.lax, {"regularized_incomplete_beta": "betainc"}.get(name, name))(*x)
        cells = []
        for found in (ours, stock):
            far = [distance(float(one), words[-1]) for one, words in zip(found, points, strict=True)]
            cells += [f"{max(far):.3g}", f"{float(np.median(far)):.3g}"]
        yield "| " + " | ".join([f"`{name}`", *cells]) + " |"


def distance(found: float, true: str) -> float:
    """Units in the last place of binary64 from a decimal number."""
    unit = float(np.spacing(abs(float(true))))
    return float(abs(Decimal(found) - Decimal(true)) / Decimal(unit)) if np.isfinite(found) else np.inf


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--count", type=int, default=400_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.libraries or Path(temporary)
        if options.libraries is None:
            compile_library(folder)
        native.search(folder)
        print("| | max | mean | max, all | wrong | XLA: max | mean | max, all | wrong |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name in TRUE:
            print(row(name, options.count), flush=True)
        print("\n| | max | median | XLA: max | median |")
        print("|---|---|---|---|---|")
        with jax.enable_x64(True):
            for line in exact_rows():
                print(line, flush=True)


if __name__ == "__main__":
    main()
