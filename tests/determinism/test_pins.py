"""The environment of an image: closed, sorted, capped at the declared CPU, and real libraries obey it."""

import subprocess
import sys

import pytest

from builder.determinism.pins import environment, pins, unmet, xla_flags
from builder.determinism.table import CLOSED, GUARANTEES, NUMERIC, UNAVOIDABLE
from builder.errors import SpecError
from builder.platforms import host_platform
from builder.spec.model import HardwareTable, Spec

AMD64, ARM64 = "linux/amd64", "linux/arm64"


def spec_of(dtype="float32", **tables):
    return Spec.model_validate(
        {
            "schema": 1,
            "kernel": {"name": "k", "version": "1.0.0", "entry": "model:f"},
            "inputs": {"x": {"dtype": dtype}},
            "outputs": {"y": {"dtype": "float32"}},
            **tables,
        }
    )


NONE = {"determinism": {"profile": "none"}}


def test_the_pinned_environment_of_each_platform():
    assert environment(spec_of(), AMD64) == {
        "DNNL_MAX_CPU_ISA": "AVX2",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
        "HOME": "/tmp",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
        "JAX_ENABLE_X64": "false",
        "JAX_PLATFORMS": "cpu",
        "JAX_THREEFRY_PARTITIONABLE": "true",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "NPROC": "2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OMP_NUM_THREADS": "2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PJRT_NPROC": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": "/opt/kbuild",
        "PYTHONSAFEPATH": "1",
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "0",
        "TZ": "UTC",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=false --xla_cpu_enable_fast_min_max=false"
        " --xla_cpu_enable_platform_dependent_math=false"
        " --xla_cpu_experimental_ynn_fusion_type=-reduce,-individual_convolution"
        " --xla_cpu_ftz=false --xla_cpu_max_isa=AVX2 --xla_cpu_prefer_vector_width=256",
    }
    on_arm = environment(spec_of(), ARM64)
    assert on_arm["OPENBLAS_CORETYPE"] == "ARMV8"
    assert on_arm["NPY_DISABLE_CPU_FEATURES"] == "ASIMDHP ASIMDDP ASIMDFHM SVE"
    assert {"DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "GLIBC_TUNABLES"}.isdisjoint(on_arm)
    assert "max_isa" not in on_arm["XLA_FLAGS"]


def test_without_a_profile_only_the_world_is_closed():
    names = {pin.name for pin in CLOSED}
    assert set(environment(spec_of(**NONE), AMD64)) == names
    assert environment(spec_of(**NONE), AMD64) == environment(spec_of(**NONE), ARM64)
    own = spec_of(**NONE, xla={"flags": {"xla_b": True, "xla_a": 3}})
    assert environment(own, AMD64)["XLA_FLAGS"] == "--xla_a=3 --xla_b=true"


def test_it_is_sorted_and_depends_on_nothing_else(monkeypatch):
    before = list(environment(spec_of(), AMD64).items())
    monkeypatch.setenv("NPROC", "17")
    monkeypatch.setenv("XLA_FLAGS", "--xla_x=1")
    assert list(environment(spec_of(), AMD64).items()) == before == sorted(before)


def test_threads_set_every_pool_but_the_one_that_cannot_exceed_the_cores():
    pinned = environment(spec_of(determinism={"threads": 7}), AMD64)
    assert {pinned[name] for name in ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS")} == {"7"}
    assert pinned["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("dtype", "value"), [("float64", "true"), ("int64", "true"), ("int32", "false")])
def test_64_bits_where_they_are_declared(dtype, value):
    assert environment(spec_of(dtype), AMD64)["JAX_ENABLE_X64"] == value
    assert environment(spec_of(dtype, **NONE), AMD64)["JAX_ENABLE_X64"] == value


def test_the_specs_flags_have_the_last_word():
    own = spec_of(xla={"flags": {"xla_cpu_ftz": True, "xla_cpu_prefer_vector_width": 128, "xla_own": "x"}})
    flags = xla_flags(own, AMD64)
    assert (flags["xla_cpu_ftz"], flags["xla_cpu_prefer_vector_width"], flags["xla_own"]) == ("true", "128", "x")
    assert flags["xla_cpu_max_isa"] == "AVX2"
    assert list(flags) == sorted(flags)


@pytest.mark.parametrize(
    ("level", "isa", "onednn", "openblas", "numpy"),
    [
        ("x86-64-v2", "SSE4_2", "SSE41", "Nehalem", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"),
        ("x86-64-v3", "AVX2", "AVX2", "Haswell", "X86_V4 AVX512_ICL AVX512_SPR"),
        ("x86-64-v4", "AVX512", "AVX512_CORE", "SkylakeX", "AVX512_ICL AVX512_SPR"),
    ],
)
def test_caps_follow_the_declared_cpu(level, isa, onednn, openblas, numpy):
    pinned = environment(spec_of(hardware={"cpu": {"amd64": level}}), AMD64)
    assert f"--xla_cpu_max_isa={isa} " in pinned["XLA_FLAGS"]
    assert pinned["ONEDNN_MAX_CPU_ISA"] == pinned["DNNL_MAX_CPU_ISA"] == onednn
    assert pinned["OPENBLAS_CORETYPE"] == openblas
    assert pinned["NPY_DISABLE_CPU_FEATURES"] == numpy
    assert ("GLIBC_TUNABLES" in pinned) == (level != "x86-64-v4")


def test_every_row_says_why():
    for pin in (*CLOSED, *NUMERIC):
        assert pin.why
        assert pin.source
        assert pin.platforms
    assert not any(pin.numeric for pin in CLOSED)
    assert all(pin.numeric for pin in NUMERIC)
    for platform in (AMD64, ARM64):
        names = [pin.name for pin, _ in pins(spec_of(), platform)]
        assert len(names) == len(set(names))


def test_whatever_may_be_forbidden_has_a_guarantee_or_a_reason():
    (choices,) = HardwareTable.model_fields["forbid"].annotation.__args__[:1]
    assert set(choices.__args__) == set(GUARANTEES) | set(UNAVOIDABLE)


def test_the_pinned_profile_keeps_everything_that_can_be_forbidden():
    assert unmet(spec_of(hardware={"forbid": list(GUARANTEES)}), AMD64) == []
    assert unmet(spec_of(hardware={"forbid": list(GUARANTEES)}), ARM64) == []


@pytest.mark.parametrize(
    ("name", "flag"),
    [(name, flag) for name, flags in GUARANTEES.items() for flag in flags],
)
def test_a_flag_that_lets_it_in_is_refused(name, flag):
    spec = spec_of(hardware={"forbid": ["tf32", name]}, xla={"flags": {flag: True}})
    (problem,) = unmet(spec, AMD64)
    assert problem.loc == ("hardware", "forbid", 1)
    assert flag in problem.message
    with pytest.raises(SpecError, match=flag) as caught:
        environment(spec, AMD64)
    assert caught.value.exit_code == 2
    assert caught.value.hint == f"take {flag} out of [xla] flags"


def test_without_a_profile_the_spec_must_guarantee_it_itself():
    forbid = {"hardware": {"forbid": ["rsqrt-approximation"]}}
    (problem,) = unmet(spec_of(**NONE, **forbid), AMD64)
    assert problem.hint == "set xla_cpu_enable_platform_dependent_math = false in [xla] flags"
    own = {"xla": {"flags": {"xla_cpu_enable_platform_dependent_math": False}}}
    assert unmet(spec_of(**NONE, **forbid, **own), AMD64) == []


@pytest.mark.parametrize("name", ["fast-math"])
@pytest.mark.parametrize(
    "tables", [{"compiler": {"flags": ["-Ofast"]}}, {"native": {"op": {"sources": ["a.c"], "flags": ["-Ofast"]}}}]
)
def test_the_compiler_can_let_it_in_too(name, tables):
    own = {"xla": {"flags": dict.fromkeys(GUARANTEES[name], False)}}
    (problem,) = unmet(spec_of(**NONE, **own, **tables, hardware={"forbid": [name]}), AMD64)
    assert "-Ofast" in problem.message


MODE = """
import jax, jax.numpy as jnp, numpy as np
tiny = np.full(100_000, 1e-36, np.float32)
product = np.asarray(jax.jit(lambda x, y: x * y)(tiny, np.float32(1e-4)))
print(np.count_nonzero(product), tiny.dtype.type(1e-36) * np.float32(1e-4) != 0)
"""


def test_xla_flushes_subnormal_numbers_whatever_it_is_told():
    """If this fails, XLA can keep them now, and `flush-to-zero` can be promised again."""
    env = environment(spec_of(), host_platform())
    assert "--xla_cpu_ftz=false" in env["XLA_FLAGS"]
    run = subprocess.run(
        [sys.executable, "-c", MODE], env={**env, "PYTHONPATH": ""}, capture_output=True, text=True, check=False
    )
    assert run.stdout == "0 True\n", run.stderr


PROBE = """
import hashlib, sys, warnings
warnings.simplefilter("error")
import numpy as np, jax, jax.numpy as jnp
rows = (np.arange(512 * 640, dtype=np.float32) % 8191 / 8191 - 0.5).reshape(512, 640)
digest = hashlib.sha256()
for f in (jnp.sum, lambda a: a.sum(0), lambda a: a @ a.T, jax.lax.rsqrt, jax.nn.softmax):
    digest.update(np.asarray(jax.jit(f)(rows)).tobytes())
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
print(digest.hexdigest(), [name for name in __cpu_dispatch__ if __cpu_features__[name]], jax.config.jax_enable_x64)
"""


def probe(spec):
    env = environment(spec, host_platform())
    del env["PYTHONPATH"]
    run = subprocess.run(
        [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


@pytest.mark.skipif(host_platform() != AMD64, reason="amd64's pins")
def test_jax_and_numpy_know_every_pin_and_sums_no_longer_follow_threads():
    """XLA ends the process on a flag it does not know; NumPy warns, and warnings are errors here."""
    two = probe(spec_of())
    assert two.split()[1:] == ["['X86_V3']", "False"]
    assert probe(spec_of(determinism={"threads": 1})) == two
