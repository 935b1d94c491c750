"""The zoo: fast = referee, compiled = operation by operation, any threads and level, rows alone, near to stock JAX."""

import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import other_cpu
import pytest
import zoo_run
from agreement import LEVELS
from zoo import PROGRAMS
from zoo_run import digest, leaves, run, traced

from kernels.runtime.portable import library
from kernels.runtime.portable.grouping import alone
from kernels.runtime.portable.transform import portable

FEW = list(PROGRAMS)[::11]
"""Run by default; the others take a minute more and are marked slow."""
EACH = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in PROGRAMS]


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@functools.cache
def compiled(name):
    with jax.enable_x64(True):
        return jax.device_get(run(name))


def same(name, others):
    """Equal bits, or an account of the first elements that differ."""
    for index, (one, other) in enumerate(zip(leaves(compiled(name)), leaves(others), strict=True)):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), f"result {index}"
        parted = [(one[at], other[at]) for at in np.ndindex(one.shape) if one[at].tobytes() != other[at].tobytes()]
        assert not parted, f"result {index}: {len(parted)} of {one.size} differ, such as {parted[:3]}"


def test_it_is_large_enough():
    assert len(PROGRAMS) >= 60


@pytest.mark.parametrize("name", EACH)
def test_fast_is_the_referee(name):
    with library.arbitrated():
        same(name, run(name))


@pytest.mark.parametrize("name", EACH)
def test_compiled_is_operation_by_operation(name):
    one = PROGRAMS[name]
    same(name, portable(one.function, alone)(*one.inputs()))


@pytest.mark.parametrize("name", EACH)
def test_compiled_is_traced(name):
    same(name, traced(name))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW[::3] else pytest.mark.slow) for name in PROGRAMS]
)
def test_compiled_is_compiled_ahead(name, tmp_path):
    zoo_run.compiled(name, tmp_path)
    same(name, zoo_run.ahead(name, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_is_not_compiled(name):
    one = PROGRAMS[name]
    with jax.disable_jit():
        same(name, portable(one.function)(*one.inputs()))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_again_and_again(name):
    one = PROGRAMS[name]
    function, inputs = jax.jit(portable(one.function)), one.inputs()
    assert {digest(function(*inputs)) for _ in range(200)} == {digest(compiled(name))}


@pytest.mark.parametrize("name", [name for name in EACH if PROGRAMS[name.values[0]].rows])
def test_a_row_alone_has_the_bits_it_has_among_others(name):
    first, *others = PROGRAMS[name].inputs()
    for row in {0, len(first) - 1}:
        for one, all_of_them in zip(
            leaves(jax.jit(portable(PROGRAMS[name].function))(first[row : row + 1], *others)),
            leaves(compiled(name)),
            strict=True,
        ):
            assert one[0].tobytes() == all_of_them[row].tobytes()


@pytest.mark.parametrize("name", [name for name in EACH if PROGRAMS[name.values[0]].close is not None])
def test_near_to_stock(name):
    one = PROGRAMS[name]
    stock = jax.jit(one.function)(*one.inputs())
    for index, (got, wanted) in enumerate(zip(leaves(compiled(name)), leaves(stock), strict=True)):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), f"result {index}"
        if got.size:
            double = np.complex128 if got.dtype.kind == "c" else np.float64
            apart = np.max(np.abs(got.astype(double) - wanted.astype(double)))
            assert apart <= one.close * max(1e-30, np.max(np.abs(wanted.astype(double)))), f"result {index}"


def elsewhere(libraries, *arguments, threads=2, prefix=()):
    """Hashes of the zoo in a process of its own."""
    done = subprocess.run(
        [*prefix, sys.executable, Path(__file__).with_name("zoo_run.py"), libraries, *arguments],
        env=os.environ | {"NPROC": str(threads), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return dict(map(json.loads, done.stdout.splitlines()))


def test_threads_and_levels_in_few(libraries):
    names = FEW[::2]
    assert elsewhere(libraries, "--level", min(levels()), *names, threads=3) == {
        name: digest(compiled(name)) for name in names
    }


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("model", "names"),
    [
        *((model, FEW[index::4]) for index, model in enumerate(other_cpu.MODELS)),
        *(pytest.param(model, list(PROGRAMS), marks=pytest.mark.slow) for model in other_cpu.MODELS),
    ],
)
def test_as_another_cpu(libraries, tmp_path, model, names):
    """With its name and features; this CPU's silicon executes what is compiled and dispatched for it."""
    prefix = other_cpu.prefix(tmp_path, model)
    if prefix is None:
        pytest.skip("needs qemu-x86_64-static, gcc, and a CPU and a kernel with CPUID faulting")
    level = "from kernels.runtime.portable import library; print(library.level())"
    line = [*prefix, sys.executable, "-c", level]
    told = subprocess.run(line, cwd=Path(__file__).parents[3], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert told == "portable-v3\n"
    for mode in ("jit", "operations"):
        found = elsewhere(libraries, "--mode", mode, *names, prefix=prefix)
        assert found == {name: digest(compiled(name)) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 16])
def test_any_number_of_threads(libraries, threads):
    assert elsewhere(libraries, threads=threads) == {name: digest(compiled(name)) for name in PROGRAMS}


@pytest.mark.slow
def test_every_level_this_cpu_has(libraries):
    for level in levels():
        assert elsewhere(libraries, "--level", level) == {name: digest(compiled(name)) for name in PROGRAMS}


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates from x86-64")
@pytest.mark.parametrize("model", ["Haswell", "EPYC-Rome"])
def test_other_x86_cpus(libraries, model):
    prefix = ["qemu-x86_64-static", "-cpu", model]
    assert elsewhere(libraries, prefix=prefix) == {name: digest(compiled(name)) for name in PROGRAMS}


@pytest.mark.slow
@pytest.mark.qemu
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates from x86-64")
def test_lists_of_operations_are_equal_on_other_cpus(libraries):
    names = ["attention", "branches", "softmax_bfloat16"]
    lists = elsewhere(libraries, "--mode", "list", *names)
    assert None not in lists.values()
    assert elsewhere(libraries, "--mode", "list", *names, prefix=["qemu-x86_64-static", "-cpu", "Haswell"]) == lists


def levels():
    """The libraries of vector operations that this CPU can run; the least comes first in order of name."""
    return {level for level in LEVELS if level <= library.level()}
