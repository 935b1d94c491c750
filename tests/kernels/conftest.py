"""Kernels laid out as in an image, and calls of the runtime on them."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import rfc8785
from safetensors.numpy import load_file

from builder.determinism.pins import environment
from builder.platforms import host_platform
from builder.spec.load import load
from builder.spec.model import Spec

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ran:
    """What came of one call."""

    code: int
    stderr: str
    out: Path

    @property
    def receipt(self):
        return json.loads((self.out / "receipt.json").read_bytes())

    @property
    def outputs(self):
        return load_file(self.out / "outputs.safetensors")


class Image:
    """The part of an image's file system that the runtime looks at, made from a kernel's folder as a build makes it."""

    def __init__(self, folder, root, out):
        self.kernel, self.root, self.out = folder, root, out
        self.folder = root / "opt/kernel"
        self.folder.mkdir(parents=True)
        self.spec = load(folder / "spec.toml").model_dump(mode="json", by_alias=True)
        self.write_spec()
        for pattern in self.spec["kernel"]["files"]:
            for path in folder.glob(pattern):
                shutil.copy(path, self.folder / path.name)
        for name, table in self.spec["weights"].items():
            if table["source"].startswith("file:"):
                self.add_weights(name, folder / table["source"].removeprefix("file:"))

    def example(self, name, source):
        """Put an example's inputs into a folder of inputs."""
        shutil.copy(self.kernel / self.spec["examples"][name]["inputs"], source)
        return source

    def write_spec(self, **tables):
        """Write spec.json and environment.json; `tables` adds to the spec's own."""
        for table, values in tables.items():
            self.spec[table] |= values
        (self.folder / "spec.json").write_bytes(rfc8785.dumps(self.spec))
        # As a build does, but with the runtime out of this checkout.
        pinned = environment(Spec.model_validate(self.spec), host_platform()) | {"PYTHONPATH": str(REPOSITORY)}
        (self.folder / "environment.json").write_bytes(rfc8785.dumps(pinned))

    def add_weights(self, name, path):
        (self.folder / "weights" / name).mkdir(parents=True)
        (self.folder / "weights" / name / path.name).symlink_to(path)

    def environment(self):
        """The environment of the image's configuration."""
        return json.loads((self.folder / "environment.json").read_bytes())

    def call(self, source, environ=None, out=None):
        """Run the runtime as the image's entry point does, in a process of its own."""
        out = out or self.out
        command = [sys.executable, "-m", "kernels.runtime"]
        command += ["--root", str(self.root), "--input", str(source), "--output", str(out)]
        environ = self.environment() if environ is None else environ
        done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout == ""
        return Ran(done.returncode, done.stderr, out)


@pytest.fixture(scope="session")
def module_from():
    """A function that imports a Python file under a name that nothing else has."""

    def load_module(path):
        spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_module


@pytest.fixture
def image_of(tmp_path):
    """A function from a kernel's folder to its image."""

    def make(folder):
        out = tmp_path / "out"
        out.mkdir()
        return Image(folder, tmp_path / "root", out)

    return make


@pytest.fixture
def tiny(image_of):
    """The tiny kernel's image."""
    return image_of(HERE / "tiny")


@pytest.fixture
def source(tmp_path):
    """An empty folder for inputs."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder
