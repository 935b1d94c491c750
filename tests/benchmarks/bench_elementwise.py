"""Elementwise programs against stock XLA: same process, same threads, alternating rounds, the best of each.

`python tests/benchmarks/bench_elementwise.py [--libraries DIR] [--rounds N]`. DIR holds the compiled native libraries;
without it they are compiled to a temporary folder first.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tomli

from kernels.runtime import native
from kernels.runtime.portable import library
from kernels.runtime.portable.fused import Operand, Step, call

GOAL_MEAN = 1.0
GOAL_EACH = 1.25

FLOAT32 = np.dtype(np.float32)

Line = tuple[str, Callable[..., object], Callable[..., object], tuple[jax.Array, ...]]


def compile_library(folder: Path) -> None:
    """The library of this CPU, by the recipe that images use."""
    sources = Path(library.__file__).parent
    recipe = tomli.loads((sources / "native/build.toml").read_text())
    (item,) = [each for each in recipe["library"] if each["name"] == library.level()]
    command = ["g++", f"-march={item['march']}", *item["flags"], *recipe["flags"], "-shared", "-fPIC", f"-I{sources}"]
    command += ["-isystem", jax.ffi.include_dir(), "-o", str(folder / f"{item['name']}.so")]
    named = [path for place in item["folders"] for path in sorted((sources / place).glob("*.cc"))]
    subprocess.run([*command, *map(str, named)], check=True)


class Steps:
    """A program written down one operation after another."""

    def __init__(self, *operands: Operand) -> None:
        self.operands = operands
        self.steps: list[Step] = []

    def __call__(self, op: str, *args: int, **params: object) -> int:
        """Append a step; gives its value's number."""
        self.steps.append(Step(op, args, FLOAT32, params))
        return len(self.operands) + len(self.steps) - 1

    def run(self, shape: Sequence[int], result: int) -> jax.Array:
        return call(shape, self.operands, self.steps, [result])[0]


def _function(name: str) -> Callable[[jax.Array], jax.Array]:
    def run(x: jax.Array) -> jax.Array:
        step = Steps(Operand(x, (0,)))
        return step.run(x.shape, step(name, 0))

    return run


def _chain(x: jax.Array, y: jax.Array) -> jax.Array:
    step = Steps(Operand(x, (0,)), Operand(y, (0,)))
    value = step("mul", 0, 1)
    for _ in range(5):
        value = step("mul", step("add", value, 0), 1)
    return step.run(x.shape, value)


def _chain_of_xla(x: jax.Array, y: jax.Array) -> jax.Array:
    value = x * y
    for _ in range(5):
        value = (value + x) * y
    return value


def _softmax(x: jax.Array) -> jax.Array:
    step = Steps(Operand(x, (0, 1)))
    power = step("exp", step("sub", 0, step("reduce_max", 0, axes=(1,))))
    return step.run(x.shape, step("div", power, step("reduce_sum", power, axes=(1,))))


def _layernorm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    step = Steps(Operand(x, (0, 1)), Operand(scale, (1,)), Operand(bias, (1,)), *_scalars(1 / x.shape[1], 1e-5))
    away = step("sub", 0, step("mul", step("reduce_sum", 0, axes=(1,)), 3))
    variance = step("mul", step("reduce_sum", step("mul", away, away), axes=(1,)), 3)
    normal = step("mul", away, step("rsqrt", step("add", variance, 4)))
    return step.run(x.shape, step("add", step("mul", normal, 1), 2))


def _layernorm_of_xla(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    away = x - x.mean(1, keepdims=True)
    return away * jax.lax.rsqrt((away * away).mean(1, keepdims=True) + 1e-5) * scale + bias


def _gelu(x: jax.Array) -> jax.Array:
    step = Steps(Operand(x, (0,)), *_scalars(0.7071067811865476, 1.0, 0.5))
    return step.run(x.shape, step("mul", step("mul", 0, 3), step("add", step("erf", step("mul", 0, 1)), 2)))


def _gelu_tanh(x: jax.Array) -> jax.Array:
    step = Steps(Operand(x, (0,)), *_scalars(0.044715, 0.7978845608028654, 1.0, 0.5))
    inner = step("add", 0, step("mul", step("integer_pow", 0, y=3), 1))
    turned = step("add", step("tanh", step("mul", inner, 2)), 3)
    return step.run(x.shape, step("mul", 0, step("mul", turned, 4)))


def _scalars(*values: float) -> tuple[Operand, ...]:
    return tuple(Operand(jnp.float32(value)) for value in values)


def lines() -> list[Line]:
    """Each line's name, XLA's program, ours, and their operands."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(random.standard_normal(shape).astype(np.float32))

    out: list[Line] = []
    for size in (1 << 16, 1 << 20, 1 << 23):
        x, y = array(size), array(size)
        out += [
            (f"{name} {size}", getattr(jax.lax, name), _function(name), (x,)) for name in ("exp", "tanh", "logistic")
        ]
        out.append((f"log {size}", jax.lax.log, _function("log"), (jnp.abs(x),)))
        out.append((f"add and mul, eleven {size}", _chain_of_xla, _chain, (x, y)))
        out.append((f"gelu, erf {size}", lambda x: jax.nn.gelu(x, approximate=False), _gelu, (x,)))
        out.append((f"gelu, tanh {size}", jax.nn.gelu, _gelu_tanh, (x,)))
    for shape in ((1536, 128), (128, 384), (4096, 1024), (16, 32768)):
        x, scale, bias = array(*shape), array(shape[1]), array(shape[1])
        out.append((f"softmax {shape[0]}x{shape[1]}", lambda x: jax.nn.softmax(x, axis=1), _softmax, (x,)))
        out.append((f"layernorm {shape[0]}x{shape[1]}", _layernorm_of_xla, _layernorm, (x, scale, bias)))
    return out


def measure(line: Line, rounds: int) -> tuple[float, float]:
    """The best times of XLA and of ours, in seconds."""
    _, theirs, ours, operands = line
    functions = [jax.jit(theirs), jax.jit(ours)]
    best = [float("inf")] * 2
    for function in functions:
        jax.block_until_ready(function(*operands))
    for _ in range(rounds):
        for place, function in enumerate(functions):
            began = time.perf_counter()
            jax.block_until_ready(function(*operands))
            best[place] = min(best[place], time.perf_counter() - began)
    return best[0], best[1]


def main() -> None:
    """Print one line for each program, then the geometric mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.libraries or Path(temporary)
        if options.libraries is None:
            compile_library(folder)
        native.search(folder)
        ratios = []
        for line in lines():
            if options.only in line[0]:
                theirs, ours = measure(line, options.rounds)
                ratios.append(ours / theirs)
                mark = "" if ratios[-1] <= GOAL_EACH else f"  above {GOAL_EACH}"
                print(f"{line[0]:28} XLA {theirs * 1e3:8.3f} ms  ours {ours * 1e3:8.3f} ms  {ratios[-1]:5.2f}{mark}")
        mean = float(np.exp(np.mean(np.log(ratios))))
        print(f"geometric mean {mean:.2f}, goal {GOAL_MEAN}")


if __name__ == "__main__":
    main()
