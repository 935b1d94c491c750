"""The native operations, compiled with this machine's compiler by the recipe that images use, or out of an image."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest
import tomli
from filelock import FileLock

from builder.backends.roots import image_root
from builder.oci.image import load
from builder.pipeline.run import runnable
from builder.platforms import host_platform
from builder.store.blobs import Store
from kernels.runtime import native
from kernels.runtime.portable import library

SOURCES = Path(library.__file__).parent
REPOSITORY = Path(__file__).parents[3]
HOST = "linux/arm64" if platform.machine() == "aarch64" else "linux/amd64"


def compile_libraries(
    folder: Path, compiler: str = "g++", target: str = HOST, given: Collection[str] = frozenset()
) -> None:
    """Make those of a platform that are not given, where a source is newer; side by side, each source an object."""
    recipe = tomli.loads((SOURCES / "native/build.toml").read_text())
    shared = [*SOURCES.rglob("*.h"), SOURCES / "native/build.toml"]
    headers = max(path.stat().st_mtime for path in shared)
    jobs, libraries = {}, {}
    for item in recipe["library"]:
        if item["platform"] != target or item["name"] in given:
            continue
        flags = [f"-march={item['march']}", *item["flags"], *recipe["flags"], "-fPIC"]
        flags += ["-isystem", jax.ffi.include_dir()]
        objects = []
        for source in sorted(path for place in item["folders"] for path in (SOURCES / place).glob("*.cc")):
            made = folder / item["name"] / f"{source.stem}.o"
            objects.append(made)
            if not made.exists() or made.stat().st_mtime < max(headers, source.stat().st_mtime):
                made.parent.mkdir(exist_ok=True)
                jobs[made] = [compiler, *flags, "-c", "-o", made.with_suffix(".new"), source]
        libraries[folder / f"{item['name']}.so"] = objects
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda made: _replace(made, jobs[made]), jobs))
    for library_file, objects in libraries.items():
        if not library_file.exists() or not jobs.keys().isdisjoint(objects):
            partial = library_file.with_suffix(".new")
            _replace(library_file, [compiler, "-shared", "-o", partial, *objects])


def _replace(made: Path, command: list) -> None:
    subprocess.run(command, check=True, cwd=SOURCES.parent)
    made.with_suffix(".new").replace(made)


def take_libraries(folder: Path, store: Path) -> set[str]:
    """Link to those of minilm's image, built in this store; returns the names of those that can be loaded here.

    The referee's asks for a newer C library than Debian 12 has.
    """
    line = [sys.executable, "-m", "builder", REPOSITORY / "kernels/minilm", "--locked", "--quiet"]
    environ = {**os.environ, "KBUILD_STORE": str(store), "PYTHONPATH": str(REPOSITORY)}
    built = subprocess.run(line, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    kept = Store(store)
    image = runnable(load(kept, built.stdout.strip()).manifest(host_platform()))
    taken = set()
    for file in (image_root(kept, image.layers) / native.IMAGE.relative_to("/")).glob("*.so"):
        try:
            ctypes.CDLL(str(file))
        except OSError:
            continue
        link = folder / file.name
        if not link.exists() or not link.samefile(file):
            link.unlink(missing_ok=True)
            link.symlink_to(file)
        taken.add(file.stem)
    return taken


@pytest.fixture(scope="session")
def libraries(shared, kernels_store):
    """The folder of compiled libraries, one for all processes; KBUILD_TEST_PORTABLE names one to keep between runs."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    folder = Path(os.environ.get("KBUILD_TEST_PORTABLE") or shared / "portable")
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        given = take_libraries(folder, kernels_store) if "KBUILD_TEST_STORE" in os.environ else frozenset()
        compile_libraries(folder, given=given)
    return folder


@pytest.fixture(autouse=True)
def searched(libraries):
    """Runs in this process that other tests made have looked elsewhere."""
    native.search(libraries)
