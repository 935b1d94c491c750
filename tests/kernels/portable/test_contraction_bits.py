"""The same bits from other compilers and processors: the native sources on their own, without JAX."""

import shutil
import subprocess
from pathlib import Path

import jax
import pytest
import tomli

from kernels.runtime.portable import library

SOURCES = Path(library.__file__).parent
PROGRAM = Path(__file__).with_name("contraction_bits.cc")
DIGEST = "3b75e79cebb81e55"
"""Of the specification's version 1, on any host; the program also checks every element against plain loops."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "march", "emulator"),
    [
        ("x86_64-linux-gnu-g++", "x86-64-v3", "qemu-x86_64-static -cpu Haswell"),
        ("aarch64-linux-gnu-g++", "armv8-a", "qemu-aarch64-static -cpu cortex-a72"),
        ("aarch64-linux-gnu-g++", "armv8-a", "qemu-aarch64-static -cpu max"),
    ],
)
@pytest.mark.qemu
def test_bits_of_other_processors(compiler, march, emulator, tmp_path):
    emulator, *model = emulator.split()
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    flags = tomli.loads((SOURCES / "native/build.toml").read_text())["flags"]
    names = ("shared/parallel.cc", "vector/gemm.cc", "vector/gemm_table.cc", "vector/gemv.cc")
    native = [SOURCES / "native" / name for name in names]
    command = [compiler, "-O2", *flags, f"-march={march}", "-static", "-isystem", jax.ffi.include_dir(), f"-I{SOURCES}"]
    subprocess.run([*command, "-o", tmp_path / "program", PROGRAM, *native], check=True)
    ran = subprocess.run([emulator, *model, tmp_path / "program"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"{DIGEST}\n")
