"""Portable contractions against stock XLA with its default flags, same threads, same process; GEMM against OpenBLAS.

`python tests/benchmarks/bench_contraction.py [--seconds S] [--only WORD] [--cpu-time]`. The native operations are
compiled with g++ by the recipe that images use. Per line it prints the best of many alternating single calls of either
side, and their ratio; then the geometric mean. `--cpu-time` takes the median of the process's CPU time, which other
load on the machine disturbs less, and belongs with NPROC=1. OpenBLAS is the one inside SciPy, on one core; its share is
that of OpenBLAS's speed which a portable product reaches, and is measured with NPROC=1 alone.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests/kernels/portable")]

from conftest import compile_libraries  # noqa: E402  # of the portable tests

from kernels.runtime import native  # noqa: E402
from kernels.runtime.portable.contraction import RULES  # noqa: E402

GOAL_MEAN = 1.0
GOAL_WORST = 1.25
GOAL_SHARE = 0.95

LAST = ("NHWC", "HWIO", "NHWC")
FIRST = ("NCHW", "OIHW", "NCHW")


@dataclass(frozen=True)
class Line:
    """One row of the table: a function and its arguments; `square` for plain products, which OpenBLAS has too."""

    name: str
    function: Callable[..., jax.Array]
    args: tuple[jax.Array, ...]
    square: bool = False


def portable(function: Callable[..., jax.Array], args: tuple[jax.Array, ...]) -> Callable[..., jax.Array]:
    """The same one primitive by the specification's rule."""
    (equation,) = jax.make_jaxpr(function)(*args).eqns
    return lambda *args: RULES[equation.primitive.name](args, equation.params)[0]


def array(*shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def dot(name: str, lhs: jax.Array, rhs: jax.Array, named: Any = None) -> Line:
    """A line of `lax.dot_general`; without dimension numbers, of a plain product."""
    numbers = named or (((1,), (0,)), ((), ()))
    return Line(name, lambda a, b: lax.dot_general(a, b, numbers), (lhs, rhs), square=named is None)


def conv(name: str, lhs: jax.Array, rhs: jax.Array, *, stride: int = 1, layout: Any = LAST, groups: int = 1) -> Line:
    """A line of `lax.conv_general_dilated`, padded to keep its size."""

    def function(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        settings = {"dimension_numbers": layout, "feature_group_count": groups}
        return lax.conv_general_dilated(lhs, rhs, (stride, stride), "SAME", **settings)

    return Line(name, function, (lhs, rhs))


def lines() -> Iterator[Line]:
    """What is measured."""
    for size in (128, 256, 384, 512, 1024, 2048):
        yield dot(f"matmul {size}", array(size, size), array(size, size))
    yield dot("matmul 128x384x1536", array(128, 384), array(384, 1536))
    yield dot("matmul 128x1536x384", array(128, 1536), array(1536, 384))
    yield dot("matmul 8x1024x1024", array(8, 1024), array(1024, 1024))
    square = array(512, 512)
    yield dot("matmul 512, right transposed", square, square, (((1,), (1,)), ((), ())))
    yield dot("matmul 512, left transposed", square, square, (((0,), (0,)), ((), ())))
    for dtype in ("bfloat16", "float16"):
        yield dot(f"matmul 512 {dtype}", square.astype(dtype), square.astype(dtype), (((1,), (0,)), ((), ())))
    for size in (256, 1024, 4096):
        matrix, vector = array(size, size), array(size)
        yield dot(f"gemv {size}, matrix by vector", matrix, vector, (((1,), (0,)), ((), ())))
        yield dot(f"gemv {size}, vector by matrix", vector, matrix, (((0,), (0,)), ((), ())))
    queries, scores = array(4, 128, 12, 32), array(4, 12, 128, 128)
    yield dot("attention scores 4x128x12x32", queries, queries, (((3,), (3,)), ((0, 2), (0, 2))))
    yield dot("attention values 4x128x12x32", scores, queries, (((3,), (1,)), ((0, 1), (0, 2))))
    yield conv("conv 8x32x32x3, 3x3 to 16", array(8, 32, 32, 3), array(3, 3, 3, 16))
    yield conv("conv 1x224x224x3, 7x7/2 to 64", array(1, 224, 224, 3), array(7, 7, 3, 64), stride=2)
    yield conv("conv 1x56x56x64, 3x3", array(1, 56, 56, 64), array(3, 3, 64, 64))
    yield conv("conv 8x14x14x256, 3x3", array(8, 14, 14, 256), array(3, 3, 256, 256))
    yield conv("conv 8x28x28x128, 1x1 to 256", array(8, 28, 28, 128), array(1, 1, 128, 256))
    yield conv("conv 8x28x28x128, depthwise", array(8, 28, 28, 128), array(3, 3, 1, 128), groups=128)
    yield conv("conv 8x64x28x28, 3x3, NCHW", array(8, 64, 28, 28), array(64, 64, 3, 3), layout=FIRST)


def timed(sides: dict[str, Callable[[], object]], seconds: float, clock: Callable[[], float]) -> dict[str, float]:
    """Calls of each, taking turns for as long as was asked: the shortest, or of CPU times the median.

    A call's CPU time may be booked after it, where another thread computed, so that the shortest means nothing.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(found.values()):
        for name, side in sides.items():
            for _ in range(3):
                began = clock()
                side()
                found[name].append(clock() - began)
    choose = statistics.median if clock is time.process_time else min
    return {name: choose(calls) for name, calls in found.items()}


def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS inside SciPy, set to one thread; None without SciPy."""
    try:
        import scipy  # optional
    except ImportError:
        return None
    (path,) = (Path(scipy.__file__).parents[1] / "scipy.libs").glob("libscipy_openblas*")
    library = ctypes.CDLL(str(path))
    library.scipy_openblas_set_num_threads(1)
    return library


def sgemm(library: ctypes.CDLL, lhs: jax.Array, rhs: jax.Array) -> Callable[[], object]:
    """A call of cblas_sgemm on these matrices, row-major."""
    a, b = np.asarray(lhs), np.asarray(rhs)
    c = np.empty((a.shape[0], b.shape[1]), np.float32)
    (rows, inner), columns = a.shape, b.shape[1]
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, c)]

    def call(kept: Any = (a, b, c)) -> object:  # the pointers' memory
        lhs, rhs, out = pointers
        library.scipy_cblas_sgemm(
            101, 111, 111, rows, columns, inner, one, lhs, inner, rhs, columns, zero, out, columns
        )
        return None

    return call


def measure(line: Line, blas: ctypes.CDLL | None, seconds: float, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of a call by either side, and of OpenBLAS's."""
    stock = jax.jit(line.function)
    ours = jax.jit(portable(line.function, line.args))
    np.testing.assert_allclose(
        np.asarray(ours(*line.args), "float32"), np.asarray(stock(*line.args), "float32"), atol=0.5, rtol=0.05
    )
    sides: dict[str, Callable[[], object]] = {
        "portable": lambda: ours(*line.args).block_until_ready(),
        "stock": lambda: stock(*line.args).block_until_ready(),
    }
    if blas is not None and line.square:
        sides["openblas"] = sgemm(blas, *line.args)
    return timed(sides, seconds, clock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per line")
    parser.add_argument("--only", default="", help="lines whose name has this word")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time of the process instead of the clock's")
    parser.add_argument("--libraries", type=Path, help="compiled libraries, instead of compiling them")
    asked = parser.parse_args()
    clock = time.process_time if asked.cpu_time else time.perf_counter
    one_core = os.environ.get("NPROC") == "1"
    blas = openblas() if one_core else None
    ratios, shares = [], []
    with tempfile.TemporaryDirectory() as made:
        if asked.libraries is None:
            compile_libraries(Path(made))
        native.search(asked.libraries or Path(made))
        print(f"{'':34}{'portable µs':>12}{'stock µs':>12}{'ratio':>7}{'of OpenBLAS':>13}")
        for line in lines():
            if asked.only not in line.name:
                continue
            found = measure(line, blas, asked.seconds, clock)
            ratios.append(found["portable"] / found["stock"])
            text = f"{line.name:34}{found['portable'] * 1e6:12.1f}{found['stock'] * 1e6:12.1f}{ratios[-1]:7.2f}"
            if "openblas" in found:
                shares.append(found["openblas"] / found["portable"])
                text += f"{shares[-1]:13.2f}"
            print(text, flush=True)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean {mean:.2f} (goal {GOAL_MEAN}), worst {max(ratios):.2f} (goal {GOAL_WORST})")
    good = mean <= GOAL_MEAN and max(ratios) <= GOAL_WORST
    if shares:
        mean_share = math.exp(sum(map(math.log, shares)) / len(shares))
        print(f"of OpenBLAS on one core: {mean_share:.2f}, least {min(shares):.2f} (goal {GOAL_SHARE})")
        good = good and mean_share >= GOAL_SHARE
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
