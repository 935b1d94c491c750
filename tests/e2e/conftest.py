"""The real command in real processes, on a small kernel that is locked once per test run."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[2]

HOST = "linux/arm64" if platform.machine() == "aarch64" else "linux/amd64"

SPEC = f"""\
schema = 1

[kernel]
name = "small"
version = "1.0.0"
entry = "model:scale"
files = ["model.py"]
platforms = ["{HOST}"]

[compiler]
flags = ["-O2", "-ffp-contract=off"]

[native.scale]
sources = ["scale.cc"]

[weights.table]
source = "file:table.bin"

[inputs.x]
dtype = "float32"
shape = ["n"]

[outputs.y]
dtype = "float32"
shape = ["n"]
"""

MODEL = '''\
"""Doubles its input."""


def scale(params, inputs, key):
    return {"y": inputs["x"] * 2}
'''

NATIVE = """\
#include <cmath>
extern "C" double scale(double x) { return std::fma(x, 2.0, __LINE__); }
const char *where() { return __FILE__; }
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def digest(self) -> str:
        assert self.code == 0, self.stderr
        lines = self.stdout.splitlines()
        assert len(lines) == 1, self.stdout
        assert lines[0].startswith("sha256:")
        return lines[0]


def kbuild(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
    timeout: float = 900,
) -> Outcome:
    """Run the command as a user would; `prefix` goes before the interpreter (`taskset`, an emulator, `setpriv`)."""
    run = subprocess.run(
        [*prefix, sys.executable, "-m", "builder", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})},
        cwd=cwd, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
    return Outcome(run.returncode, run.stdout, run.stderr)


def write_kernel(folder: Path, spec: str = SPEC) -> Path:
    """A kernel without JAX, with one native object and one local weights file: every kind of layer in few bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.toml").write_text(spec)
    (folder / "model.py").write_text(MODEL)
    (folder / "scale.cc").write_text(NATIVE)
    (folder / "table.bin").write_bytes(bytes(range(256)) * 64)
    return folder / "spec.toml"


@dataclass(frozen=True)
class Built:
    """A kernel that was locked and built once: `spec`, its `digest`, and the `store` that holds everything."""

    spec: Path
    digest: str
    store: Path

    def copy(self, folder: Path) -> Path:
        """The kernel with its lock in another folder; returns its spec."""
        shutil.copytree(self.spec.parent, folder)
        return folder / "spec.toml"

    def downloads(self, store: Path) -> Path:
        """Another store with the lock's artifacts and nothing that was made from them."""
        import tomli

        lock = tomli.loads(self.spec.with_suffix(".lock").read_text())
        blobs = store / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for sha256 in {item["sha256"] for item in lock["artifact"]}:
            source = self.store / "blobs" / "sha256" / sha256
            if source.exists():
                os.link(source, blobs / sha256)
        return store


def build_once(folder: Path, spec: str = SPEC, store: Path | None = None) -> Built:
    """Lock and build a kernel, in a store of its own if none is given."""
    store = store or folder / "store"
    path = write_kernel(folder / "kernel", spec)
    outcome = kbuild(path, env={"KBUILD_STORE": str(store)})
    return Built(path, outcome.digest, store)


Once = Callable[[str, Callable[[Path], Built]], Built]


@pytest.fixture(scope="session")
def once(shared: Path) -> Once:
    """A function that makes what all processes of a test run share: the first to ask makes it, others wait."""

    def get(name: str, make: Callable[[Path], Built]) -> Built:
        record = shared / f"{name}.json"
        with FileLock(shared / f"{name}.lock"):
            if record.exists():
                spec, digest, store = json.loads(record.read_text())
                return Built(Path(spec), digest, Path(store))
            made = make(shared / name)
            record.write_text(json.dumps([str(made.spec), made.digest, str(made.store)]))
            return made

    return get


@pytest.fixture(scope="session")
def small(once: Once) -> Built:
    """For this machine's platform alone: rebuilding it takes seconds."""
    return once("small", build_once)


@pytest.fixture(scope="session")
def both(once: Once, kernels_store: Path) -> Built:
    """For both platforms; the other one's C++ is compiled by a cross compiler. In the store of the shipped kernels."""
    spec = SPEC.replace(f'["{HOST}"]', '["linux/amd64", "linux/arm64"]')
    return once("both", lambda folder: build_once(folder, spec, kernels_store))


@pytest.fixture(scope="session")
def kernels(once: Once, kernels_store: Path) -> Callable[[str], Built]:
    """A function that builds one of the shipped kernels from its committed lock; all of them share one store."""

    def build(folder: Path) -> Built:
        shutil.copytree(REPOSITORY / "kernels" / folder.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        spec = folder / "spec.toml"
        built = kbuild(spec, "--locked", env={"KBUILD_STORE": str(kernels_store)})
        return Built(spec, built.digest, kernels_store)

    return lambda name: once(name, build)


@pytest.fixture(scope="session")
def digits(kernels: Callable[[str], Built]) -> Built:
    return kernels("digits")


@pytest.fixture(scope="session")
def minilm(kernels: Callable[[str], Built]) -> Built:
    return kernels("minilm")


def ahead_of_time(
    folder: Path,
    store: Path,
    platforms: str = f'platforms = ["{HOST}"]',
    extra: str = "\n[aot]\nsizes.batch = [3]\n",
    profile: str = "portable",
) -> Built:
    """Digits with programs in it, locked and built; with the shipped lock's packages, which a store has much for."""
    shutil.copytree(REPOSITORY / "kernels" / "digits", folder, ignore=shutil.ignore_patterns("__pycache__"))
    spec = folder / "spec.toml"
    text = spec.read_text().replace(BOTH, platforms)
    spec.write_text(text.replace('profile = "portable"', f'profile = "{profile}"') + extra)
    env = {"KBUILD_STORE": str(store)}
    assert kbuild("lock", spec, env=env).code == 0
    return Built(spec, kbuild(spec, env=env, timeout=1800).digest, store)


@pytest.fixture(scope="session")
def digits_aot(once: Once, kernels_store: Path) -> Built:
    return once("digits-aot", lambda folder: ahead_of_time(folder, kernels_store))


BOTH = 'platforms = ["linux/amd64", "linux/arm64"]'


@pytest.fixture(scope="session")
def digits_aot_both(once: Once, kernels_store: Path) -> Built:
    return once("digits-aot-both", lambda folder: ahead_of_time(folder, kernels_store, BOTH))


def under(profile: str, kernel: Built, folder: Path) -> Built:
    """A kernel under another profile, locked and built; its golden outputs are not that profile's."""
    spec = kernel.copy(folder / "kernel")
    kept = [line for line in spec.read_text().splitlines() if not line.startswith(("forbid = ", "outputs = "))]
    text, changed = re.subn(r'^profile = "\w+"', f'profile = "{profile}"', "\n".join(kept), flags=re.MULTILINE)
    assert changed == 1
    spec.write_text(text + "\n")
    env = {"KBUILD_STORE": str(kernel.store)}
    assert kbuild("lock", spec, env=env).code == 0
    return Built(spec, kbuild(spec, env=env).digest, kernel.store)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Outcome]:
    """`kbuild` with a store of its own unless `env` names one."""

    def call(*arguments: str | Path, env: Mapping[str, str] | None = None, **options: object) -> Outcome:
        return kbuild(*arguments, env={"KBUILD_STORE": str(tmp_path / "store"), **(env or {})}, **options)

    return call


def manifest(store: Path, digest: str) -> dict:
    return json.loads((store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes())
