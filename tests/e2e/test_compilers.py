"""A kernel with C++ of its own, built by each compiler and run: exact operations have one result."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from .conftest import HOST, REPOSITORY, Built, kbuild, manifest

pytestmark = [pytest.mark.network, pytest.mark.sandbox]

COMPILERS = {"gcc": "14", "clang": "19", "zig": "0.17"}
SLOW = {"zig": [pytest.mark.slow]}
EACH = pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, [])) for name in COMPILERS])


def write(folder: Path, name: str, *platforms: str) -> Path:
    """tests/kernels/native for another compiler."""
    shutil.copytree(REPOSITORY / "tests/kernels/native", folder)
    spec = folder / "spec.toml"
    text = spec.read_text().replace('name = "gcc"\nversion = "14"', f'name = "{name}"\nversion = "{COMPILERS[name]}"')
    quoted = ", ".join(f'"{platform}"' for platform in platforms)
    spec.write_text(text.replace('files = ["model.py"]', f'files = ["model.py"]\nplatforms = [{quoted}]'))
    return spec


@pytest.fixture(scope="module")
def built(digits: Built, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Built]:
    """A function that builds the kernel with a compiler for platforms; in a store that has the wheels' layers."""
    folder = tmp_path_factory.mktemp("compilers")

    @cache
    def build(name: str, *platforms: str) -> Built:
        spec = write(folder / "-".join((name, *platforms)).replace("/", "-"), name, *platforms)
        return Built(spec, kbuild(spec, env={"KBUILD_STORE": str(digits.store)}).digest, digits.store)

    return build


def rows(folder: Path) -> tuple[Path, np.ndarray]:
    """Inputs whose sums depend on the order, and the sums from left to right."""
    values = np.random.default_rng(7).normal(size=(50, 33)).astype(np.float32)
    values[0, :4] = (1e8, 1, -1e8, 1)
    path = folder / "rows.safetensors"
    save_file({"rows": values}, path)
    sums = np.zeros(len(values), np.float32)
    for column in values.T:
        sums += column
    return path, sums


def outputs(made: Built, folder: Path, platform: str) -> bytes:
    path, expected = rows(folder)
    into = folder / platform.replace("/", "-")
    arguments = ("run", made.digest, "--input", path, "--output", into, "--platform", platform)
    ran = kbuild(*arguments, env={"KBUILD_STORE": str(made.store)}, timeout=1800)
    assert ran.code == 0, ran.stderr
    sums = load_file(into / "outputs.safetensors")["sums"]
    assert sums.tobytes() == expected.tobytes()
    return sums.tobytes()


@EACH
def test_each_compiler_builds_a_kernel_that_runs(built: Callable[..., Built], name: str, tmp_path: Path) -> None:
    made = built(name, HOST)
    outputs(made, tmp_path, HOST)
    annotations = manifest(made.store, made.digest)["annotations"]
    assert re.fullmatch(rf"{name} (1:)?{re.escape(COMPILERS[name])}\.[0-9].*", annotations["org.kbuild.compiler"])
    assert annotations["org.kbuild.compiler.flags"] == "-O2 -ffp-contract=off"


def test_each_compiler_gives_its_own_digest(built: Callable[..., Built]) -> None:
    assert built("gcc", HOST).digest != built("clang", HOST).digest


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.parametrize("name", COMPILERS)
def test_both_platforms(built: Callable[..., Built], name: str, tmp_path: Path) -> None:
    made = built(name, "linux/amd64", "linux/arm64")
    assert outputs(made, tmp_path, "linux/amd64") == outputs(made, tmp_path, "linux/arm64")
