"""`kbuild verify` on images whose hosts part: it names the first operation that did, at its line of the model."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from .conftest import Built, kbuild, under

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


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_one_core_against_two(digits: Built, tmp_path: Path) -> None:
    loose = under("none", digits, tmp_path)
    (loose.spec.parent / "model.py").write_text(MODEL)
    env = {"KBUILD_STORE": str(digits.store)}
    outcome = kbuild("verify", loose.spec, "--only", "native", "--only", "1-core", "--json", env=env)
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
    loose = under("none", digits, tmp_path)
    env = {"KBUILD_STORE": str(digits.store)}
    outcome = kbuild("verify", loose.spec, "--only", "native", "--only", "haswell", "--json", env=env)
    assert outcome.code == 1, outcome.stderr
    found = json.loads(outcome.stdout)["localisations"][0]
    assert found["found"] == "operation", found
    (operation,) = found["operations"]
    assert (operation["primitive"], operation["function"]) == ("conv_general_dilated", "_convolve")
    assert found["suspects"][0]["influence"] == "matmul-dispatch"


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated models are of linux/amd64")
def test_unpinned_minilm_on_another_cpu(minilm: Built, tmp_path: Path) -> None:
    """XLA makes a reciprocal square root of `/ jnp.sqrt(...)`, out of an estimate that each maker's CPUs do their way.

    Compiled alone the two are what they say, and a product of matrices is the first to part; the report says so too.
    """
    loose = under("none", minilm, tmp_path)
    line = ("verify", loose.spec, "--inputs", loose.spec.parent / "examples/similar.json", "--json")
    outcome = kbuild(
        *line, "--only", "native", "--only", "haswell", env={"KBUILD_STORE": str(minilm.store)}, timeout=7200
    )
    assert outcome.code == 1, outcome.stderr
    found = json.loads(outcome.stdout)["localisations"][0]
    assert (found["found"], found["inputs_equal"], found["fusion"]) == ("segment", True, True), found
    assert [one["primitive"] for one in found["operations"]] == ["sqrt", "div"]
    assert {one["function"] for one in found["operations"]} == {"_normalise"}
    assert found["suspects"][0]["influence"] == "rsqrt-approximation"
    assert "dot_general" in found["notes"][-1]
