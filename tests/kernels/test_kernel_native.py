"""Compiled code of a kernel's own, from C++ source to a run through the protocol."""

import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from kernels.runtime import native
from kernels.runtime.errors import KernelError

FOLDER = Path(__file__).parent / "native"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """`fold.so`, made with this machine's compiler and the spec's flags."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    made = tmp_path_factory.mktemp("lib") / "fold.so"
    flags = ["-shared", "-fPIC", "-O2", "-ffp-contract=off", "-std=c++17", "-isystem", jax.ffi.include_dir()]
    subprocess.run([compiler, *flags, "-o", made, FOLDER / "fold.cc"], check=True)
    return made


@pytest.fixture
def image(image_of, library):
    made = image_of(FOLDER)
    (made.folder / "lib").mkdir()
    shutil.copy(library, made.folder / "lib")
    return made


def test_a_run_sums_from_left_to_right(image, source):
    rows = np.float32([[1e8, 1, -1e8, 1], [1, 1, 1e8, -1e8], [0.1, 0.2, 0.3, 0.4]])
    rows = np.concatenate([rows, np.random.default_rng(7).normal(size=(50, 4)).astype(np.float32)])
    save_file({"rows": rows}, source / "rows.safetensors")
    ran = image.call(source)
    assert (ran.code, ran.stderr) == (0, "")
    expected = np.zeros(len(rows), np.float32)
    for column in rows.T:
        expected += column  # one rounding per addition, in order
    assert ran.outputs["sums"].tobytes() == expected.tobytes()


def test_the_committed_example(image, source):
    ran = image.call(image.example("cancelling", source))
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.outputs["sums"].tolist() == [1, 0, 1]


def test_a_missing_library_is_one_error(image, source):
    save_file({"rows": np.zeros((1, 1), np.float32)}, source / "rows.safetensors")
    (image.folder / "lib/fold.so").write_bytes(b"not an object")
    ran = image.call(source)
    assert ran.code == 2
    assert ran.stderr.startswith("error: initialise: the native library 'fold' does not load: ")


def test_a_missing_symbol_is_one_error(library):
    native.search(library.parent)
    with pytest.raises(KernelError, match="exports no 'sum_columns'"):
        native.handler("fold", "sum_columns")


def test_a_handler_registers_once(library):
    native.search(library.parent)
    assert native.handler("fold", "sum_rows") == native.handler("fold", "sum_rows") == "fold.sum_rows"
    call = jax.ffi.ffi_call("fold.sum_rows", jax.ShapeDtypeStruct((2,), np.float32))
    assert call(np.ones((2, 3), np.float32)).tolist() == [3, 3]
    wrong = jax.ffi.ffi_call("fold.sum_rows", jax.ShapeDtypeStruct((2,), np.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="sum_rows takes a matrix"):
        wrong(np.ones((2, 3, 1), np.float32)).block_until_ready()
