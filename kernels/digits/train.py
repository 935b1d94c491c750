"""Train the net and write `weights.safetensors`; needs `jax`, `scikit-learn` and `safetensors`.

    python train.py

Everything is seeded, so one machine gives the same weights each time. Another CPU rounds some sums otherwise, so its
weights may differ in their last bits; the committed file is the one that counts.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from model import forward
from safetensors.numpy import save_file
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

SEED = 2026
HELD_OUT = 360
"""Of 1,797 images: the last ones of a permutation by NumPy's `RandomState(0)`, whose stream is frozen for good."""
EPOCHS = 60
BATCH = 64
RATE = 2e-3
SHAPES = {
    "conv1.weight": (3, 3, 1, 16),
    "conv1.bias": (16,),
    "conv2.weight": (3, 3, 16, 32),
    "conv2.bias": (32,),
    "dense.weight": (512, 10),
    "dense.bias": (10,),
}
Params = dict[str, Array]


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels to learn from, then those held out."""
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    images = digits.images.astype(np.float32)[order]
    labels = digits.target.astype(np.int32)[order]
    return images[:-HELD_OUT], labels[:-HELD_OUT], images[-HELD_OUT:], labels[-HELD_OUT:]


def initial() -> Params:
    """He-normal weights and zero biases."""
    keys = jax.random.split(jax.random.key(SEED), len(SHAPES))
    return {
        name: jax.random.normal(key, shape) * np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else jnp.zeros(shape)
        for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }


def loss(params: Params, images: Array, labels: Array) -> Array:
    """Mean cross-entropy."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(forward(params, images)), labels[:, None], axis=1))


@jax.jit
def step(state: tuple[Params, Params, Params], count: Array, images: Array, labels: Array) -> tuple[Params, ...]:
    """One step of Adam (arXiv:1412.6980), its rate falling to zero along a half cosine."""
    params, first, second = state
    gradient = jax.grad(loss)(params, images, labels)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    rate = RATE * 0.5 * (1 + jnp.cos(jnp.pi * count / (EPOCHS * 23)))
    rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
    return params, first, second


def shifted(images: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Every image moved by at most one pixel each way, so that the net doesn't learn positions."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    offsets = random.randint(0, 3, (len(images), 2))
    return np.stack([image[y : y + 8, x : x + 8] for image, (y, x) in zip(padded, offsets, strict=True)])


def main() -> None:
    """Train, say how good it is, and write the weights."""
    images, labels, held_images, held_labels = split()
    random = np.random.RandomState(SEED)
    params = initial()
    zeros = jax.tree.map(jnp.zeros_like, params)
    state, count = (params, zeros, zeros), 0
    for _ in range(EPOCHS):
        order = random.permutation(len(images))
        moved = shifted(images, random)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            count += 1
            state = step(state, jnp.float32(count), moved[chosen], labels[chosen])
    guessed = np.argmax(np.asarray(forward(state[0], jnp.asarray(held_images))), axis=1)
    print(f"held out: {np.mean(guessed == held_labels):.2%} of {HELD_OUT} right")  # noqa: T201
    save_file({name: np.asarray(state[0][name]) for name in SHAPES}, Path(__file__).with_name("weights.safetensors"))


if __name__ == "__main__":
    main()
