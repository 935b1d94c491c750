"""The digits kernel: its committed weights on the images that training never saw, and a run through the protocol."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parents[2] / "kernels/digits"


def held_out():
    """The split that README.md states, written down a second time."""
    digits = load_digits()
    chosen = np.random.RandomState(0).permutation(1797)[1797 - 360 :]
    return digits.images[chosen].astype(np.float32), digits.target[chosen]


@pytest.fixture(scope="module")
def model(module_from):
    return module_from(FOLDER / "model.py")


def test_committed_weights_meet_the_promise(model):
    images, labels = held_out()
    params = model.load({"net": FOLDER / "weights.safetensors"})
    found = jax.jit(model.classify)(params, {"image": images}, jax.random.key(0))
    assert np.mean(np.asarray(found["label"]) == labels) >= 0.98
    assert (np.argmax(found["logits"], axis=1) == found["label"]).all()


def test_training_and_test_agree_on_what_is_held_out(module_from, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    images, labels, held_images, held_labels = module_from(FOLDER / "train.py").split()
    expected_images, expected_labels = held_out()
    assert np.array_equal(held_images, expected_images)
    assert np.array_equal(held_labels, expected_labels)
    assert len(images) == len(labels) == 1437


def test_a_run_of_the_example(image_of, source):
    image = image_of(FOLDER)
    image.write_spec(determinism={"profile": "pinned"})  # no build has compiled the libraries of its own
    ran = image.call(image.example("three", source))
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.outputs["label"].tolist() == held_out()[1][:3].tolist()
    assert ran.outputs["logits"].shape == (3, 10)


def test_the_example_is_of_the_held_out_images():
    example = json.loads((FOLDER / "examples/three.json").read_bytes())
    assert np.array_equal(example["image"], held_out()[0][:3])
