"""Handwritten digits: a convolutional net of 9,930 weights in plain JAX.

Images are 8 by 8, 0 (paper) to 16 (ink), as in scikit-learn's digits. `train.py` made the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

INK = 16.0
Params = Mapping[str, Any]


def load(weights: Mapping[str, Path]) -> Params:
    """The parameters, under the names that `train.py` gave them."""
    from safetensors.numpy import load_file  # noqa: PLC0415  # training has none to load

    return load_file(weights["net"])


def classify(params: Params, inputs: Mapping[str, Array], key: Array) -> dict[str, Array]:
    """The entry: `image`, float32 [batch, 8, 8], to `logits`, float32 [batch, 10], and `label`, int32 [batch]."""
    del key  # nothing is random here
    logits = forward(params, inputs["image"])
    return {"logits": logits, "label": jnp.argmax(logits, axis=-1).astype(jnp.int32)}


def forward(params: Params, image: Array) -> Array:
    """One unnormalised log-probability per digit."""
    x = image[:, :, :, None] / INK
    x = jax.nn.relu(_convolve(x, params["conv1.weight"]) + params["conv1.bias"])
    x = jax.nn.relu(_convolve(x, params["conv2.weight"]) + params["conv2.bias"])
    x = jnp.max(x.reshape(x.shape[0], 4, 2, 4, 2, x.shape[-1]), axis=(2, 4))
    logits: Array = (
        jnp.dot(x.reshape(x.shape[0], -1), params["dense.weight"], precision="highest") + params["dense.bias"]
    )
    return logits


def _convolve(x: Array, weight: Array) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout, precision="highest")
