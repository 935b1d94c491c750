"""`kbuild verify` on images whose hosts part: it names the first operation that did, at its line of the model."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from .conftest import Built, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox]

MODEL = '''\
"""A sum that XLA splits among its threads."""

import jax.numpy as jnp
import numpy as np


def load(weights):
    return {"x": np.random.default_rng(1).normal(size=512 * 512).astype(np.float32)}


def _mean(x):
    return jnp.sum(x) / x.size


def classify(params, inputs, key):
    mean = _mean(params["x"])
    logits = jnp.full((inputs["image"].shape[0], 10), mean)
    return {"logits": logits, "label": jnp.argmax(logits, axis=-1).astype(jnp.int32)}
'''


def loose(kernel: Built, folder: Path, model: str | None = None) -> Path:
    """The kernel under the profile that pins nothing, and with another model if one is given."""
    spec = kernel.copy(folder / "kernel")
    lines = [line for line in spec.read_text().splitlines() if not line.startswith(("forbid", "outputs = "))]
    spec.write_text("\n".join(lines).replace('profile = "pinned"', 'profile = "none"') + "\n")
    if model is not None:
        (spec.parent / "model.py").write_text(model)
    assert kbuild("lock", spec, env={"KBUILD_STORE": str(kernel.store)}).code == 0
    return spec


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_one_core_against_two(digits: Built, tmp_path: Path) -> None:
    spec = loose(digits, tmp_path, MODEL)
    env = {"KBUILD_STORE": str(digits.store)}
    outcome = kbuild("verify", spec, "--only", "native", "--only", "1-core", "--json", env=env)
    assert outcome.code == 1, outcome.stderr
    (found,) = json.loads(outcome.stdout)["localisations"]
    assert found["found"] == "operation", found
    (operation,) = found["operations"]
    assert operation["primitive"] == "reduce_sum"
    assert (operation["file"], operation["function"]) == ("model.py", "_mean")
    assert MODEL.splitlines()[operation["line"] - 1].strip() == "return jnp.sum(x) / x.size"
    assert found["inputs_equal"] is True
    assert found["suspects"][0]["influence"] == "threads"
    assert "cores" in found["suspects"][0]["seen"]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated models are of linux/amd64")
def test_unpinned_digits_on_another_cpu(digits: Built, tmp_path: Path) -> None:
    """A convolution is the first to part: which one gets which kernel follows the CPU."""
    spec = loose(digits, tmp_path)
    env = {"KBUILD_STORE": str(digits.store)}
    outcome = kbuild("verify", spec, "--only", "native", "--only", "haswell", "--json", env=env)
    assert outcome.code == 1, outcome.stderr
    found = json.loads(outcome.stdout)["localisations"][0]
    assert found["found"] == "operation", found
    (operation,) = found["operations"]
    assert (operation["primitive"], operation["function"]) == ("conv_general_dilated", "_convolve")
    assert found["suspects"][0]["influence"] == "matmul-dispatch"
