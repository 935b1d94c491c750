"""Small programs, one for each way in which bits move: `python influence_probe.py FILE` computes them all into FILE.

Their data are whole numbers cut from a multiplication, so nothing but the programs themselves can differ.
"""

import ctypes
import math
import os
import sys
import time

import numpy as np

MODES = {"nearest": (), "flush": (0x8000,), "upwards": (0x4000,)}


def data(*shape: int, seed: int = 1) -> np.ndarray:
    count = math.prod(shape)
    words = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(seed * 97)) % np.uint64(1 << 32)
    return ((words.astype(np.float64) / 2**32) * 2 - 1).astype(np.float32).reshape(shape)


def programs() -> dict:
    import jax
    import jax.numpy as jnp

    a, b, square = data(256, 384), data(384, 320, seed=2), data(512, 512, seed=4)
    base = data(96, 96, seed=5)
    definite = np.round(base * 64)
    definite = (definite @ definite.T + 4e5 * np.eye(96)).astype(np.float32)  # whole numbers: exact in any order
    image, filters = data(2, 32, 32, 8), data(3, 3, 8, 16)
    layout = ("NHWC", "HWIO", "NHWC")
    key = jax.random.key(int(os.environ.get("PROBE_SEED", "7")))
    weights = a.copy()
    weights.view(np.uint32)[3, 4] ^= int(os.environ.get("PROBE_BIT", "0"))
    odd = data(64, 33)
    odd[::7, ::3], odd[3::5, 1::4], odd[1::9, 2::5] = np.nan, -0.0, 0.0
    grown = np.random.default_rng(3).standard_normal(4096).astype(np.float64)
    return {
        "exp": (jnp.exp, data(5000) * 10),
        "fused": (lambda x, y, z: x * y + z, data(5000), data(5000, seed=7), data(5000, seed=8)),
        "rsqrt": (jax.lax.rsqrt, np.abs(data(5000)) + np.float32(0.1)),
        "gemv": (jnp.dot, a, data(384, seed=3)),
        "product": (jnp.dot, weights, b),
        "transposed": (lambda x, y: x.T @ y, square, square),
        "convolution": (
            lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout), image, filters,
        ),
        "deep": (
            lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout),
            data(1, 9, 9, 512), data(3, 3, 512, 40),
        ),
        "small": (lambda x, y: x.T @ y, data(4096, 4), data(4096, 4, seed=2)),
        "gradient": (jax.grad(lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2)), data(64, 10), data(600, 64, seed=2)),
        "imaginary": (jnp.dot, data(4, 4096) * np.complex64(1j), data(4096, 4, seed=2) + np.complex64(1j)),
        "turned": (lambda x, y: jax.lax.optimization_barrier(x.T) @ y, data(4096, 4), data(4096, 4, seed=2)),
        "columns": (lambda x: x.sum(0), data(3000, 257)),
        "extremes": (lambda x: jnp.concatenate([jnp.max(x, 0), jnp.min(x, 0), jnp.maximum(x[0], x[1])]), odd),
        "tiny": (lambda x: x * np.float32(0.5) + x, data(5000) * np.float32(1e-38)),
        "cholesky": (jnp.linalg.cholesky, definite),
        "solve": (jnp.linalg.solve, definite, data(96, 7)),
        "eigh": (lambda x: jnp.linalg.eigh(x)[0], definite),
        "normal": (lambda k: jax.random.normal(k, (1001,)), key),
        "third": (lambda: jnp.asarray(1 / 3) + 0,),
        "folded": (lambda: jnp.exp(jnp.asarray(a) * 3) @ jnp.asarray(b),),
        "passed": (lambda x, y: jnp.exp(x * 3) @ y, a, b),
        "set": (lambda: jnp.asarray([ord(letter) for letter in set("abcde")]),),
        "date": (lambda: jnp.asarray(time.localtime(0)[:5]),),
        "variable": (lambda: jnp.asarray(len(os.environ.get("PROBE_VARIABLE", ""))),),
        "libm": (lambda: np.asarray([math.sin(i * 0.37) + math.exp(i / 9000) for i in range(20000)]),),
        "numpy": (lambda: np.exp(data(5000).astype(np.float64) * 5) + np.log1p(np.abs(grown[:1])),),
    }  # fmt: skip


def by_the_processor(mode: str) -> dict[str, np.ndarray]:
    """What this thread computes under a floating-point mode; the data are made before it is set."""
    left, right, small = data(4000), data(4000, seed=3), np.full(64, 3e-39, np.float32)
    libm, state = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 16)()
    libm.fegetenv(state)
    for bit in MODES[mode]:
        state[7] |= bit
    libm.fesetenv(state)
    found = {"rounded": left * right, "subnormal": small * np.float32(0.5)}
    for bit in MODES[mode]:
        state[7] &= ~bit & 0xFFFFFFFF
    libm.fesetenv(state)
    return found


def main(target: str) -> None:
    import jax
    from safetensors.numpy import save_file

    found = by_the_processor(os.environ.get("PROBE_MODE", "nearest"))
    for name, (program, *arguments) in programs().items():
        result = program() if name in {"libm", "numpy"} else jax.jit(program)(*arguments)
        found[name] = np.ascontiguousarray(result)
    save_file(found, target)


def following() -> None:
    """Print the names of the programs that hold a product which follows the CPU's caches."""
    import jax

    from kernels.runtime.products import following_caches

    for name, (program, *arguments) in programs().items():
        if name not in {"libm", "numpy"} and following_caches(jax.jit(program).lower(*arguments).compile().as_text()):
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    following() if sys.argv[1] == "--following" else main(*sys.argv[1:])
