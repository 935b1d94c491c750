"""What goes wrong outside ends in one clear error, the right exit code, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SPEC, Built, Outcome, kbuild, write_kernel

Run = Callable[..., Outcome]
SLOW = pytest.mark.slow


def refused(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.count("error: ") >= 1
    for word in words:
        assert word in outcome.stderr, outcome.stderr


def test_no_such_spec(run: Run, tmp_path: Path) -> None:
    refused(run(tmp_path / "absent.toml"), 2, "absent.toml", "kbuild init")


def test_every_mistake_of_a_spec_is_shown_at_its_place(run: Run, tmp_path: Path) -> None:
    text = SPEC.replace("name =", "nmae =").replace('dtype = "float32"', 'dtype = "float31"', 1)
    spec = write_kernel(tmp_path / "kernel", text)
    outcome = run(spec)
    refused(outcome, 2, "unknown key 'nmae'", "did you mean 'name'", "spec.toml:4:1", "float31", "^^^")
    assert not spec.with_suffix(".lock").exists()


def test_a_wrong_type(run: Run, tmp_path: Path) -> None:
    spec = write_kernel(tmp_path / "kernel", SPEC + '\n[determinism]\nthreads = "two"\n')
    refused(run(spec), 2, "threads", "spec.toml:")


@pytest.mark.parametrize("name", ["model.py", "scale.cc", "table.bin"])
def test_a_missing_file(small: Built, tmp_path: Path, name: str) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / name).unlink()
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), 2, name)


@pytest.mark.network
def test_a_package_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    spec = write_kernel(tmp_path / "kernel", SPEC + '\n[os]\npackages = ["python3", "pyhton3-minimal"]\n')
    refused(run(spec), 2, "pyhton3-minimal", "python3-minimal")
    assert not spec.with_suffix(".lock").exists()


@pytest.mark.network
def test_a_package_version_that_is_gone(run: Run, tmp_path: Path) -> None:
    spec = write_kernel(tmp_path / "kernel", SPEC + '\n[os]\npackages = ["python3=3.13.0-1"]\n')
    refused(run(spec), 2, "3.13.0-1")


@pytest.mark.network
def test_a_requirement_without_a_wheel(run: Run, tmp_path: Path) -> None:
    spec = write_kernel(tmp_path / "kernel", SPEC + '\n[python]\nrequirements = ["numpy==1.19.0"]\n')
    refused(run(spec), 2, "numpy")


def test_a_lock_that_no_longer_fits(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    spec.write_text(spec.read_text() + '\n[python]\nrequirements = ["opt-einsum"]\n')
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), 2, "no longer fits", "opt-einsum", "kbuild lock")


def test_changed_weights_are_not_built_in_silently(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "table.bin").write_bytes(b"other")
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), 2, "table.bin", "kbuild lock")


@pytest.mark.sandbox
def test_code_that_does_not_compile(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "scale.cc").write_text("int main( {\n")
    before = spec.with_suffix(".lock").read_bytes()
    outcome = kbuild(spec, env={"KBUILD_STORE": str(small.store)})
    refused(outcome, 2, "scale.cc", "error")
    assert spec.with_suffix(".lock").read_bytes() == before


@pytest.mark.sandbox
def test_a_compiler_cannot_reach_the_host(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "scale.cc").write_text('#include "/etc/hostname"\nint x;\n')
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), 2, "/etc/hostname")


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.parametrize(
    "damage", ["flipped", pytest.param("truncated", marks=SLOW), pytest.param("empty", marks=SLOW)]
)
def test_a_blob_that_decayed(small: Built, tmp_path: Path, damage: str) -> None:
    spec = small.copy(tmp_path / "kernel")
    store = small.downloads(tmp_path / "store")
    blob = max((store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    blob.unlink()  # a hard link: the original stays whole
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    blob.write_bytes({"truncated": data[:-1], "flipped": data, "empty": b""}[damage])
    env = {"KBUILD_STORE": str(store)}
    refused(kbuild(spec, "--offline", env=env), 4, "corrupt")
    assert not blob.exists(), "it was moved aside, so the next build can fetch it"
    refused(kbuild(spec, "--offline", env=env), 3, "offline")
    assert kbuild(spec, env=env).digest == small.digest


def test_offline_says_everything_that_is_missing(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    env = {"KBUILD_STORE": str(tmp_path / "empty")}
    refused(kbuild(spec, "--offline", env=env), 3, "numpy", "libc6", "offline")


def test_offline_without_a_lock(run: Run, tmp_path: Path) -> None:
    spec = write_kernel(tmp_path / "kernel")
    refused(run(spec, "--offline"), 3, "offline")
    assert not spec.with_suffix(".lock").exists()


def test_locked_without_a_lock(run: Run, tmp_path: Path) -> None:
    refused(run(write_kernel(tmp_path / "kernel"), "--locked"), 2, "kbuild lock")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('sha256 = "', 'sha256 = "zz', 2),
        ('path = "pool/', 'path = "/pool/', 2),
        ('path = "pool/', 'path = "../pool/', 2),
        ("format = 2", "format = 3", 2),
        ("size = ", "size = -", 2),
        ("epoch = ", "epoch = 1 # ", 2),
        ("[[artifact]]", "[[artefact]]", 2),
    ],
)
def test_an_edited_lock(small: Built, tmp_path: Path, old: str, new: str, code: int) -> None:
    spec = small.copy(tmp_path / "kernel")
    lock = spec.with_suffix(".lock")
    lock.write_text(lock.read_text().replace(old, new, 1))
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), code, "spec.lock")


def test_a_lock_of_another_hash_is_a_mismatch(small: Built, tmp_path: Path) -> None:
    """A mirror, or whoever edited the lock, cannot have other bytes taken."""
    import tomli

    spec = small.copy(tmp_path / "kernel")
    lock = spec.with_suffix(".lock")
    item = next(item for item in tomli.loads(lock.read_text())["artifact"] if item["name"] == "libc6")
    lock.write_text(lock.read_text().replace(item["sha256"], "0" * 64))
    outcome = kbuild(spec, env={"KBUILD_STORE": str(small.downloads(tmp_path / "store"))})
    assert outcome.code in (3, 4), outcome.stderr
    refused(outcome, outcome.code, "libc6")


@pytest.mark.sandbox
def test_a_recorded_digest_that_a_build_does_not_meet(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    lock = spec.with_suffix(".lock")
    wrong = "sha256:" + "1" * 64
    lock.write_text(lock.read_text().replace(small.digest, wrong))
    refused(kbuild(spec, env={"KBUILD_STORE": str(small.store)}), 5, wrong, small.digest)


def test_a_digest_that_is_not_there(run: Run) -> None:
    refused(run("run", "sha256:" + "2" * 64), 3, "not in the store")
    refused(run("inspect", "sha256:12"), 2)
    refused(run("export", "2" * 64, "/nowhere/x"), 3)


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root writes everywhere")
def test_a_store_that_cannot_be_written(small: Built, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o555)
    spec = small.copy(tmp_path / "kernel")
    prefix: list[str] = []
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", store]
    if os.geteuid() == 0 and subprocess.run(mount, check=False).returncode:
        pytest.skip("cannot mount a read-only file system here")
    try:
        refused(kbuild(spec, env={"KBUILD_STORE": str(store)}, prefix=prefix), 3, str(store))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", store], check=True)


@pytest.mark.root
@pytest.mark.sandbox
def test_a_full_disk(small: Built, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", store], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        spec = small.copy(tmp_path / "kernel")
        before = sorted(path.name for path in spec.parent.iterdir())
        refused(kbuild(spec, env={"KBUILD_STORE": str(store)}), 3, "space")
        assert sorted(path.name for path in spec.parent.iterdir()) == before
    finally:
        subprocess.run(["umount", store], check=True)


@pytest.mark.sandbox
@pytest.mark.network
def test_a_read_only_kernel_folder_still_builds(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    assert kbuild(spec, "--locked", env={"KBUILD_STORE": str(small.store)}).digest == small.digest
