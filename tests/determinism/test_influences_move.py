"""Each influence that can act on a CPU, let go on purpose: bits move, and the comparison of runs names where.

A run is one process with the pinned environment of a spec. Between two of them one thing differs, never two.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.determinism.influence import Seen
from builder.determinism.influences import INFLUENCES
from builder.determinism.pins import environment
from builder.harness.compare.differ import diff
from builder.harness.compare.model import Status
from builder.platforms import host_platform
from builder.spec.model import Spec

PROBE = Path(__file__).with_name("influence_probe.py")
SPEC = {
    "schema": 1,
    "kernel": {"name": "probe", "version": "1.0.0", "entry": "probe:main"},
    "inputs": {"x": {"dtype": "float32"}},
    "outputs": {"y": {"dtype": "float32"}},
}
LET_GO: dict[str, tuple[dict[str, str | None], set[str]]] = {
    "prng": ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, {"normal"}),
    "x64": ({"JAX_ENABLE_X64": "true"}, {"third"}),
    "fma-contraction": ({"xla_cpu_max_isa": "SSE4_2"}, {"fused", "exp"}),
    "vector-width": ({"xla_cpu_prefer_vector_width": "128"}, {"gemv"}),
    "rsqrt-approximation": ({"xla_cpu_enable_platform_dependent_math": "true"}, {"rsqrt"}),
    "fast-math": ({"xla_cpu_enable_fast_math": "true"}, {"columns"}),
    "ynnpack": ({"xla_cpu_experimental_ynn_fusion_type": None}, {"columns"}),
    "matmul-dispatch": ({"TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "1"}, {"transposed", "convolution"}),
    "lapack-dispatch": ({"OPENBLAS_CORETYPE": "Nehalem"}, {"cholesky", "solve"}),
    "lapack-threads": ({"OPENBLAS_NUM_THREADS": "2"}, {"eigh"}),
    "libm-dispatch": ({"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX"}, {"libm"}),
    "numpy-dispatch": ({"NPY_DISABLE_CPU_FEATURES": None}, {"numpy"}),
    "threads": ({"NPROC": "1", "PJRT_NPROC": "1"}, {"transposed"}),
    "hash-seed": ({"PYTHONHASHSEED": "5"}, {"set"}),
    "time-zone": ({"TZ": "Asia/Tokyo"}, {"date"}),
    "environment": ({"PROBE_VARIABLE": "leaked"}, {"variable"}),
    "flush-to-zero": ({"PROBE_MODE": "flush"}, {"subnormal"}),
    "rounding-mode": ({"PROBE_MODE": "upwards"}, {"rounded"}),
    "seed": ({"PROBE_SEED": "8"}, {"normal"}),
    "weights": ({"PROBE_BIT": "1"}, {"product"}),
}
"""By influence: variables or XLA flags that differ from the pinned ones (None: left out), and what must move."""

STILL: dict[str, dict[str, str | None]] = {
    "matmul-precision": {"JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"},
    "fast-min-max": {"xla_cpu_enable_fast_min_max": "true"},
    "llvm-ftz": {"xla_cpu_ftz": "true"},
    "openmp": {"OMP_NUM_THREADS": "7"},
    "locale": {"LANG": "tr_TR.UTF-8", "LC_ALL": None, "LC_NUMERIC": "de_DE.UTF-8"},
    "memory-layout": {"PROBE_SHIFT": "x" * 7919},  # and with addresses that are not random
}
"""Influences that are let go all at once, and no bit moves."""

ELSEWHERE = {
    "os": "measured between two releases of Debian; an image has one",
    "program": "tests/kernels/runtime: another program has another hash",
    "inputs": "tests/kernels/runtime: other inputs have another hash",
    "constants": "test_folding_constants_moves_bits",
    "affinity": "test_cores_move_bits_only_while_a_pool_follows_them",
    "native-code": "test_contraction_in_native_code_moves_bits",
    "cache-sizes": "test_other_caches_move_bits_that_nothing_pins",
}
"""Influences that a test of its own moves, or another one."""

pytestmark = pytest.mark.skipif(host_platform() != "linux/amd64", reason="the values are amd64's")


def pinned(**changes: str | None) -> dict[str, str]:
    found = environment(Spec.model_validate(SPEC), "linux/amd64")
    del found["PYTHONPATH"]
    flags = dict(flag.removeprefix("--").split("=") for flag in found.pop("XLA_FLAGS").split())
    for name, value in changes.items():
        place = flags if name.startswith("xla_") else found
        place.pop(name, None)
        if value is not None:
            place[name] = value
    return {**found, "XLA_FLAGS": " ".join(f"--{name}={value}" for name, value in flags.items())}


def probed(target: Path, *prefix: str, **changes: str | None) -> Path:
    command = [*prefix, sys.executable, str(PROBE), str(target)]
    run = subprocess.run(command, env=pinned(**changes), capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    return target


def moved(a: Path, b: Path) -> set[str]:
    return {item.name for item in diff(a, b) if item.status is not Status.EQUAL}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run per influence, and two with nothing let go."""
    folder = tmp_path_factory.mktemp("influences")
    wanted = {"pinned": {}, "again": {}, **{name: changes for name, (changes, _) in LET_GO.items()}}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = {name: pool.submit(probed, folder / f"{name}.st", **changes) for name, changes in wanted.items()}
    return {name: run.result() for name, run in found.items()}


def test_pinned_runs_agree(runs):
    assert moved(runs["pinned"], runs["again"]) == set()


def avx512() -> bool:
    return " avx512f " in Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize("name", LET_GO)
def test_letting_it_go_moves_bits(runs, name):
    if name == "numpy-dispatch" and not avx512():
        pytest.skip("NumPy has nothing above AVX2 to pick on this CPU")
    if name == "lapack-threads" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: OpenBLAS makes one thread whatever it is told")
    found = moved(runs["pinned"], runs[name])
    assert LET_GO[name][1] <= found
    assert "passed" not in found or name in {"fma-contraction", "x64"}  # not simply everything


def test_every_influence_that_moves_bits_is_let_go_by_a_test():
    assert {item.name for item in INFLUENCES if item.seen is Seen.MOVED} == set(LET_GO) | set(ELSEWHERE)


@pytest.mark.skipif(shutil.which("setarch") is None, reason="needs setarch")
def test_what_is_said_to_move_nothing_moves_nothing(runs, tmp_path):
    assert {item.name for item in INFLUENCES if item.seen is Seen.STILL} == {
        *STILL,
        "sys",
    }  # which a sandbox takes away
    changes = {name: value for every in STILL.values() for name, value in every.items()}
    assert moved(runs["pinned"], probed(tmp_path / "still.st", "setarch", "-R", **changes)) == set()


def test_folding_constants_moves_bits(runs):
    from safetensors.numpy import load_file

    found = load_file(runs["pinned"])
    assert found["folded"].tobytes() != found["passed"].tobytes()


@pytest.mark.skipif(shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_cores_move_bits_only_while_a_pool_follows_them(runs, tmp_path):
    one = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    assert moved(runs["pinned"], probed(tmp_path / "held.st", *one)) == set()
    assert moved(runs["lapack-threads"], probed(tmp_path / "open.st", *one, OPENBLAS_NUM_THREADS="2")) == {"eigh"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_contraction_in_native_code_moves_bits(tmp_path):
    source = tmp_path / "f.c"
    source.write_text("float f(float a, float b, float c) { return a * b + c; }\n")
    found = []
    for choice in ("off", "fast"):
        library = tmp_path / f"{choice}.so"
        flags = ["-O2", "-mfma", f"-ffp-contract={choice}", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, str(source), "-o", str(library)], check=True)
        load = f"import ctypes; f = ctypes.CDLL({str(library)!r}).f; f.restype = ctypes.c_float"
        show = "print(f(*map(ctypes.c_float, (1.1, 1.1, -1.21))).hex())"
        code = f"{load}; {show}"
        found.append(subprocess.check_output([sys.executable, "-c", code]))
    assert found[0] != found[1]


FOLLOWING = {"small", "gradient", "imaginary"}
"""Programs with a long product that is transposed on its left, or complex."""


@pytest.fixture
def other_caches(tmp_path):
    """A function that probes with caches of other sizes, as CPUID tells them."""
    facts = Path("/proc/cpuinfo").read_text()
    if " cpuid_fault" not in facts or "GenuineIntel" not in facts or shutil.which("cc") is None:
        pytest.skip("needs a C compiler, and an Intel CPU that lets a process answer CPUID itself")
    library = tmp_path / "other_caches.so"
    source = Path(__file__).with_name("other_caches.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return lambda sizes: probed(tmp_path / f"{sizes}.st", LD_PRELOAD=str(library), OTHER_CACHES=sizes)


def test_other_caches_move_bits_that_nothing_pins(other_caches):
    """Eigen cuts these sums by the first level's size: 32 KiB up to Skylake and Zen 4, 48 from Ice Lake on."""
    assert moved(other_caches("32,1024"), other_caches("48,1024")) == FOLLOWING


@pytest.mark.slow
@pytest.mark.qemu
def test_of_another_cpu_only_the_caches_move_bits(runs, tmp_path):
    """A convolution over 4608 values each, which YNNPACK cuts by the CPU, stays."""
    emulated = probed(tmp_path / "q.st", "qemu-x86_64-static", "-cpu", "EPYC-Rome")
    sizes = subprocess.check_output(["getconf", "LEVEL1_DCACHE_SIZE"], text=True).strip()
    assert moved(runs["pinned"], emulated) == (FOLLOWING if sizes != "32768" else set())


def test_a_program_names_what_follows_the_caches():
    """A compiled program is told from its text, before it ever meets another CPU."""
    command = [sys.executable, str(PROBE), "--following"]
    environ = pinned() | {"PYTHONPATH": str(PROBE.parents[2])}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, check=True)
    assert set(run.stdout.split()) == FOLLOWING | {"transposed"}  # which is large: several threads do it
