"""Other people's tools take the image and run it to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from .conftest import Built, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox]


def tool(*command: str | Path, env: dict[str, str] | None = None) -> str:
    run = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    assert run.returncode == 0, f"{command}: {run.stdout}\n{run.stderr}"
    return run.stdout


@pytest.fixture(scope="module")
def ours(digits: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of `kbuild run` on the example."""
    folder = tmp_path_factory.mktemp("ours") / "out"
    example = digits.spec.parent / "examples" / "three.json"
    done = kbuild("run", digits.digest, "--input", example, "--output", folder, env={"KBUILD_STORE": str(digits.store)})
    assert done.code == 0, done.stderr
    return folder


def exported(built: Built, folder: Path) -> Path:
    done = kbuild("export", built.digest, folder, env={"KBUILD_STORE": str(built.store)})
    assert done.stdout.strip() == built.digest, done.stderr
    return folder


@pytest.fixture(scope="module")
def layout(digits: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(digits, tmp_path_factory.mktemp("layout") / "oci")


@pytest.fixture(scope="module")
def without_jax(both: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of an image of a third of the size, for tools that only move files about."""
    return exported(both, tmp_path_factory.mktemp("without") / "oci")


@pytest.fixture
def mounts(digits: Built, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of inputs and an empty one for outputs, for an engine to mount."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    shutil.copy(digits.spec.parent / "examples" / "three.json", source)
    return source, target


def assert_equal_bits(ours: Path, theirs: Path) -> None:
    assert (ours / "outputs.safetensors").read_bytes() == (theirs / "outputs.safetensors").read_bytes()
    receipts = [json.loads((folder / "receipt.json").read_bytes())["result"] for folder in (ours, theirs)]
    assert receipts[0]["outputs"] == receipts[1]["outputs"]


@pytest.mark.oci_tools
def test_skopeo_inspects_and_copies(both: Built, without_jax: Path, tmp_path: Path) -> None:
    seen = json.loads(tool("skopeo", "inspect", "--raw", f"oci:{without_jax}:1.0.0"))
    assert [item["platform"]["architecture"] for item in seen["manifests"]] == ["amd64", "arm64"]
    described = json.loads(tool("skopeo", "inspect", f"oci:{without_jax}:1.0.0"))
    assert described["Labels"]["org.opencontainers.image.title"] == "small"
    copy = tmp_path / "copy"
    tool("skopeo", "copy", "--all", "--preserve-digests", f"oci:{without_jax}:1.0.0", f"oci:{copy}:again")
    index = json.loads((copy / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == both.digest


@pytest.mark.oci_tools
@pytest.mark.root
def test_umoci_unpacks(without_jax: Path, tmp_path: Path) -> None:
    """umoci before 0.5 reads neither zstd nor an index of several platforms: skopeo picks one and recompresses it."""
    plain = tmp_path / "plain"
    tool(
        "skopeo", "copy", "--override-arch", "amd64", "--dest-compress", "--dest-compress-format=gzip",
        f"oci:{without_jax}:1.0.0", f"oci:{plain}:one",
    )  # fmt: skip
    tool("umoci", "unpack", "--image", f"{plain}:one", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "opt/kernel/spec.json").is_file()
    assert (root / "lib").readlink() == Path("usr/lib")


@pytest.mark.oci_tools
@pytest.mark.root
def test_podman_runs_it(ours: Path, layout: Path, mounts: tuple[Path, Path]) -> None:
    source, target = mounts
    place = Path(tempfile.mkdtemp(prefix="kp", dir="/var/tmp"))  # podman wants a short path
    storage = ["--root", place / "s", "--runroot", place / "r"]
    name = tool("podman", *storage, "pull", "-q", f"oci:{layout}:1.0.0").strip()
    try:
        tool(
            "podman", *storage, "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--network", "none",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--read-only",
            "-v", f"{source}:/io/in:ro", "-v", f"{target}:/io/out", name,
        )  # fmt: skip
    finally:
        tool("podman", *storage, "rmi", "-f", name)
        shutil.rmtree(place)
    assert_equal_bits(ours, target)


@pytest.mark.docker
def test_docker_loads_and_runs_it(digits: Built, ours: Path, mounts: tuple[Path, Path], tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    exported = kbuild("export", digits.digest, archive, "--docker", env={"KBUILD_STORE": str(digits.store)})
    assert exported.code == 0, exported.stderr
    config = exported.stdout.strip()
    tool("docker", "load", "-q", "-i", archive)
    try:
        assert tool("docker", "image", "inspect", "-f", "{{.Id}}", config).strip() == config
        source, target = mounts
        tool(
            "docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp",
            "-v", f"{source}:/io/in:ro", "-v", f"{target}:/io/out", config,
        )  # fmt: skip
    finally:
        tool("docker", "rmi", "-f", config)
    assert_equal_bits(ours, target)


def test_exports_are_the_same_bytes_each_time(small: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(small.store)}
    for target in (tmp_path / "a.tar", tmp_path / "b.tar"):
        assert kbuild("export", small.digest, target, env=env).code == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_the_bill_of_materials_is_attached(layout: Path, digits: Built) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    bills = [item for item in index["manifests"] if item.get("artifactType") == "application/vnd.cyclonedx+json"]
    assert len(bills) == 1
    manifest = json.loads((layout / "blobs/sha256" / bills[0]["digest"][7:]).read_bytes())
    assert manifest["subject"]["digest"] == digits.digest
    bill = json.loads((layout / "blobs/sha256" / manifest["layers"][0]["digest"][7:]).read_bytes())
    names = {component["name"] for component in bill["components"]}
    assert {"jaxlib", "libc6", "python3.13"} <= names


def test_arm64_gives_the_golden_bits(digits: Built, tmp_path: Path) -> None:
    out = tmp_path / "out"
    example = digits.spec.parent / "examples" / "three.json"
    done = kbuild(
        "run", digits.digest, "--platform", "linux/arm64", "--input", example, "--output", out,
        env={"KBUILD_STORE": str(digits.store)},
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert json.loads((out / "receipt.json").read_bytes())["result"]["platform"] == "linux/arm64"
    golden = digits.spec.parent / "examples" / "three.outputs.safetensors"
    assert (out / "outputs.safetensors").read_bytes() == golden.read_bytes()
