"""all-MiniLM-L6-v2 in plain JAX: word pieces in, one unit vector of 384 floats per string out.

The model is BERT (arXiv:1810.04805) with 6 layers, 12 heads and 384 units, mean pooling over the real tokens and L2
normalisation, as the published `modules.json` says. Weights are arguments, never constants of the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LAYERS = 6
HEADS = 12
EPSILON = 1e-12
"""Of layer normalisation: `layer_norm_eps` of the published config.json."""

Params = dict[str, Any]


def load(weights: Mapping[str, Path]) -> Params:
    """The parameters: embeddings as they are, the six layers' stacked, so that one program serves all of them."""
    from safetensors.numpy import load_file  # noqa: PLC0415  # tests of `embed` alone do without

    tensors = load_file(weights["model"])

    def layer(name: str, part: str) -> np.ndarray:
        return np.stack([tensors[f"encoder.layer.{index}.{name}.{part}"] for index in range(LAYERS)])

    def dense(name: str) -> dict[str, np.ndarray]:
        # Stored as [out, in], as torch does; multiplied as [in, out].
        return {"weight": np.ascontiguousarray(layer(name, "weight").swapaxes(1, 2)), "bias": layer(name, "bias")}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"weight": layer(name, "weight"), "bias": layer(name, "bias")}

    return {
        "word": tensors["embeddings.word_embeddings.weight"],
        "position": tensors["embeddings.position_embeddings.weight"],
        "type": tensors["embeddings.token_type_embeddings.weight"][0],
        "norm": {part: tensors[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")},
        "layers": {
            "query": dense("attention.self.query"),
            "key": dense("attention.self.key"),
            "value": dense("attention.self.value"),
            "attended": dense("attention.output.dense"),
            "attended_norm": norm("attention.output.LayerNorm"),
            "inner": dense("intermediate.dense"),
            "outer": dense("output.dense"),
            "outer_norm": norm("output.LayerNorm"),
        },
    }


def embed(params: Params, inputs: Mapping[str, Array], key: Array) -> dict[str, Array]:
    """The entry: `ids` and `mask`, int32 [batch, length], to `embedding`, float32 [batch, 384]."""
    del key  # nothing is random here
    ids, mask = inputs["ids"], inputs["mask"].astype(bool)
    states = params["word"][ids] + params["position"][: ids.shape[1]] + params["type"]
    states = _normalise(states, params["norm"])
    states, _ = jax.lax.scan(lambda state, layer: (_layer(state, layer, mask), None), states, params["layers"])
    return {"embedding": _pool(states, mask)}


def _layer(states: Array, params: Params, mask: Array) -> Array:
    attended = _dense(_attend(states, params, mask), params["attended"])
    states = _normalise(states + attended, params["attended_norm"])
    inner = jax.nn.gelu(_dense(states, params["inner"]), approximate=False)
    return _normalise(states + _dense(inner, params["outer"]), params["outer_norm"])


def _attend(states: Array, params: Params, mask: Array) -> Array:
    batch, length, width = states.shape

    def heads(name: str) -> Array:
        return _dense(states, params[name]).reshape(batch, length, HEADS, width // HEADS)

    scores = jnp.einsum("bqhd,bkhd->bhqk", heads("query"), heads("key"), precision="highest")
    scores = scores / np.sqrt(np.float32(width // HEADS))
    # Every string has its [CLS], so no row is masked as a whole and minus infinity is safe.
    shares = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, -jnp.inf), axis=-1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, heads("value"), precision="highest")
    return mixed.reshape(batch, length, width)


def _dense(x: Array, params: Params) -> Array:
    product: Array = jnp.dot(x, params["weight"], precision="highest") + params["bias"]
    return product


def _normalise(x: Array, params: Params) -> Array:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    scaled: Array = centred / jnp.sqrt(variance + EPSILON) * params["weight"] + params["bias"]
    return scaled


def _pool(states: Array, mask: Array) -> Array:
    kept = jnp.where(mask[:, :, None], states, 0)
    mean = jnp.sum(kept, axis=1) / jnp.sum(mask, axis=1, keepdims=True, dtype=states.dtype)
    return mean / jnp.sqrt(jnp.sum(mean * mean, axis=-1, keepdims=True))
