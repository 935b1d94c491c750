"""Whole models under the specification against stock XLA: same process, same threads, calls taken in turn.

`python tests/benchmarks/bench_models.py [--seconds S] [--only WORD] [--libraries DIR] [--cpu-time]`. The models are
minilm's encoder with random weights of its real shapes, at 64 word pieces a string, and one layer of plain attention.
Per line it prints the best of many single calls of either side, and their ratio; then the geometric mean. `--cpu-time`
takes the median of the process's CPU time, which other load on the machine disturbs less, and belongs with NPROC=1.
DIR keeps the compiled libraries; without it they are compiled to a temporary folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests/kernels/portable")]

from conftest import compile_libraries  # noqa: E402  # of the portable tests

from kernels.runtime import native  # noqa: E402
from kernels.runtime.portable.transform import portable  # noqa: E402

GOAL_EACH = 1.25

WIDTH, INNER, WORDS, LONGEST, LAYERS = 384, 1536, 30522, 512, 6
"""Of all-MiniLM-L6-v2's config.json."""

PIECES = 64

Line = tuple[str, Callable[..., Any], tuple[Any, ...]]


def _encoder() -> Callable[..., Any]:
    """minilm's entry, from its folder, which is no package."""
    spec = importlib.util.spec_from_file_location("minilm", REPOSITORY / "kernels/minilm/model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.embed


def _weights(random: np.random.Generator) -> dict[str, Any]:
    def array(*shape: int) -> jax.Array:
        return jnp.asarray(random.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5))

    def dense(inputs: int, outputs: int) -> dict[str, jax.Array]:
        return {"weight": array(LAYERS, inputs, outputs), "bias": array(LAYERS, outputs)}

    def norm(*shape: int) -> dict[str, jax.Array]:
        return {"weight": 1 + array(*shape), "bias": array(*shape)}

    square = ("query", "key", "value", "attended")
    layers = {name: dense(WIDTH, WIDTH) for name in square}
    layers |= {"inner": dense(WIDTH, INNER), "outer": dense(INNER, WIDTH)}
    layers |= {name: norm(LAYERS, WIDTH) for name in ("attended_norm", "outer_norm")}
    return {
        "word": array(WORDS, WIDTH),
        "position": array(LONGEST, WIDTH),
        "type": array(WIDTH),
        "norm": norm(WIDTH),
        "layers": layers,
    }


def attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Softmax attention of float32 [batch, heads, length, width], unmasked."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key, precision="highest") / np.float32(query.shape[-1] ** 0.5)
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, axis=-1), value, precision="highest")


def lines() -> Iterator[Line]:
    """Each line's name, function and arguments."""
    random = np.random.default_rng(0)
    embed, weights, key = _encoder(), _weights(random), jax.random.key(0)
    for batch in (1, 32):
        ids = jnp.asarray(random.integers(0, WORDS, (batch, PIECES)), jnp.int32)
        mask = jnp.asarray(np.arange(PIECES)[None] < random.integers(PIECES // 2, PIECES + 1, (batch, 1)), jnp.int32)
        yield f"minilm, batch {batch}", embed, (weights, {"ids": ids, "mask": mask}, key)
    for shape in ((1, 12, 128, 32), (8, 12, 128, 64), (1, 8, 1024, 64)):
        parts = tuple(jnp.asarray(random.standard_normal(shape, np.float32)) for _ in range(3))
        yield "attention " + "x".join(map(str, shape)), attention, parts


def measure(line: Line, seconds: float, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of a call under the specification and of stock XLA's."""
    _, function, args = line
    sides = (jax.jit(portable(function)), jax.jit(function))
    taken: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        jax.block_until_ready(side(*args))
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken[0]) < 3:  # calls, of however slow a function
        for side, times in zip(sides, taken, strict=True):
            began = clock()
            jax.block_until_ready(side(*args))
            times.append(clock() - began)
    of = statistics.median if clock is time.process_time else min
    return of(taken[0]), of(taken[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.libraries or Path(temporary)
        compile_libraries(folder)
        native.search(folder)
        ratios = []
        for line in lines():
            if options.only in line[0]:
                ours, theirs = measure(line, options.seconds, clock)
                ratios.append(ours / theirs)
                mark = "" if ratios[-1] <= GOAL_EACH else f"  above {GOAL_EACH}"
                print(
                    f"{line[0]:26} portable {ours * 1e3:9.3f} ms  stock {theirs * 1e3:9.3f} ms {ratios[-1]:6.2f}{mark}"
                )
        print(f"geometric mean {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")


if __name__ == "__main__":
    main()
