"""Programs compiled at build: the same bits as those compiled here, and refused where they do not fit."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rfc8785
from safetensors.numpy import save_file

KERNELS = Path(__file__).parents[3] / "kernels"
PLATFORM = "linux/arm64" if os.uname().machine == "aarch64" else "linux/amd64"
LEVEL = {"linux/amd64": "x86-64-v3", "linux/arm64": "armv8-a"}[PLATFORM]
SIZES = {"sizes": {"batch": [1, 3]}, "arrays": {}, "other": "refuse"}


def compile_for(image, **aot):
    """Compile as a build does, on this machine's own CPU."""
    image.spec["aot"] = SIZES | aot
    image.write_spec()
    target = image.folder / "aot"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    command = [sys.executable, "-m", "kernels.runtime.aot.build", image.root, target, PLATFORM, LEVEL, "this one"]
    done = subprocess.run(command, env=image.environment(), cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Where programs for digits are kept once they are compiled."""
    return tmp_path_factory.mktemp("aot") / "digits"


@pytest.fixture
def ready(digits, source, kept):
    """The folder of programs in an image of digits that has an example to run; compiled by the first test to ask."""
    digits.example("three", source)
    if not kept.exists():
        shutil.copytree(compile_for(digits), kept)
    digits.spec["aot"] = SIZES
    digits.write_spec()
    shutil.copytree(kept, digits.folder / "aot", dirs_exist_ok=True)
    return digits.folder / "aot"


def manifest(target):
    return json.loads((target / "manifest.json").read_bytes())


@pytest.fixture
def digits(image_of):
    """Under the profile that needs no native libraries."""
    image = image_of(KERNELS / "digits")
    image.write_spec(determinism={"profile": "pinned"})
    return image


def rewritten(target, **values):
    """Change what the manifest says, as somebody might who has the image's files but not its digest."""
    path = target / "manifest.json"
    path.write_bytes(rfc8785.dumps(manifest(target) | values))


def assert_refused(ran, message):
    """One error that says what is wrong, and nothing was run."""
    assert ran.code == 2, ran.stderr
    assert ran.stderr.count("error: ") == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (ran.out / "outputs.safetensors").exists()


def test_outputs_are_those_of_a_program_compiled_here(digits, source):
    digits.example("three", source)
    here = digits.call(source).receipt["result"]
    target = compile_for(digits)
    ahead = digits.call(source).receipt["result"]
    assert here["outputs"] == ahead["outputs"]
    assert here["program"] == ahead["program"]
    assert "code" not in here
    assert ahead["code"] == "sha256:" + manifest(target)["programs"][1]["code"]


def test_a_node_needs_no_jax_where_the_kernel_itself_does_not(digits, source):
    digits.example("three", source)
    compile_for(digits)
    environ = digits.environment() | {"PYTHONPROFILEIMPORTTIME": "1"}
    ran = digits.call(source, environ)
    assert ran.code == 3  # a variable that leaked in
    environ = digits.environment()
    command = [sys.executable, "-X", "importtime", "-m", "kernels.runtime"]
    command += ["--root", digits.root, "--input", source, "--output", digits.out]
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jaxlib._jax" in imported
    assert not imported & {"dataclasses", "jax", "jaxlib.xla_client", "model", "traceback"}


COMPILE_ELSEWHERE = """
import sys
import jax, jax.numpy as jnp
made = jax.jit(jnp.linalg.cholesky).lower(jnp.eye(4)).compile().runtime_executable()
open(sys.argv[1], "wb").write(made.serialize())
"""
LOAD = """
import sys
import numpy as np
from kernels.runtime.aot.execute import Loaded
from kernels.runtime.aot.manifest import Leaf, Program
leaf = Leaf("float32", (4, 4))
program = Program("", "", "", {"x": leaf}, (("array", "x"),), (("y", leaf),), foreign=True)
made = Loaded(program, open(sys.argv[1], "rb").read(), ()).run([], {"x": np.eye(4, dtype=np.float32) * 4}, None)
assert np.array_equal(made["y"], np.eye(4) * 2), made
"""


def test_a_program_that_calls_lapack_finds_it(tmp_path):
    """JAX keeps such functions until a client of its own is made, and here none is."""
    for script in (COMPILE_ELSEWHERE, LOAD):
        command = [sys.executable, "-c", script, tmp_path / "program"]
        ran = subprocess.run(command, cwd=KERNELS.parent, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


def test_shapes_that_no_program_is_for_are_refused_or_compiled_here(digits, source):
    compile_for(digits)
    save_file({"image": np.zeros((2, 8, 8), np.float32)}, source / "two.safetensors")
    ran = digits.call(source)
    assert ran.code == 2
    assert "no program was compiled for image float32 [2, 8, 8] (compiled for batch: 1, 3)" in ran.stderr
    compile_for(digits, other="compile")
    ran = digits.call(source)
    assert ran.code == 0
    assert "code" not in ran.receipt["result"]


def test_parameters_that_the_weights_hold_are_not_stored_again(digits):
    target = compile_for(digits)
    files = {item["file"] for item in manifest(target)["parameters"] if np.prod(item["shape"]) >= 1024}
    assert files == {"opt/kernel/weights/net/weights.safetensors"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"versions": {"jax": "0.10.2", "jaxlib": "0.10.1"}}, "jaxlib: made for 0.10.1, found"),
        ({"environment": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}}, "XLA_FLAGS: made for --xla_cpu_max_isa=SSE4_2"),
        ({"environment": {"NPROC": "3"}}, "variable NPROC: made for 3, found 2"),
        ({"seed": 99}, "seed: made for 99, found "),
        ({"cpu": "x86-64-v4"}, "CPU level: made for x86-64-v4"),
        ({"platform": "linux/riscv64"}, "platform: made for linux/riscv64"),
        ({"aot": 2}, "no manifest of form 1"),
        ({"programs": [{}]}, "no manifest of form 1"),
        ({"parameters": []}, "no manifest of form 1"),
    ],
)
def test_programs_made_for_something_else_are_refused(digits, source, ready, changed, message):
    rewritten(ready, **changed)
    assert_refused(digits.call(source), message)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, change) for name in ("1.xla", "manifest.json") for change in ("bit", "end", "gone")),
        ("parameters.bin", "end"),  # a bit there is as good as one in the weights: the image's digest has both
        ("parameters.bin", "gone"),
    ],
)
def test_files_that_changed_are_refused(digits, source, ready, name, change):
    path = ready / name
    data = path.read_bytes()
    path.unlink()
    if change == "bit":
        path.write_bytes(data[:2] + bytes([data[2] ^ 1]) + data[3:])
    elif change == "end":
        path.write_bytes(data[:-60])
    assert_refused(digits.call(source), name)


@pytest.mark.parametrize("other", ["another program", "half of it", "nothing", "zeros"])
def test_programs_that_are_not_those_described_are_refused(digits, source, ready, other):
    """Even where the manifest has their hash: what nodes rely on beyond the image's digest, jaxlib has to see."""
    data = (ready / "1.xla").read_bytes()
    found = {"another program": (ready / "0.xla").read_bytes(), "half of it": data[: len(data) // 2], "nothing": b"",
             "zeros": bytes(len(data))}[other]  # fmt: skip
    (ready / "1.xla").write_bytes(found)
    first, second = manifest(ready)["programs"]
    rewritten(ready, programs=[first, second | {"code": hashlib.sha256(found).hexdigest()}])
    assert_refused(digits.call(source), "the program 1.xla")


@pytest.mark.qemu
@pytest.mark.usefixtures("ready")
@pytest.mark.skipif(PLATFORM != "linux/amd64", reason="the emulated CPU is x86-64's")
def test_a_cpu_below_what_programs_were_compiled_for_is_refused(digits, source):
    below = ["qemu-x86_64-static", "-cpu", "Nehalem", sys.executable, "-m", "kernels.runtime"]
    below += ["--root", digits.root, "--input", source, "--output", digits.out]
    done = subprocess.run(below, env=digits.environment(), cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "x86-64-v3" in done.stderr
    assert not (digits.out / "outputs.safetensors").exists()


def test_an_entry_that_calls_back_into_python_is_refused(digits):
    code = (digits.folder / "model.py").read_text()
    calling = "    jax.debug.callback(print, 1)\n    logits = forward"
    (digits.folder / "model.py").write_text(code.replace("    logits = forward", calling))
    with pytest.raises(AssertionError, match="calls back into Python"):
        compile_for(digits)


def test_compiling_twice_gives_the_same_bytes(digits):
    """Every build with a fresh process; XLA writes the same objects down in another order each time."""
    first = {path.name: path.read_bytes() for path in compile_for(digits).iterdir()}
    assert first == {path.name: path.read_bytes() for path in compile_for(digits).iterdir()}
    assert sorted(first) == ["0.xla", "1.xla", "manifest.json", "parameters.bin"]
