"""The specification's linear algebra and transforms against stock XLA's (LAPACK, DUCC), in one run.

`python tests/benchmarks/bench_linalg.py FOLDER [--rounds N] [--only WORD]`; FOLDER holds the compiled libraries
(`portable-v4.so` and so on). Each line is one operation on one operand, its best time of several alternating rounds by
either, and their ratio; then the geometric mean. Both run with the threads that `NPROC` or the machine gives them.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels.runtime import native
from kernels.runtime.portable import fft, linalg

SECONDS = 0.01
SIDES = {"lower": True, "transpose_a": False, "conjugate_a": False, "unit_diagonal": False}
PARTS = {"subset_by_index": None, "algorithm": None}


def transform(kind, length):
    return lambda x: fft.fft([x], {"fft_type": kind, "fft_lengths": (length,)})[0]


def lines():
    """Name, ours, stock, operands."""
    random = np.random.default_rng(0)
    kinds = lax.FftType
    for batch, n in (
        (1, 64),
        (1, 1024),
        (1, 4096),
        (1, 65536),
        (64, 256),
        (256, 1024),
        (64, 1000),
        (1000, 30),
        (16, 1009),
    ):
        x = random.standard_normal((batch, n)).astype("f4")
        z = (x + 1j * x[::-1]).astype("c8")
        yield f"fft {batch}x{n}", transform(kinds.FFT, n), jnp.fft.fft, (z,)
        if batch > 1:
            yield f"rfft {batch}x{n}", transform(kinds.RFFT, n), jnp.fft.rfft, (x,)
    for shape in ((1000, 16, 16), (32, 32), (128, 128), (512, 512), (1024, 1024)):
        n, name = shape[-1], "x".join(map(str, shape))
        a = random.standard_normal(shape).astype("f4")
        s = a @ a.swapaxes(-1, -2) + n * np.eye(n, dtype="f4")
        yield f"cholesky {name}", lambda s: linalg.cholesky([s], {}), lax.linalg.cholesky_p.bind, (s,)
        yield f"lu {name}", lambda a: linalg.lu([a], {}), lax.linalg.lu, (a,)
        for left in (True, False):
            flags = SIDES | {"left_side": left}
            yield (
                f"triangular solve, {'left' if left else 'right'}, {name}",
                lambda s, a, flags=flags: linalg.triangular_solve([s, a], flags),
                lambda s, a, flags=flags: lax.linalg.triangular_solve(s, a, **flags),
                (s, a),
            )
        if n > 512:
            continue
        yield (
            f"qr {name}",
            lambda a: linalg.qr([a], {"pivoting": False, "full_matrices": False}),
            lambda a: lax.linalg.qr(a, full_matrices=False),
            (a,),
        )
        yield (
            f"eigh {name}",
            lambda s: linalg.eigh([s], PARTS | {"lower": True}),
            lambda s: lax.linalg.eigh(s, symmetrize_input=False),
            (s,),
        )
        yield (
            f"svd {name}",
            lambda a: linalg.svd([a], PARTS | {"full_matrices": False, "compute_uv": True}),
            lambda a: lax.linalg.svd(a, full_matrices=False),
            (a,),
        )


def timed(function, operands):
    """Seconds of one call, of as many as take a while."""
    calls, spent = 1, 0.0
    while spent < SECONDS:
        calls = calls if spent == 0 else max(calls + 1, math.ceil(calls * 1.2 * SECONDS / spent))
        start = time.perf_counter()
        for _ in range(calls):
            made = function(*operands)
        jax.block_until_ready(made)
        spent = time.perf_counter() - start
    return spent / calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the compiled libraries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="lines whose name has this in it")
    chosen = parser.parse_args()
    native.search(chosen.folder)
    ratios = []
    for name, ours, stock, operands in lines():
        if chosen.only not in name:
            continue
        both = [jax.jit(ours), jax.jit(stock)]
        placed = jax.device_put(operands)
        for function in both:
            jax.block_until_ready(function(*placed))
        best = [math.inf, math.inf]
        for _ in range(chosen.rounds):
            best = [min(old, timed(function, placed)) for old, function in zip(best, both, strict=True)]
        ratios.append(best[0] / best[1])
        print(f"{name:40s} {best[0] * 1e6:10.1f} us  stock {best[1] * 1e6:10.1f} us  {ratios[-1]:6.2f}", flush=True)
    if ratios:
        print(f"{'geometric mean':40s} {math.exp(sum(map(math.log, ratios)) / len(ratios)):37.2f}")


if __name__ == "__main__":
    main()
