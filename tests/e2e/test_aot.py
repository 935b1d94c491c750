"""Programs compiled ahead of time, in real images: one digest whoever builds, and the bits of what a node compiles."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from .conftest import BOTH, HOST, REPOSITORY, Built, Once, Outcome, ahead_of_time, kbuild, manifest

pytestmark = [pytest.mark.network, pytest.mark.sandbox]

AOT = "\n[aot]\nsizes.batch = [3]\n"
DIGITS = REPOSITORY / "kernels" / "digits"
GOLDEN = DIGITS / "examples" / "three.outputs.safetensors"
INPUT = DIGITS / "examples" / "three.json"


def layers(built: Built, digest: str) -> dict[str, str]:
    """Digests of one platform's layers by name."""
    (one,) = manifest(built.store, digest)["manifests"]
    found = manifest(built.store, one["digest"])["layers"]
    return {item["annotations"]["org.kbuild.layer.name"]: item["digest"] for item in found}


def receipt_of(out: Path) -> dict:
    return json.loads((out / "receipt.json").read_bytes())


def test_a_run_loads_the_program_and_gives_the_golden_bits(digits_aot: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(digits_aot.store)}
    out = tmp_path / "out"
    ran = kbuild("run", digits_aot.digest, "--input", INPUT, "--output", out, env=env)
    assert ran.code == 0, ran.stderr
    found, wanted = load_file(out / "outputs.safetensors"), load_file(GOLDEN)
    assert {name: value.tobytes() for name, value in found.items()} == {
        name: value.tobytes() for name, value in wanted.items()
    }
    code = receipt_of(out)["result"]["code"]
    (one,) = manifest(digits_aot.store, digits_aot.digest)["manifests"]
    config = manifest(digits_aot.store, manifest(digits_aot.store, one["digest"])["config"]["digest"])
    labels = config["config"]["Labels"]
    assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(git)?", labels["org.kbuild.aot.llvm"])
    assert labels["org.kbuild.aot.0.code"] == code
    assert labels["org.kbuild.aot.0.program"] == receipt_of(out)["result"]["program"]


def test_what_reaches_no_program_compiles_nothing_again(digits_aot: Built, tmp_path: Path) -> None:
    spec = digits_aot.copy(tmp_path / "kernel")
    spec.write_text(spec.read_text().replace("Classifies 8 by 8 images", "Tells 8 by 8 images apart"))
    env = {"KBUILD_STORE": str(digits_aot.store)}
    assert kbuild("lock", spec, env=env).code == 0
    again = json.loads(kbuild(spec, "--json", env=env).stdout)
    assert again["digest"] != digits_aot.digest
    assert layers(digits_aot, again["digest"])["aot"] == layers(digits_aot, digits_aot.digest)["aot"]
    assert {item["name"] for item in again["layers"][HOST] if not item["cached"]} <= {"kernel"}


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(("taskset", "-c", "0"), id="one core"),
        pytest.param(("qemu-x86_64-static", "-cpu", "Haswell"), id="Haswell"),
        pytest.param(("qemu-x86_64-static", "-cpu", "EPYC-Rome"), id="EPYC-Rome"),
    ],
)
def test_one_digest_whatever_the_builder_runs_on(digits_aot: Built, tmp_path: Path, prefix: tuple[str, ...]) -> None:
    spec = digits_aot.copy(tmp_path / "kernel")
    env = {"KBUILD_STORE": str(digits_aot.downloads(tmp_path / "store")), "KBUILD_OFFLINE": "1"}
    assert kbuild(spec, env=env, prefix=prefix, timeout=1800).digest == digits_aot.digest


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", [pytest.param("docker", marks=pytest.mark.docker), pytest.param("nix", marks=pytest.mark.nix)]
)
def test_one_digest_by_every_backend(digits_aot: Built, tmp_path: Path, backend: str) -> None:
    spec = digits_aot.copy(tmp_path / "kernel")
    env = {"KBUILD_STORE": str(digits_aot.downloads(tmp_path / "store")), "KBUILD_OFFLINE": "1"}
    assert kbuild(spec, "--backend", backend, env=env, timeout=1800).digest == digits_aot.digest


@pytest.mark.slow
@pytest.mark.qemu
def test_every_simulated_host_gives_the_bits_of_a_program_compiled_there(
    digits: Built, digits_aot_both: Built, run: Callable[..., Outcome], tmp_path: Path
) -> None:
    env = {"KBUILD_STORE": str(digits.store)}
    compared = {}
    for name, digest in (("here", digits.digest), ("ahead", digits_aot_both.digest)):
        ran = run("verify", digest, "--inputs", INPUT, "--simulate", "--json", env=env, timeout=3600)
        assert ran.code == 0, ran.stdout + ran.stderr
        compared[name] = json.loads(ran.stdout)
    outputs = [
        {(one["host"], one["receipt"]["result"]["outputs"]["sha256"]) for one in found["runs"]}
        for found in compared.values()
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.slow
@pytest.mark.qemu
def test_an_audit_names_the_code_of_both_platforms(once: Once, kernels_store: Path) -> None:
    """Under the profile whose code XLA emits; of digits as it ships all that computes is native operations."""
    made = once("digits-aot-pinned-both", lambda folder: ahead_of_time(folder, kernels_store, BOTH, profile="pinned"))
    env = {"KBUILD_STORE": str(made.store)}
    data = json.loads(kbuild("inspect", made.digest, "--instructions", "--json", env=env).stdout)
    for item in manifest(made.store, made.digest)["manifests"]:
        platform = f"linux/{item['platform']['architecture']}"
        config = manifest(made.store, manifest(made.store, item["digest"])["config"]["digest"])
        (program,) = data["programs"][platform]
        assert f"sha256:{program['sha256']}" == config["config"]["Labels"]["org.kbuild.aot.0.code"]
        functions = {row["function"] for row in program["audit"]["findings"]}
        assert functions
        assert all(program["operations"][function] for function in functions)


RSQRT = """\
import jax


def scale(params, inputs, key):
    return {"y": jax.lax.rsqrt(inputs["x"])}
"""

SPEC = f"""\
schema = 1

[kernel]
name = "estimate"
version = "1.0.0"
entry = "model:scale"
platforms = ["linux/amd64"]

[python]
requirements = ["jax==0.10.2", "safetensors"]
exclude = ["scipy"]

[xla.flags]
xla_cpu_enable_platform_dependent_math = true

[inputs.x]
dtype = "float32"
shape = [64]

[outputs.y]
dtype = "float32"
shape = [64]
{AOT.replace("sizes.batch = [3]", "")}
"""


@pytest.mark.slow
@pytest.mark.skipif(HOST != "linux/amd64", reason="the instruction is x86-64's")
def test_an_estimate_that_xla_emits_fails_the_build_and_is_named(once: Once, tmp_path: Path, digits: Built) -> None:
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "model.py").write_text(RSQRT)
    ran = kbuild(tmp_path / "spec.toml", env={"KBUILD_STORE": str(digits.store)}, timeout=1800)
    assert ran.code == 2, ran.stderr
    assert "rsqrt" in ran.stderr
    assert "model.py" in ran.stderr


LIES = """\
import atexit
import sys
from pathlib import Path


def scale(params, inputs, key):
    return {"y": inputs["x"] * 2}


def lie():
    path = Path(sys.argv[2]) / "manifest.json"
    said = path.read_bytes().replace(b'"code":"', b'"code":"0').replace(b'"seed":0', b'"seed":1')
    path.write_bytes(said[:said.index(b'"code":"0') + 72] + said[said.index(b'"code":"0') + 73:])


if sys.argv[3:]:
    atexit.register(lie)
"""


@pytest.mark.slow
def test_what_the_compiler_left_is_held_to_its_manifest(tmp_path: Path, digits: Built) -> None:
    """The kernel's code runs beside the compiler, and could write what it likes."""
    (tmp_path / "spec.toml").write_text(SPEC.replace("_math = true", "_math = false"))
    (tmp_path / "model.py").write_text(LIES)
    ran = kbuild(tmp_path / "spec.toml", env={"KBUILD_STORE": str(digits.store)}, timeout=1800)
    assert ran.code == 4, ran.stderr
    assert "manifest.json: does not say what was compiled" in ran.stderr
    assert "seed: 1 where 0 was asked for" in ran.stderr
    assert "0.xla: its hash is" in ran.stderr


def test_a_rendering_has_each_step_once(digits_aot: Built, tmp_path: Path) -> None:
    """Native operations are made for their layer, and asked for again where programs are compiled that call them."""
    env = {"KBUILD_STORE": str(digits_aot.store)}
    target = tmp_path / "rendered"
    rendered = kbuild("render", digits_aot.spec, "--to", target, "--format", "dockerfile", env=env)
    assert rendered.code == 0, rendered.stderr
    inputs = re.findall(r"steps/native-[a-z0-9-]+\.mtree", (target / "Dockerfile").read_text())
    assert len(inputs) >= 2
    assert len(inputs) == len(set(inputs))


@pytest.mark.slow
@pytest.mark.docker
def test_a_rendered_directory_compiles_the_same_programs(digits_aot: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(digits_aot.store)}
    target = tmp_path / "rendered"
    rendered = kbuild("render", digits_aot.spec, "--to", target, "--format", "dockerfile", "--with-inputs", env=env)
    assert rendered.code == 0, rendered.stderr
    tag = "kbuild-test-aot"
    build = ["docker", "build", "--network", "none", "--tag", tag, str(target)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    subprocess.run(["docker", "image", "rm", "--force", tag], check=True, capture_output=True)
