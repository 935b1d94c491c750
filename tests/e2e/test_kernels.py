"""The shipped kernels as images: what they give, and what a run says when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import tomli
from safetensors.numpy import load_file, save, save_file
from sklearn.datasets import load_digits

from builder.backends.roots import image_root
from builder.errors import EnvironmentFault, KernelError
from builder.hosts.host import Conditions, Runnable
from builder.hosts.local import run as run_local
from builder.lock import file as locks
from builder.machine import from_environment
from builder.oci.image import load
from builder.pipeline import run as running
from builder.pipeline.fetching import bring
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

from .conftest import REPOSITORY, Built, Outcome, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox]

KERNELS = REPOSITORY / "kernels"
EXAMPLES = [
    (name, example)
    for name in ("digits", "minilm")
    for example in tomli.loads((KERNELS / name / "spec.toml").read_text())["examples"]
]
amd64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated models are of linux/amd64")


def run(image: Built, *arguments: str | Path) -> Outcome:
    return kbuild("run", image.digest, *arguments, env={"KBUILD_STORE": str(image.store)})


def outputs(image: Built, inputs: Path, folder: Path) -> dict[str, np.ndarray]:
    outcome = run(image, "--input", inputs, "--output", folder)
    assert outcome.code == 0, outcome.stderr
    return load_file(folder / "outputs.safetensors")


def variant(kernel: Built, folder: Path, model: str, **edits: str) -> Built:
    """The same kernel with other code, and with lines of its spec replaced by others."""
    spec = kernel.copy(folder / "kernel")
    (spec.parent / "model.py").write_text(model)
    env = {"KBUILD_STORE": str(kernel.store)}
    if edits:
        text = spec.read_text()
        for old, new in edits.items():
            assert text.count(f"[{old}]") == 1
            text = text.replace(f"[{old}]", f"{new}\n[{old}]")
        spec.write_text(text)
        assert kbuild("lock", spec, env=env).code == 0
    return dataclasses.replace(kernel, spec=spec, digest=kbuild(spec, env=env).digest)


def runnable(image: Built) -> Runnable:
    return running.runnable(load(Store(image.store), image.digest).manifest(host_platform()))


# --- what they give


@pytest.mark.parametrize("name", ["digits", "minilm"])
def test_the_digest_is_the_committed_one(request: pytest.FixtureRequest, name: str) -> None:
    lock = locks.read(KERNELS / name / "spec.lock")
    assert lock.image is not None
    assert request.getfixturevalue(name).digest == lock.image.index


@pytest.mark.docker
@pytest.mark.nix
@pytest.mark.parametrize("name", ["digits", "minilm"])
def test_three_builders_give_one_digest(request: pytest.FixtureRequest, name: str) -> None:
    image = request.getfixturevalue(name)
    found = kbuild(image.spec, "--locked", "--backend", "all", env={"KBUILD_STORE": str(image.store)})
    assert found.digest == image.digest
    assert "embedded, docker, nix agree on every byte" in found.stderr


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_give_the_golden_bits(request: pytest.FixtureRequest, tmp_path: Path, name: str, example: str) -> None:
    image = request.getfixturevalue(name)
    table = tomli.loads(image.spec.read_text())["examples"][example]
    folder = tmp_path / "out"
    outputs(image, image.spec.parent / table["inputs"], folder)
    assert (folder / "outputs.safetensors").read_bytes() == (KERNELS / name / table["outputs"]).read_bytes()


@amd64
@pytest.mark.slow
def test_another_cpu_gives_the_golden_bits(digits: Built, tmp_path: Path) -> None:
    emulated(digits, "Haswell", digits.spec.parent / "examples/three.json", tmp_path / "out")
    golden = KERNELS / "digits/examples/three.outputs.safetensors"
    assert (tmp_path / "out/outputs.safetensors").read_bytes() == golden.read_bytes()


def test_minilm_gives_the_reference_vectors(minilm: Built, tmp_path: Path) -> None:
    """Those that sentence-transformers gave, within what README.md promises."""
    sentences = json.loads((KERNELS / "minilm/reference/sentences.json").read_bytes())
    expected = load_file(KERNELS / "minilm/reference/vectors.safetensors")["embedding"]
    assert expected.shape == (len(sentences), 384) == (50, 384)
    (tmp_path / "text.json").write_text(json.dumps({"text": sentences}))
    found = outputs(minilm, tmp_path / "text.json", tmp_path / "out")["embedding"]
    assert np.abs(found - expected).max() <= 1e-5
    cosine = np.sum(found.astype(float) * expected, axis=1)
    assert (cosine / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)).min() >= 0.99999


def test_a_sentence_has_one_vector_alone_and_in_any_batch(minilm: Built, tmp_path: Path) -> None:
    """Also where another sentence of the batch is so long that this one is padded further."""
    batches = {"alone": ["a cat sits"], "pair": ["ein Hund läuft", "a cat sits"], "long": ["many " * 90, "a cat sits"]}
    vectors = set()
    for name, sentences in batches.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"text": sentences}))
        vectors.add(outputs(minilm, tmp_path / f"{name}.json", tmp_path / name)["embedding"][-1].tobytes())
    assert len(vectors) == 1


def test_digits_reads_what_training_never_saw(digits: Built, tmp_path: Path) -> None:
    data = load_digits()
    held_out = np.random.RandomState(0).permutation(1797)[-360:]
    np.savez_compressed(tmp_path / "images.npz", image=data.images[held_out].astype(np.float32))
    found = outputs(digits, tmp_path / "images.npz", tmp_path / "out")
    assert found["label"].shape == (360,)
    assert np.mean(found["label"] == data.target[held_out]) >= 0.98


def test_results_are_shown_and_the_answer_is_on_stdout(digits: Built, tmp_path: Path) -> None:
    inputs = digits.spec.parent / "examples/three.json"
    outcome = run(digits, "--input", inputs, "--output", tmp_path / "out")
    tensors = json.loads((tmp_path / "out/receipt.json").read_bytes())["result"]["outputs"]["tensors"]
    assert outcome.stdout.splitlines() == [
        f"label int32 [3] {tensors['label']['sha256']}",
        f"logits float32 [3, 10] {tensors['logits']['sha256']}",
    ]
    assert "\nlabel = [7, 9, 4]\nlogits = [[ -8.59" in f"\n{outcome.stderr}"


# --- inputs that are wrong


IMAGE = np.zeros((1, 8, 8), np.float32)
BAD_INPUTS = {
    "an unexpected name": ("x.json", b'{"images": []}', "'images' is not declared; did you mean 'image'?"),
    "a second name": ("x.safetensors", save({"image": IMAGE, "scale": IMAGE}), "'scale' is not declared"),
    "no tensor": ("x.json", b"{}", "'image' (float32 [batch, 8, 8]) is missing"),
    "another type": ("x.safetensors", save({"image": IMAGE.astype(np.float64)}), "'image' is float64, not float32"),
    "another length": ("x.safetensors", save({"image": IMAGE[:, :7]}), "'image' has length 7 along axis 1, not 8"),
    "another rank": ("x.safetensors", save({"image": IMAGE[0]}), "'image' has shape [8, 8], which is not of the form"),
    "not a number": ("x.json", b'{"image": [[[NaN]]]}', "not JSON (NaN is no JSON number)"),
    "half a JSON file": ("x.json", b'{"image": [[[0, ', "x.json: not JSON ("),
    "garbage as .safetensors": ("x.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "not a safetensors file"),
    "half a .safetensors file": ("x.safetensors", save({"image": IMAGE})[:-1], "not a safetensors file"),
    "garbage as .npz": ("x.npz", b"PK\3\4" + bytes(100), "x.npz: not a readable .npz file"),
    "another kind of file": ("x.png", b"\x89PNG", "x.png is no input file"),
}  # fmt: skip
SHOWN = ("an unexpected name", "another length", "garbage as .npz")
"""By default; tests/kernels/runtime holds the code inside to all of them, without an image."""


def refused(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert sum(line.startswith("error: ") for line in outcome.stderr.splitlines()) == 1, outcome.stderr
    for word in words:
        assert word in outcome.stderr, outcome.stderr


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        pytest.param(*case, id=name, marks=[] if name in SHOWN else pytest.mark.slow)
        for name, case in BAD_INPUTS.items()
    ],
)
def test_inputs_that_are_wrong(digits: Built, tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"
    refused(run(digits, "--input", tmp_path / name, "--output", out), 2, "error: digits, input: ", reason)
    assert [path.name for path in out.iterdir()] == ["receipt.json"]


def test_no_inputs(digits: Built) -> None:
    refused(run(digits), 2, "this kernel needs image (float32 [batch, 8, 8])", "--input")


def test_one_input_in_two_files(digits: Built, tmp_path: Path) -> None:
    save_file({"image": IMAGE}, tmp_path / "more.safetensors")
    inputs = ["--input", digits.spec.parent / "examples/three.json", "--input", tmp_path / "more.safetensors"]
    refused(run(digits, *inputs), 2, "'image' is in both more.safetensors and three.json")


def test_an_input_that_is_no_file(digits: Built, tmp_path: Path) -> None:
    refused(run(digits, "--input", tmp_path / "absent.json"), 2, "absent.json", "no such file")
    refused(run(digits, "--input", tmp_path), 2, "not a file")


# --- a kernel that is wrong

OUTWARD = """\
import socket
def load(weights):
    socket.create_connection(("192.0.2.1", 80), timeout=5)

def classify(params, inputs, key): ...
"""

TWO_INPUTS = """\
def load(weights):
    return {}

def classify(params, inputs, key):
    return {"logits": inputs["image"].reshape(-1, 64)[1:, :10], "label": inputs["scale"][1:]}
"""


@pytest.fixture(scope="module")
def two(digits: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Two inputs that share a dimension, and outputs that forget about it."""
    table = '[inputs.scale]\ndtype = "int32"\nshape = ["batch"]\n'
    return variant(digits, tmp_path_factory.mktemp("two"), TWO_INPUTS, **{"outputs.logits": table})


def test_inputs_that_do_not_fit_together(two: Built, tmp_path: Path) -> None:
    save_file({"image": IMAGE, "scale": np.zeros(2, np.int32)}, tmp_path / "x.safetensors")
    refused(
        run(two, "--input", tmp_path / "x.safetensors"), 2,
        "digits, input: 'scale' has length 2 along axis 0, but 'batch' is 1 elsewhere",
    )  # fmt: skip


def test_outputs_that_are_not_as_declared(two: Built, tmp_path: Path) -> None:
    save_file({"image": IMAGE.repeat(3, axis=0), "scale": np.zeros(3, np.int32)}, tmp_path / "x.safetensors")
    refused(
        run(two, "--input", tmp_path / "x.safetensors", "--output", tmp_path / "out"), 2,
        "digits, output: the kernel's outputs are not as declared",
        "'logits' has length 2 along axis 0, but 'batch' is 3 elsewhere",
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["receipt.json"]


def test_code_that_fails_names_its_line(digits: Built, tmp_path: Path) -> None:
    image = variant(digits, tmp_path, OUTWARD)
    refused(
        run(image, "--input", digits.spec.parent / "examples/three.json"), 2,
        "digits, initialise: model:load: OSError: [Errno 101] Network is unreachable (model.py, line 3, in load)",
    )  # fmt: skip


# --- what a kernel sees from inside

PROBE = """\
import json, os, pathlib, socket

def load(weights):
    raise RuntimeError(json.dumps({
        "environment": dict(pair.split("=", 1) for pair in open("/proc/self/environ").read().split("\\0") if pair),
        "reached": [name for name, connect in NETWORK.items() if worked(connect)],
        "root": sorted(os.listdir("/")),
        "tmp": os.listdir("/tmp"),
        "processes": [name for name in os.listdir("/proc") if name.isdigit()],
        "host": socket.gethostname(),
        "capabilities": [line for line in open("/proc/self/status").read().splitlines() if line.startswith("Cap")],
        "settings": [path for path in SETTINGS if os.access(path, os.W_OK)],
        "written": [path for path in PATHS if worked(lambda: pathlib.Path(path).write_text("x"))],
    }))

def classify(params, inputs, key):
    raise NotImplementedError

def worked(action):
    try:
        action()
    except OSError:
        return False
    return True

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(address)

NETWORK = {
    "another machine": lambda: connect(socket.AF_INET, ("192.0.2.1", 80)),
    "the host's loopback": lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)),
    "the host's abstract socket": lambda: connect(socket.AF_UNIX, "\\0NAME"),
    "a name": lambda: socket.getaddrinfo("example.org", 80),
}
PATHS = [
    "/opt/kernel/model.py", "/opt/kernel/new", "/opt/new", "/usr/bin/python3", "/usr/new", "/etc/passwd", "/new",
    "/io/new", "/io/in/new", "/io/in/three.json", "/sys/new", "/tmp/allowed",
]
SETTINGS = ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/sys/power/state"]
"""


@pytest.fixture(scope="module")
def inside(digits: Built, tmp_path_factory: pytest.TempPathFactory) -> tuple[Runnable, dict]:
    """What a kernel finds that tries to get out: the image as it was started, and the findings."""
    folder = tmp_path_factory.mktemp("probe")
    name = f"kbuild-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()
        port = tcp.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # it does answer outside
        image = variant(digits, folder, PROBE.replace("PORT", str(port)).replace("NAME", name))
        started = runnable(image)
        example = digits.spec.parent / "examples/three.json"
        with pytest.raises(KernelError) as caught:
            run_local(Store(image.store), started, [example], folder / "out", progress=Silent())
    said = re.search(r"RuntimeError: (\{.*\}) \(model\.py", caught.value.message)
    assert said is not None, caught.value.message
    return started, json.loads(said[1])


def test_inside_the_environment_is_the_pinned_one(inside: tuple[Runnable, dict]) -> None:
    image, found = inside
    added = {"KBUILD_IMAGE": image.digest, "PWD": "/"}
    assert found["environment"] == {**image.environment, **added}
    assert image.environment["JAX_PLATFORMS"] == "cpu"


def test_inside_there_is_no_network(inside: tuple[Runnable, dict]) -> None:
    assert inside[1]["reached"] == []


def test_inside_nothing_can_be_changed(inside: tuple[Runnable, dict]) -> None:
    assert inside[1]["written"] == ["/tmp/allowed"]


def test_inside_the_kernels_settings_are_out_of_reach(inside: tuple[Runnable, dict]) -> None:
    """They are the host's, and root's files: who starts kbuild as root would hand the machine to any image."""
    assert inside[1]["settings"] == []


def test_inside_there_is_nothing_of_the_host(digits: Built, inside: tuple[Runnable, dict]) -> None:
    image, found = inside
    root = image_root(Store(digits.store), image.layers)
    assert set(found["root"]) == {path.name for path in root.iterdir()} | {"dev", "io", "proc", "sys", "tmp"}
    assert (found["tmp"], found["host"]) == ([], "kbuild")
    assert len(found["processes"]) <= 2, "the kernel, and what waits for it"
    assert {line.split()[1] for line in found["capabilities"]} == {"0" * 16}


# --- hosts that are refused


def test_another_environment_is_refused(digits: Built, tmp_path: Path) -> None:
    image = runnable(digits)
    changed = {**image.environment, "NPROC": "64", "LD_PRELOAD": "/usr/lib/libm.so.6", "JAX_DEBUG_NANS": "1"}
    del changed["XLA_FLAGS"]
    with pytest.raises(EnvironmentFault) as caught:
        run_local(
            Store(digits.store),
            dataclasses.replace(image, environment=changed),
            [],
            tmp_path / "out",
            progress=Silent(),
        )
    first, *lines = caught.value.message.splitlines()
    assert first == "this host may not run the kernel"
    assert [line.rpartition(": ")[0].strip() for line in lines] == [
        "variable NPROC: needs '2', found '64'",
        f"variable XLA_FLAGS: needs {image.environment['XLA_FLAGS']!r}, found none",
        "variable JAX_DEBUG_NANS: needs none, found one",
        "variable LD_PRELOAD: needs none, found one",
    ]
    assert all("environment" in line.rpartition(": ")[2] for line in lines)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["receipt.json"]


@amd64
def test_an_older_cpu_is_refused(digits: Built, tmp_path: Path) -> None:
    """The check comes before JAX, which would die of an illegal instruction there."""
    with pytest.raises(EnvironmentFault, match="CPU level: needs x86-64-v3, found a CPU without avx, avx2, ") as caught:
        emulated(digits, "Nehalem", digits.spec.parent / "examples/three.json", tmp_path / "out")
    assert caught.value.exit_code == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["receipt.json"]


def emulated(image: Built, cpu: str, inputs: Path, folder: Path) -> None:
    """Run an image of this machine's platform on another CPU of it."""
    store = Store(image.store)
    lock = locks.read(image.spec.with_suffix(".lock"))
    tools = [item for item in lock.artifact if "tools" in item.roles and host_platform() in item.platforms]
    bring(tools, lock, from_environment(os.environ), store, Silent())
    run_local(store, runnable(image), [inputs], folder, tools=tools, conditions=Conditions(cpu=cpu), progress=Silent())
