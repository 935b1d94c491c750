"""Serialised executables that the installed jaxlib makes, and its schema of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from builder.audit.executable import Executable, read
from builder.audit.schema import LIBRARY, Schema, extract


@pytest.fixture(scope="session")
def flags() -> dict[str, str]:
    """That the samples were compiled with."""
    return {"xla_cpu_max_isa": "AVX2", "xla_cpu_experimental_ynn_fusion_type": "-reduce", "xla_cpu_ftz": "false"}


@pytest.fixture(scope="session")
def schema() -> Schema:
    with (Path(jaxlib.__path__[0]).parent / LIBRARY).open("rb") as library:
        return extract(library)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory, flags: dict[str, str]) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    given = " ".join(f"--{name}={value}" for name, value in flags.items())
    environment = {**os.environ, "XLA_FLAGS": given, "NPROC": "2", "JAX_PLATFORMS": "cpu"}
    script = Path(__file__).with_name("xla_samples.py")
    subprocess.run([sys.executable, script, folder], check=True, env=environment, capture_output=True)
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.executable"))}


@pytest.fixture(scope="session")
def found(samples: dict[str, bytes], schema: Schema) -> dict[str, Executable]:
    return {name: read(content, schema) for name, content in samples.items()}
