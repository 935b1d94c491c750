"""The native operations, compiled with this machine's compiler by the recipe that images use."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import jax
import pytest
import tomli

from kernels.runtime import native
from kernels.runtime.portable import library

SOURCES = Path(library.__file__).parent
HOST = "linux/arm64" if platform.machine() == "aarch64" else "linux/amd64"


def compile_libraries(folder: Path, compiler: str = "g++", target: str = HOST) -> None:
    """Make those of a platform, this one, that are older than their sources."""
    recipe = tomli.loads((SOURCES / "native/build.toml").read_text())
    for item in recipe["library"]:
        sources = sorted((SOURCES / item["folder"]).glob("*.cc"))
        if item["platform"] != target or not sources:
            continue
        made = folder / f"{item['name']}.so"
        used = [path for path in SOURCES.rglob("*") if path.suffix in {".cc", ".h", ".toml"}]
        if made.exists() and all(path.stat().st_mtime < made.stat().st_mtime for path in used):
            continue
        flags = [*recipe["flags"], f"-march={item['march']}", "-shared", "-fPIC", "-isystem", jax.ffi.include_dir()]
        partial = made.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *flags, f"-I{SOURCES}", "-o", partial, *sources], check=True)
        partial.replace(made)


@pytest.fixture(scope="session", autouse=True)
def libraries(tmp_path_factory):
    """The folder of compiled libraries; KBUILD_TEST_PORTABLE names one to keep between runs."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    kept = os.environ.get("KBUILD_TEST_PORTABLE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("portable")
    folder.mkdir(exist_ok=True)
    compile_libraries(folder)
    native.search(folder)
    return folder
