"""Programs in which one operation is known to move when one thing about the host changes.

Around each stand operations that do not move: reshapes, comparisons, and multiplications by powers of two.
"""

import ctypes
import os

import jax
import jax.numpy as jnp
import numpy as np


def threads(params, inputs, key):
    total = jnp.sum(inputs["x"])
    return {"y": jnp.where(total > 0, total, -total) * 0.5}


def misleading(params, inputs, key):
    steady = jnp.sum(inputs["x"] * 2.0)  # moves if it is compiled without the product, and not with it
    moved = jnp.sum(inputs["x"])
    return {"steady": steady, "moved": moved}


def estimate(params, inputs, key):
    x = jnp.abs(inputs["x"]) * 4.0
    root = jax.lax.rsqrt(x)
    return {"y": jnp.maximum(root, 0.0)}


def curve(params, inputs, key):
    x = inputs["x"] * 2.0
    bent = jnp.tanh(x)
    return {"y": jnp.maximum(bent, -1.0)}


def contraction(params, inputs, key):
    x = jnp.maximum(inputs["x"], -3.0)

    def layer(state, weight):
        state = jnp.where(state > 4.0, 4.0, state)
        state = state * weight + x
        return jnp.minimum(state, 4.0), state[0]

    state, first = jax.lax.scan(layer, x, params["w"])
    return {"y": jnp.maximum(state, -4.0), "first": first}


def product(params, inputs, key):
    x = inputs["x"].reshape(512, 512) * 2.0
    made = jnp.einsum("ki,kj->ij", x, params["matrix"], precision="highest")
    return {"y": made[:7] * 0.5}


def factor(params, inputs, key):
    x = inputs["x"][: 96 * 96].reshape(96, 96)
    spread = jnp.where(jnp.eye(96) > 0, 96.0 * 4, (x + x.T) * 0.5)
    lower = jnp.linalg.cholesky(spread, symmetrize_input=False)
    return {"y": lower * 2.0}


def weights(params, inputs, key):
    sign = jnp.where(inputs["x"][:64] > 0, 1.0, -1.0)
    return {"y": params["scale"]["b"] * sign + 0.0 * params["scale"]["a"]}


def draw(params, inputs, key):
    return {"y": inputs["x"][:64] + jax.random.uniform(key, (64,))}


def _scaled(x):
    # The floating-point mode of the thread that XLA calls from, as a careless library would set it.
    libc = ctypes.CDLL(None)
    before, mode = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libc.fegetenv(before)
    libc.fegetenv(mode)
    flags = int.from_bytes(mode.raw[28:32], "little") & ~0x8040  # flush to zero, denormals are zero
    if os.environ.get("PLANTED_FLUSH") == "1":
        flags |= 0x8040
    mode[28:32] = flags.to_bytes(4, "little")
    libc.fesetenv(mode)
    try:
        return np.asarray(x) * np.float32(0.25)
    finally:
        libc.fesetenv(before)


def flush(params, inputs, key):
    x = inputs["tiny"]
    scaled = jax.pure_callback(_scaled, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
    return {"y": scaled[::2]}


def params():
    rng = np.random.default_rng(7)
    return {
        "w": rng.normal(size=(5, 512 * 512)).astype(np.float32),
        "matrix": rng.normal(size=(512, 512)).astype(np.float32),
        "scale": {"a": np.float32(rng.normal(size=64)), "b": np.float32(rng.normal(size=64))},
    }


def inputs():
    rng = np.random.default_rng(11)
    return {
        "x": rng.normal(size=512 * 512).astype(np.float32),
        "tiny": np.float32(1e-38) * rng.uniform(1, 9, 64).astype(np.float32),
    }
