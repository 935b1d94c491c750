"""One digest, whatever surrounds the build: the promise that everything else rests on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Built, kbuild, manifest, write_kernel

pytestmark = [pytest.mark.network, pytest.mark.sandbox]


def rebuilt(small: Built, folder: Path, **options: object) -> str:
    """Build the locked kernel with nothing but downloads in a new store."""
    spec = small.copy(folder / "kernel")
    store = small.downloads(folder / "store")
    env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1", **options.pop("env", {})}
    return kbuild(spec, env=env, **options).digest


def test_a_second_run_gives_the_same_digest_and_makes_nothing(small: Built) -> None:
    again = kbuild(small.spec, env={"KBUILD_STORE": str(small.store)})
    assert again.digest == small.digest
    assert "nothing changed" in again.stderr


def test_an_empty_store_and_another_folder(small: Built, tmp_path: Path) -> None:
    assert rebuilt(small, tmp_path / "a folder with spaces ü") == small.digest


def test_downloads_from_scratch(both: Built, tmp_path: Path) -> None:
    spec = both.copy(tmp_path / "kernel")
    assert kbuild(spec, env={"KBUILD_STORE": str(tmp_path / "store")}).digest == both.digest


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        {"PYTHONHASHSEED": "1", "PYTHONUTF8": "0", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "4294967295", "KBUILD_JOBS": "1", "SOURCE_DATE_EPOCH": "1", "CFLAGS": "-O0", "CC": "false"},
        {"KBUILD_JOBS": "7", "TMPDIR": "/dev/shm", "GCC_COLORS": "", "C_INCLUDE_PATH": "/nowhere", "LD_DEBUG": ""},
    ],
    ids=["time zone and locale", "hash seed", "one job", "seven jobs"],
)
def test_environments(small: Built, tmp_path: Path, environment: dict[str, str]) -> None:
    assert rebuilt(small, tmp_path, env=environment) == small.digest


@pytest.mark.parametrize("mask", ["000", "077"])
def test_umask(small: Built, tmp_path: Path, mask: str) -> None:
    prefix = ["sh", "-c", f'umask {mask}; exec "$@"', "sh"]
    assert rebuilt(small, tmp_path, prefix=prefix) == small.digest


@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset")
def test_one_core(small: Built, tmp_path: Path) -> None:
    assert rebuilt(small, tmp_path, prefix=["taskset", "-c", "0"]) == small.digest


@pytest.mark.root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_an_ordinary_user(small: Built, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything that the user touches is theirs; what they cannot read is left behind."""
    home = Path("/var/tmp") / f"kbuild-user-{os.getpid()}"
    home.mkdir(mode=0o755)
    try:
        shutil.copytree(small.spec.parent, home / "kernel")
        store = home / "store"
        blobs = store / "blobs" / "sha256"
        small.downloads(tmp_path_factory.mktemp("downloads"))
        blobs.mkdir(parents=True)
        for blob in (tmp_path_factory.getbasetemp()).glob("downloads*/blobs/sha256/*"):
            shutil.copy(blob, blobs)
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        if not _readable_by_nobody(sys.executable):
            pytest.skip("this interpreter is not readable by other users")
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
        env = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1", "HOME": str(home), "XDG_CACHE_HOME": str(home)}
        assert kbuild(home / "kernel" / "spec.toml", env=env, prefix=prefix, cwd=home).digest == small.digest
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _readable_by_nobody(path: str) -> bool:
    probe = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "-c", "import builder.cli.main"]
    root = str(Path(__file__).resolve().parents[2])
    return (
        subprocess.run(probe, env={**os.environ, "PYTHONPATH": root}, capture_output=True, check=False).returncode == 0
    )


def test_comments_order_and_line_ends_do_not_count(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    text = spec.read_text().replace("\n", "\r\n")
    spec.write_bytes(b"# a remark\r\n" + text.encode())
    lock = spec.with_suffix(".lock")
    lock.write_bytes(lock.read_bytes().replace(b"\n", b"\r\n"))
    env = {"KBUILD_STORE": str(small.downloads(tmp_path / "store")), "KBUILD_OFFLINE": "1"}
    assert kbuild(spec, env=env).digest == small.digest


def test_files_read_in_another_order_from_another_file_system(small: Built, tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"kbuild-{os.getpid()}"
    try:
        names = sorted((path.name for path in small.spec.parent.iterdir()), reverse=True)
        (folder / "kernel").mkdir(parents=True)
        for name in names:
            shutil.copyfile(small.spec.parent / name, folder / "kernel" / name)
            os.utime(folder / "kernel" / name, (0, 0))
        env = {"KBUILD_STORE": str(small.downloads(tmp_path / "store")), "KBUILD_OFFLINE": "1"}
        assert kbuild(folder / "kernel" / "spec.toml", env=env).digest == small.digest
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_another_model_is_another_digest_and_one_new_layer(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "model.py").write_text((spec.parent / "model.py").read_text() + "\n")
    outcome = kbuild(spec, env={"KBUILD_STORE": str(small.store)})
    assert outcome.digest != small.digest
    assert outcome.stderr.count(" made ") == 1


def test_another_flag_is_another_native_layer(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    spec.write_text(spec.read_text().replace('"-O2"', '"-O1"'))
    refused = kbuild(spec, env={"KBUILD_STORE": str(small.store)})
    assert refused.code == 2
    assert "kbuild lock" in refused.stderr
    assert kbuild("lock", spec, env={"KBUILD_STORE": str(small.store)}).code == 0
    assert kbuild(spec, env={"KBUILD_STORE": str(small.store)}).digest != small.digest


def test_both_platforms_share_what_is_equal(both: Built) -> None:
    index = manifest(both.store, both.digest)
    platforms = [item["platform"]["architecture"] for item in index["manifests"]]
    assert platforms == ["amd64", "arm64"]
    first, second = (
        {layer["digest"] for layer in manifest(both.store, item["digest"])["layers"]} for item in index["manifests"]
    )
    assert first & second, "wheels, weights and the kernel are the same for both"
    assert first - second, "the operating system and compiled code are not"


def test_a_fresh_lock_of_the_same_spec_builds_too(tmp_path: Path, small: Built) -> None:
    spec = write_kernel(tmp_path / "kernel")
    outcome = kbuild(spec, env={"KBUILD_STORE": str(small.store)})
    assert outcome.digest == small.digest, "the registries have not changed since the first lock a minute ago"
