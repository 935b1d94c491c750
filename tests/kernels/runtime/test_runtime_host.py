"""What a host must be, what was seen of this one, and the pins that its environment must carry."""

import dataclasses
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.runtime import check, declared, host
from kernels.runtime.errors import HostError, KernelError

HASWELL = check.LEVELS["x86-64-v3"]
GOOD = host.Host("x86_64", HASWELL, cores=4, memory=1 << 34, nearest=True, denormals=True)
ARM = host.Host("aarch64", check.LEVELS["armv8.2-a"], cores=4, memory=1 << 34, nearest=True, denormals=True)


@pytest.fixture
def spec(tiny):
    return declared.read(tiny.root)


@pytest.mark.parametrize("machine", [GOOD, ARM])
def test_a_good_host_is_admitted(spec, machine):
    check.admit(spec, machine, {"NPROC": "2"}, {"NPROC": "2", "KBUILD_IMAGE": "", "HOSTNAME": "h"})


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
def test_a_lacking_host_is_refused(spec, change, reason):
    with pytest.raises(HostError, match=reason) as caught:
        check.admit(spec, dataclasses.replace(GOOD, **change), {}, {})
    assert caught.value.hint is None


def test_every_reason_at_once(spec):
    lacking = dataclasses.replace(GOOD, features=frozenset(), memory=0)
    with pytest.raises(HostError, match=r"^the CPU .*; the kernel needs .*; NPROC is unset.*; LD_PRELOAD is") as caught:
        check.admit(spec, lacking, {"NPROC": "2"}, {"LD_PRELOAD": "/x.so"})
    assert "environment" in caught.value.hint


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
