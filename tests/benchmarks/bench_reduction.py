"""The specification's reductions, scans, scatter and sorting against stock XLA's, in one run.

`python tests/benchmarks/bench_reduction.py FOLDER [--rounds N]`; FOLDER holds the compiled libraries (`portable-v4.so`
and so on). Each line is one operation on one operand, its best time of several alternating rounds by either, and their
ratio; then the geometric mean of the lines that have a goal. A cumulative sum and a sort have none: XLA's take
many passes over memory, and its sort compares.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

from kernels.runtime import native
from kernels.runtime.portable import order, reduction, scatter, window

RULES = {**reduction.RULES, **window.RULES, **scatter.RULES, **order.RULES}
MEAN, LINE = 1.00, 1.25


def portable(function):
    """The function with each equation that has a rule done by it."""

    def evaluate(jaxpr, consts, args):
        values = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, args, strict=True))
        for equation in jaxpr.eqns:
            given = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
            if equation.primitive.name in RULES:
                found = RULES[equation.primitive.name](given, equation.params)
            elif "jaxpr" in equation.params:
                inner = equation.params["jaxpr"]
                found = evaluate(inner.jaxpr, inner.consts, given)
            else:
                found = equation.primitive.bind(*given, **equation.params)
                found = found if equation.primitive.multiple_results else [found]
            values.update(zip(equation.outvars, found, strict=True))
        return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]

    def run(*args):
        closed = jax.make_jaxpr(function)(*args)
        return evaluate(closed.jaxpr, closed.consts, args)

    return run


def numbers(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def pooled(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def rows_of_bfloat16(x):
    return jnp.sum(x, axis=1)


NATIVE = {rows_of_bfloat16: lambda x: reduction.reduce(reduction.SUM, x, (1,))}
"""What the whole transform makes of functions of which this one sees the parts: JAX sums bfloat16 in float32."""


def lines():
    """Name, function, operands; whether there is a goal."""
    square, large = numbers(1024, 1024), numbers(4096, 1024)
    rows = np.random.default_rng(1).integers(0, 10_000, (4096,))
    images = numbers(16, 32, 32, 64)
    yield "sum, 1024x1024", jnp.sum, (square,), True
    yield "sum, 4096x1024", jnp.sum, (large,), True
    yield "sum of rows, 4096x1024", functools.partial(jnp.sum, axis=1), (large,), True
    yield "sum of rows, 100000x32", functools.partial(jnp.sum, axis=1), (numbers(100_000, 32),), True
    yield "sum of columns, 4096x1024", functools.partial(jnp.sum, axis=0), (large,), True
    yield "sum of columns, 512x512", functools.partial(jnp.sum, axis=0), (numbers(512, 512),), True
    yield "sum over batch and space, NHWC", functools.partial(jnp.sum, axis=(0, 1, 2)), (images,), True
    yield "sum over batch and space, NCHW", functools.partial(jnp.sum, axis=(0, 2, 3)), (images,), True
    yield "sum of the middle, 64x128x256", functools.partial(jnp.sum, axis=1), (numbers(64, 128, 256),), True
    yield "sum of rows, bfloat16", rows_of_bfloat16, (large.astype("bfloat16"),), True
    yield "sum of rows, float64", functools.partial(jnp.sum, axis=1), (numbers(2048, 1024, dtype="float64"),), True
    yield "max, 1024x1024", jnp.max, (square,), True
    yield "max of rows, 4096x1024", functools.partial(jnp.max, axis=1), (large,), True
    yield "max of columns, 4096x1024", functools.partial(jnp.max, axis=0), (large,), True
    yield "argmax of rows, 4096x1024", functools.partial(jnp.argmax, axis=1), (large,), True
    yield "maximum pooling, 2x2", pooled, (images,), True
    yield "its gradient", jax.grad(lambda x: jnp.sum(pooled(x) ** 2)), (images,), True
    yield "scatter-add of rows", lambda x, u: x.at[rows].add(u), (numbers(10_000, 256), numbers(4096, 256)), True
    yield "top 16 of 50000", lambda x: lax.top_k(x, 16), (numbers(8, 50_000),), True
    yield "cumsum, 1000000", jnp.cumsum, (numbers(1_000_000),), False
    yield "cumsum of rows, 1024x1024", functools.partial(jnp.cumsum, axis=1), (square,), False
    yield "cumsum of columns, 1024x1024", functools.partial(jnp.cumsum, axis=0), (square,), False
    yield "sort, 1000000", jnp.sort, (numbers(1_000_000),), False
    yield "sort of rows, 1024x1024", jnp.sort, (square,), False
    yield "argsort, 100000", jnp.argsort, (numbers(100_000),), False


def best(functions, args, rounds):
    """The best time of each in seconds, taken alternately."""
    times = [math.inf] * len(functions)
    for function in functions:
        jax.block_until_ready(function(*args))
    for _ in range(rounds):
        for i, function in enumerate(functions):
            began = time.perf_counter()
            jax.block_until_ready(function(*args))
            times[i] = min(times[i], time.perf_counter() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    native.search(options.folder)
    ratios, above = [], []
    print(f"{'':34}{'XLA µs':>10}{'ours µs':>10}{'ratio':>7}")
    with jax.enable_x64(True):
        for name, function, args, goal in lines():
            stock, ours = best(
                [jax.jit(function), jax.jit(NATIVE.get(function) or portable(function))], args, options.rounds
            )
            print(f"{name:34}{stock * 1e6:10.0f}{ours * 1e6:10.0f}{ours / stock:7.2f}{'' if goal else '  no goal'}")
            if goal:
                ratios.append(ours / stock)
                above += [name] if ours / stock > LINE else []
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean {mean:.2f} (goal {MEAN:.2f}); above {LINE}: {', '.join(above) or 'none'}")


if __name__ == "__main__":
    main()
