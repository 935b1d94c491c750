"""The wheel: all that it needs, nothing else, the same bytes each time; and it works far from the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

REPOSITORY = Path(__file__).resolve().parents[2]
CLEAN = {
    key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "KBUILD_STORE"))
}

Run = Callable[..., subprocess.CompletedProcess[str]]


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, umask: int = 0o022, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a program that must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=CLEAN | dict(env or {}), umask=umask, capture_output=True, text=True,
        check=False, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def uv() -> str:
    import uv

    return uv.find_uv_bin()


def files_of(folder: str) -> list[str]:
    """What a clone would hold there: what `.gitignore` leaves, and no empty folders."""
    ignored = {".git", *(line.rstrip("/") for line in (REPOSITORY / ".gitignore").read_text().split())}
    found = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    names = (path.relative_to(REPOSITORY) for path in found)
    return [
        name.as_posix() for name in names if not any(fnmatch(part, each) for part in name.parts for each in ignored)
    ]


def clone(target: Path) -> Path:
    """A copy of what is tracked or could be: no caches, no empty folders."""
    for name in files_of("."):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target / name)
    return target


def build(source: Path, out: Path, **more: object) -> Path:
    env = {"SOURCE_DATE_EPOCH": "1600000000"} | dict(more.pop("env", {}))
    run(uv(), "build", "--wheel", "--quiet", "--out-dir", out, source, cwd=source, env=env, **more)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(clone(folder / "clone"), folder / "out")


@pytest.fixture(scope="session")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    run(uv(), "venv", "--quiet", "venv", cwd=folder)
    run(uv(), "pip", "install", "--quiet", "--python", folder / "venv", wheel, cwd=folder)
    return folder / "venv" / "bin"


@pytest.fixture
def kbuild(venv: Path, tmp_path: Path) -> Run:
    def call(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
        return run(venv / "kbuild", *words, cwd=tmp_path, env={"KBUILD_STORE": str(tmp_path / "store")}, **more)

    return call


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = set(files_of("builder"))
    shipped = [*files_of("templates"), *files_of("nix"), *files_of("kernels/runtime"), "kernels/__init__.py"]
    expected |= {f"builder/_shipped/{name}" for name in shipped}
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == expected
    assert {name.partition("/")[2] for name in info} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip
    for name in ("spec/schema.json", "layers/known_scripts.toml", "layers/compile_bytecode.py", "py.typed",
                 "_shipped/templates/init/spec.toml.j2", "_shipped/kernels/runtime/__main__.py",
                 "lock/debian/keys/debian-archive-trixie-automatic.asc"):  # fmt: skip
        assert f"builder/{name}" in names


def test_every_file_is_a_plain_one(wheel: Path) -> None:
    for item in zipfile.ZipFile(wheel).infolist():
        assert stat.S_IMODE(item.external_attr >> 16) == 0o644, item.filename


def test_the_same_bytes_from_another_folder_user_mask_and_time(wheel: Path, tmp_path: Path) -> None:
    source = clone(tmp_path / "quite" / "another place")
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    env = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    again = build(source, tmp_path / "out", env=env, umask=0o077)
    assert again.name == wheel.name
    assert hashlib.sha256(again.read_bytes()).hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_its_metadata(wheel: Path) -> None:
    import email

    import builder

    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    metadata = email.message_from_bytes(archive.read(name))
    assert (metadata["Name"], metadata["Version"]) == ("kbuild", builder.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert wheel.name == f"kbuild-{builder.__version__}-py3-none-any.whl"


def test_what_is_installed_fits_together(venv: Path, tmp_path: Path) -> None:
    run(uv(), "pip", "check", "--python", venv.parent, cwd=tmp_path)
    absent = run(venv / "python", "-c", "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('jax'))",
                 cwd=tmp_path)  # fmt: skip
    assert absent.stdout == "None None\n"


def test_every_module_can_be_imported(venv: Path, tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, builder
names = [item.name for item in pkgutil.walk_packages(builder.__path__, "builder.")]
for name in names:
    if "_shipped" not in name and not name.endswith(("__main__", "compile_bytecode")):
        importlib.import_module(name)
print(len(names), builder.__file__)
"""
    said = run(venv / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert int(said[0]) > 100
    assert said[1].startswith(str(venv.parent)), "not the checkout's"


def test_it_works_away_from_the_checkout(kbuild: Run, tmp_path: Path) -> None:
    import builder

    assert kbuild("--version").stdout == f"kbuild {builder.__version__}\n"
    assert kbuild("schema").stdout == (REPOSITORY / "builder" / "spec" / "schema.json").read_text()
    assert kbuild("init", "demo").stdout == "demo/spec.toml\n"
    for template in (REPOSITORY / "templates" / "init").rglob("*.j2"):
        written = template.relative_to(REPOSITORY / "templates" / "init").with_suffix("")
        assert (tmp_path / "demo" / written).is_file()


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_first_kernel_from_nothing_to_a_result(kbuild: Run, tmp_path: Path) -> None:
    spec = kbuild("init", "demo", "-q").stdout.strip()
    assert kbuild("lock", spec, timeout=600).stdout == "demo/spec.lock\n"
    digest = kbuild(spec, timeout=900).stdout.strip()
    assert digest.startswith("sha256:")
    assert digest in (tmp_path / "demo" / "spec.lock").read_text()
    assert kbuild(spec, "-q").stdout.strip() == digest
    ran = json.loads(kbuild("run", digest, "--input", "demo/examples/inputs.json", "--json", timeout=300).stdout)
    again = json.loads(kbuild("run", spec, "--input", "demo/examples/inputs.json", "--json", timeout=300).stdout)
    outputs = ran["receipt"]["result"]["outputs"]
    assert outputs["tensors"]["y"]["shape"] == [3, 2]
    assert again["receipt"]["result"]["outputs"] == outputs
    shown = kbuild("run", digest, "--set", "x=[[1, 2, 3, 4]]", timeout=300)
    assert shown.stdout.startswith("y float32 [1, 2] ")
