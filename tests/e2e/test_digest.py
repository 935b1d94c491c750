"""One digest, whatever surrounds the build: the promise that everything else rests on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .conftest import Built, kbuild, manifest, write_kernel

pytestmark = [pytest.mark.network, pytest.mark.sandbox]


Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Around:
    """What surrounds a build: words before the command, variables, and what was done to the kernel's folder."""

    prefix: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    edit: Edit = lambda _: None


def umask(mask: str) -> Around:
    return Around(("sh", "-c", f'umask {mask}; exec "$@"', "sh"))


def remarks_and_line_ends(folder: Path) -> None:
    spec, lock = folder / "spec.toml", folder / "spec.lock"
    spec.write_bytes(b"# a remark\r\n" + spec.read_bytes().replace(b"\n", b"\r\n"))
    lock.write_bytes(lock.read_bytes().replace(b"\n", b"\r\n"))


def another_order_and_age(folder: Path) -> None:
    """Folders list their files in the order in which they came, on a tmpfs the last first."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in sorted(files, reverse=True):
        (folder / name).unlink()
        (folder / name).write_bytes(files[name])
        os.utime(folder / name, (0, 0))


AROUND = {
    "time zone and locale": Around(env={"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "hash seed": Around(env={"PYTHONHASHSEED": "1", "PYTHONUTF8": "0", "LC_ALL": "C"}),
    "one job": Around(
        env={
            "PYTHONHASHSEED": "4294967295", "KBUILD_JOBS": "1", "SOURCE_DATE_EPOCH": "1", "CFLAGS": "-O0",
            "CC": "false",
        }
    ),
    "seven jobs": Around(
        env={"KBUILD_JOBS": "7", "TMPDIR": "/dev/shm", "GCC_COLORS": "", "C_INCLUDE_PATH": "/nowhere", "LD_DEBUG": ""}
    ),
    "umask 000": umask("000"),
    "umask 077": umask("077"),
    "one core": Around(("taskset", "-c", "0")),
    "remarks and line ends": Around(edit=remarks_and_line_ends),
    "another order and age": Around(edit=another_order_and_age),
}  # fmt: skip
TOGETHER = [
    ("time zone and locale", "seven jobs", "umask 000", "remarks and line ends"),
    ("one job", "umask 077", "one core", "another order and age"),
]
"""A build takes 14 s of CPU: each of these shows several things at once. `--slow` tries each alone. That what was
downloaded anew gives the digest of a committed lock, tests/e2e/test_kernels.py shows."""


def rebuilt(small: Built, folder: Path, *names: str) -> str:
    """Build the locked kernel with nothing but downloads in a new store, on a file system in memory."""
    around = [AROUND[name] for name in names]
    place = Path("/dev/shm") / f"kbuild {os.getpid()} ü"
    env = {"KBUILD_STORE": str(small.downloads(folder / "store")), "KBUILD_OFFLINE": "1"}
    try:
        spec = small.copy(place)
        for one in around:
            one.edit(place)
            env |= one.env
        return kbuild(spec, env=env, prefix=[word for one in around for word in one.prefix]).digest
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_second_run_gives_the_same_digest_and_makes_nothing(small: Built) -> None:
    again = kbuild(small.spec, env={"KBUILD_STORE": str(small.store)})
    assert again.digest == small.digest
    assert "nothing changed" in again.stderr


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset")
def test_nothing_around_a_build_shows_in_it(small: Built, tmp_path: Path, names: tuple[str, ...]) -> None:
    assert rebuilt(small, tmp_path, *names) == small.digest


@pytest.mark.slow
@pytest.mark.parametrize("name", AROUND)
def test_nor_does_it_alone(small: Built, tmp_path: Path, name: str) -> None:
    assert rebuilt(small, tmp_path, name) == small.digest


@pytest.mark.slow
def test_downloads_from_scratch(both: Built, tmp_path: Path) -> None:
    spec = both.copy(tmp_path / "kernel")
    assert kbuild(spec, env={"KBUILD_STORE": str(tmp_path / "store")}).digest == both.digest


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
        env |= AROUND["hash seed"].env
        assert kbuild(home / "kernel" / "spec.toml", env=env, prefix=prefix, cwd=home).digest == small.digest
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _readable_by_nobody(path: str) -> bool:
    probe = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "-c", "import builder.cli.main"]
    root = str(Path(__file__).resolve().parents[2])
    return (
        subprocess.run(probe, env={**os.environ, "PYTHONPATH": root}, capture_output=True, check=False).returncode == 0
    )


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
