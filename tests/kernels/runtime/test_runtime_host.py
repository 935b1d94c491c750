"""What a host must be, what was seen of this one, and the pins that its environment must carry."""

import dataclasses
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.determinism.pins import environment
from builder.determinism.pins import pins as builder_pins
from builder.determinism.pins import xla_flags as builder_xla_flags
from builder.spec.model import Spec
from kernels.runtime import check, declared, host, pins
from kernels.runtime.errors import HostError, KernelError

HASWELL = check.LEVELS["x86-64-v3"]
GOOD = host.Host("x86_64", HASWELL, cores=4, memory=1 << 34, nearest=True, denormals=True)
ARM = host.Host("aarch64", check.LEVELS["armv8.2-a"], cores=4, memory=1 << 34, nearest=True, denormals=True)


@pytest.fixture
def spec(tiny):
    return declared.read(tiny.root)


@pytest.fixture
def environ(tiny):
    """What the builder puts into an image for amd64, and a flag of one's own."""
    found = environment(Spec.model_validate(tiny.spec), "linux/amd64")
    return found | {"XLA_FLAGS": f"--xla_dump_to='/tmp/a b' {found['XLA_FLAGS']}"}


def test_a_good_host_is_admitted(spec, environ):
    check.admit(spec, GOOD, environ)


def test_an_arm_host_needs_its_own_pins_only(tiny, spec):
    environ = environment(Spec.model_validate(tiny.spec), "linux/arm64")
    assert "ONEDNN_MAX_CPU_ISA" not in environ
    check.admit(spec, ARM, environ)


@pytest.mark.parametrize("profile", ["pinned", "none"])
@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_runtime_and_builder_pin_the_same(tiny, profile, level, platform):
    """The runtime demands every pin of the builder's table that moves bits, and no other but the back end."""
    flags = {"xla_cpu_ftz": True, "xla_backend_optimization_level": 1}
    tiny.write_spec(determinism={"profile": profile, "threads": 3}, xla={"flags": flags}, hardware={"forbid": []})
    tiny.spec["hardware"]["cpu"]["amd64"] = level
    tiny.write_spec()
    ours, theirs = declared.read(tiny.root), Spec.model_validate(tiny.spec)
    expected = {
        pin.name: value for pin, value in builder_pins(theirs, platform) if pin.kind == "variable" and pin.numeric
    }
    assert pins.variables(ours, platform) == expected | {"JAX_PLATFORMS": "cpu"}
    assert pins.xla_flags(ours, platform) == builder_xla_flags(theirs, platform)
    assert pins.lost(ours, platform, environment(theirs, platform)) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"features": HASWELL - {"avx2", "fma"}},
            "not of level x86-64-v3, which this kernel needs: it lacks avx2, fma",
        ),
        ({"memory": 1 << 20}, "needs 268435456 bytes of memory and this host gives 1048576"),
        ({"nearest": False}, "not rounded to nearest"),
        ({"denormals": False}, "flush subnormal numbers"),
        ({"machine": "riscv64"}, "no image of this kernel for riscv64"),
    ],
)
def test_a_lacking_host_is_refused(spec, environ, change, reason):
    with pytest.raises(HostError, match=reason):
        check.admit(spec, dataclasses.replace(GOOD, **change), environ)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("NPROC", None, "NPROC is unset, not '2'"),
        ("NPROC", "8", "NPROC is '8', not '2'"),
        ("DNNL_MAX_CPU_ISA", "AVX512_CORE", "DNNL_MAX_CPU_ISA is 'AVX512_CORE', not 'AVX2'"),
        ("JAX_PLATFORMS", "cuda", "JAX_PLATFORMS is 'cuda', not 'cpu'"),
        ("GLIBC_TUNABLES", None, "GLIBC_TUNABLES is unset"),
        ("XLA_FLAGS", None, "XLA_FLAGS lacks --xla_cpu_enable_platform_dependent_math=false"),
        ("XLA_FLAGS", "--xla_cpu_max_isa=AVX512", "XLA_FLAGS has --xla_cpu_max_isa=AVX512, not AVX2"),
        ("XLA_FLAGS", "--xla_cpu_enable_platform_dependent_math", "dependent_math=true, not false"),
        ("XLA_FLAGS", "'", "unfinished quote"),
    ],
)
def test_a_lost_pin_is_refused(spec, environ, name, value, reason):
    changed = {key: text for key, text in environ.items() if key != name}
    if value is not None:
        changed[name] = value
    with pytest.raises(HostError, match=reason) as caught:
        check.admit(spec, GOOD, changed)
    assert caught.value.hint


def test_the_last_of_repeated_flags_counts(spec, environ):
    environ["XLA_FLAGS"] += " --xla_cpu_max_isa=AVX512"
    assert pins.lost(spec, "linux/amd64", environ) == ["XLA_FLAGS has --xla_cpu_max_isa=AVX512, not AVX2"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with /proc/cpuinfo of x86-64")
def test_features_agree_with_the_kernels_list():
    flags = set(
        next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    )
    alias = {"sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "lahf": "lahf_lm", "lzcnt": "abm"}
    listed = {name for name in check.LEVELS["x86-64-v4"] if alias.get(name, name) in flags}
    assert host.observe().features == listed


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "level"), [("Nehalem", "x86-64-v2"), ("Haswell", "x86-64-v3"), ("core2duo", None)])
def test_features_are_those_of_the_emulated_cpu(cpu, level):
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if qemu is None or platform.machine() != "x86_64":
        pytest.skip("needs QEMU user emulation on x86-64")
    code = "from kernels.runtime import host; print(*host.observe().features)"
    command = [qemu, "-cpu", cpu, sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    levels = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
    expected = levels[: levels.index(level) + 1] if level else []
    assert [name for name in levels if check.LEVELS[name] <= found] == expected


def test_this_host_computes_as_ieee_754_says():
    assert host.rounds_to_nearest()
    assert host.keeps_denormals()


def test_flushing_is_noticed():
    """The mode is set in a process of its own: a thread that flushes would spoil other tests."""
    code = """if True:
        import ctypes
        from kernels.runtime import host
        libm = ctypes.CDLL("libm.so.6")
        state = (ctypes.c_uint32 * 16)()
        libm.fegetenv(state)
        for bit in BITS:
            state[WORD] |= bit
            libm.fesetenv(state)
            print(host.keeps_denormals(), host.rounds_to_nearest())
            state[WORD] &= ~bit
    """
    # x86-64: MXCSR is the last word of fenv_t; flush-to-zero, denormals-are-zero, round down. arm64: FPCR; FZ, RM.
    bits = {"x86_64": ("0x8000, 0x40, 0x2000", "7"), "aarch64": ("1 << 24, 1 << 24, 2 << 22", "0")}[platform.machine()]
    code = code.replace("BITS", f"({bits[0]})").replace("WORD", bits[1])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    flushes = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in flushes] == ["False", "False", "True"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "kernel": 3}', b"\xff"]
)
def test_a_broken_spec_is_one_error(tiny, data):
    (tiny.folder / "spec.json").write_bytes(data)
    with pytest.raises(KernelError, match=r"spec\.json is not a kernel spec of schema 1"):
        declared.read(tiny.root)
