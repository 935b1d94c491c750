"""What a host must be, what was seen of this one, and the pins that its environment must carry."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785

from builder.spec import features
from kernels.runtime import accelerator, arm, check, declared, host, x86
from kernels.runtime.accelerator import Accelerator
from kernels.runtime.errors import HostError, KernelError

amd64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64")
REPOSITORY = Path(__file__).parents[3]

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
        ({"features": HASWELL - {"avx2", "fma"}}, "CPU level: needs x86-64-v3, found a CPU without avx2, fma: run it"),
        ({"memory": 1 << 20}, "memory: needs 268435456 bytes, found 1048576 bytes: give it more"),
        ({"nearest": False}, "rounding: needs to nearest, found another mode: "),
        ({"denormals": False}, "subnormal numbers: needs kept, found flushed to zero: "),
        ({"machine": "riscv64"}, "architecture: needs amd64 or arm64, found riscv64: run it on a machine"),
    ],
)
def test_a_lacking_host_is_refused(spec, change, reason):
    with pytest.raises(HostError, match=r"^this host may not run the kernel\n") as caught:
        check.admit(spec, GOOD._replace(**change), {}, {})
    (line,) = caught.value.message.splitlines()[1:]
    assert line.startswith(f"  {reason}")
    assert caught.value.exit_code == 3


def test_every_reason_at_once_a_line_each(spec):
    lacking = GOOD._replace(features=frozenset(), memory=0)
    with pytest.raises(HostError) as caught:
        check.admit(spec, lacking, {"NPROC": "2"}, {"LD_PRELOAD": "/x.so"})
    names = ["CPU level", "memory", "variable NPROC", "variable LD_PRELOAD"]
    assert [item.name for item in caught.value.unmet] == names
    assert [line.partition(":")[0].strip() for line in caught.value.message.splitlines()[1:]] == names


def test_single_features_are_asked_for_and_ruled_out(tiny):
    tiny.write_spec(hardware={"features": {"amd64": ["avx512vnni", "fma"]}, "without": {"amd64": ["amx-tile", "aes"]}})
    machine = GOOD._replace(features=HASWELL | {"aes"})
    unmet = [str(item) for item in check.machine(declared.read(tiny.root), machine) if not item.met]
    assert unmet == [
        "CPU feature avx512vnni: needs it, found a CPU without it: run it on a CPU with it",
        "CPU feature aes: needs a CPU without it, found a CPU with it: run it on a CPU without it",
    ]
    assert all(item.met for item in check.machine(declared.read(tiny.root), ARM))


def test_an_image_of_one_platform_asks_for_that_architecture(tiny):
    tiny.write_spec(kernel={"platforms": ["linux/arm64"]})
    (line, *_) = [item for item in check.machine(declared.read(tiny.root), GOOD) if not item.met]
    assert str(line) == "architecture: needs arm64, found amd64: run it on a machine of that architecture"


def test_an_accelerator_that_nothing_here_knows_is_refused(tiny):
    tiny.spec["hardware"]["accelerator"] = "abacus"
    (tiny.folder / "spec.json").write_bytes(rfc8785.dumps(tiny.spec))
    with pytest.raises(KernelError, match="accelerator 'abacus'"):
        declared.read(tiny.root)


H100, OLD, DUMB = (
    Accelerator("NVIDIA H100", "570.86.15", "9.0"),
    Accelerator("Tesla P4", "470.256.02", "6.1"),
    Accelerator("NVIDIA H100", "570.86.15", "?"),
)
OTHER_MACHINE = "run it on a machine that has one, and give the process access to it"


@pytest.mark.parametrize(
    ("cuda", "there", "expected"),
    [
        ({}, [H100], []),
        ({"driver": "570", "capability": "9.0"}, [H100], []),
        ({"driver": "570.86.15", "capability": "8.0"}, [H100, H100], []),
        ({}, [], [f"accelerator: needs an NVIDIA GPU and its driver, found none: {OTHER_MACHINE}"]),
        (
            {"driver": "550", "capability": "9.0"},
            [],
            [
                f"accelerator: needs an NVIDIA GPU and its driver, found none: {OTHER_MACHINE}",
                f"accelerator driver: needs 550 or newer, found none: {OTHER_MACHINE}",
                f"compute capability: needs 9.0 or newer, found none: {OTHER_MACHINE}",
            ],
        ),
        (
            {"driver": "570.86.16", "capability": "10.0"},
            [H100],
            [
                "accelerator driver: needs 570.86.16 or newer, found 570.86.15: install a newer driver",
                "compute capability: needs 10.0 or newer, found 9.0: run it on a newer GPU",
            ],
        ),
        (
            {"capability": "7.0"},
            [H100, OLD],
            ["compute capability: needs 7.0 or newer, found 9.0, 6.1: run it on a newer GPU"],
        ),
        ({"capability": "7.0"}, [DUMB], ["compute capability: needs 7.0 or newer, found ?: run it on a newer GPU"]),
    ],
)  # fmt: skip
def test_an_accelerator_is_asked_for_line_by_line(tiny, cuda, there, expected):
    full = {"driver": "", "capability": ""} | cuda
    tiny.write_spec(hardware={"accelerator": "cuda", **({"cuda": full} if cuda else {})})
    machine = GOOD._replace(accelerators=tuple(there))
    spec = declared.read(tiny.root)
    assert [str(item) for item in check.machine(spec, machine) if not item.met] == expected
    none = spec._replace(cuda=None)
    assert all(item.met for item in check.machine(none, machine))


def test_accelerators_by_the_drivers_own_files(tmp_path, monkeypatch):
    assert accelerator.nvidia(tmp_path) == []
    (tmp_path / "gpus/0000:17:00.0").mkdir(parents=True)
    (tmp_path / "gpus/0000:17:00.0/information").write_text("Model: \t\t NVIDIA H100\nIRQ: 7\n")
    said = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version: 12.3.0\n"
    (tmp_path / "version").write_text(said)
    monkeypatch.setattr(accelerator, "TOOL", str(tmp_path / "absent"))
    assert accelerator.nvidia(tmp_path) == [DUMB]
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho 9.0\n")
    tool.chmod(0o755)
    monkeypatch.setattr(accelerator, "TOOL", str(tool))
    assert accelerator.nvidia(tmp_path) == [H100]


@pytest.mark.skipif(bool(accelerator.nvidia()), reason="this machine has one")
def test_a_run_without_its_accelerator_is_refused(tiny, source):
    tiny.write_spec(hardware={"accelerator": "cuda", "cuda": {"driver": "550", "capability": ""}})
    ran = tiny.call(source)
    assert ran.code == 3
    assert "accelerator: needs an NVIDIA GPU and its driver, found none" in ran.stderr
    unmet = ran.receipt["result"]["error"]["unmet"]
    assert [item["name"] for item in unmet] == ["accelerator", "accelerator driver"]
    assert ran.receipt["host"]["accelerators"] == []


@amd64
def test_features_agree_with_the_kernels_list():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    assert host.observe().features == {name for name in x86.BITS if features.AMD64[name] in flags}


@amd64
def test_what_the_environment_takes_from_the_libraries_is_still_the_cpus():
    """GLIBC_TUNABLES is a pin of the image: a host isn't refused for what its image has switched off."""
    code = "from kernels.runtime import host; h = host.observe(); print(*h.features, '|', *h.facts['features_off'])"
    environ = os.environ | {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True
    )
    there, _, off = done.stdout.partition("|")
    assert set(there.split()) == host.observe().features
    assert {"avx", "avx2", "fma"} & host.observe().features <= set(off.split())


@amd64
def test_the_cpu_is_the_one_that_the_kernel_names():
    text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    listed = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    facts = host.observe().facts
    assert facts["vendor"] == listed["vendor_id"]
    assert [facts[key] for key in ("family", "model", "stepping")] == [
        int(listed[key]) for key in ("cpu family", "model", "stepping")
    ]


@amd64
def test_a_process_that_may_run_no_code_of_its_own_asks_the_c_library(monkeypatch):
    def refuse(code):
        raise PermissionError(13, "Permission denied")

    expected = host.observe().features
    monkeypatch.setattr(x86, "place", refuse)
    assert host.observe().features <= expected
    assert "sse4.2" in host.observe().features


def test_the_builder_knows_the_same_features_and_levels():
    assert features.LEVELS == check.LEVELS
    assert set(features.AMD64) == set(x86.BITS)
    assert set(features.ARM64) == set(arm.BITS)


def test_every_feature_of_a_level_has_a_bit_to_be_found_by():
    for name, level in check.LEVELS.items():
        assert level <= set(x86.BITS if name.startswith("x86") else arm.BITS)


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "level"), [("Nehalem", "x86-64-v2"), ("Haswell", "x86-64-v3"), ("core2duo", None)])
def test_features_are_those_of_the_emulated_cpu(cpu, level):
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if qemu is None or platform.machine() != "x86_64":
        pytest.skip("needs QEMU user emulation on x86-64")
    code = "from kernels.runtime import host; print(*host.observe().features)"
    command = [qemu, "-cpu", cpu, sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    levels = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
    expected = levels[: levels.index(level) + 1] if level else []
    assert [name for name in levels if check.LEVELS[name] <= found] == expected


@amd64
@pytest.mark.qemu
@pytest.mark.parametrize(
    ("cpu", "identity", "has_caches"),
    [("Haswell", ["GenuineIntel", 6, 60], True), ("EPYC-Rome", ["AuthenticAMD", 23, 49], False)],
)
def test_facts_are_those_of_the_emulated_cpu(cpu, identity, has_caches):
    """And not those of `/proc/cpuinfo`, which is the machine's outside. QEMU's AMD models name no caches."""
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    code = "import json; from kernels.runtime import host; print(json.dumps(host.observe().described()))"
    command = [qemu, "-cpu", cpu, sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert [facts[key] for key in ("vendor", "family", "model")] == identity
    assert bool(facts["caches_cpu"]) is has_caches
    assert facts["caches_kernel"] == host.observe().facts["caches_kernel"]


@amd64
@pytest.mark.skipif("fma" not in host.observe().features, reason="a CPU with one variant of each function")
def test_what_libm_chooses_is_seen():
    code = "from kernels.runtime import dispatch; print(*dispatch.libm())"
    seen = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env=os.environ | {"GLIBC_TUNABLES": tunables},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for tunables in ("", "", "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4")
    ]
    assert seen[0] == seen[1]
    differing = {one.partition("+")[0] for one, other in zip(seen[0], seen[2], strict=True) if one != other}
    assert differing >= {"cos", "expf", "fma", "logf", "powf", "sin", "tan"}


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
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    flushes = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in flushes] == ["False", "False", "True"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "kernel": 3}', b"\xff"]
)
def test_a_broken_spec_is_one_error(tiny, data):
    (tiny.folder / "spec.json").write_bytes(data)
    with pytest.raises(KernelError, match=r"spec\.json is not a kernel spec of schema 1"):
        declared.read(tiny.root)


def test_the_peak_of_memory_is_the_programs_own():
    """A process inherits what `getrusage` says from the one that started it, as a small one from a large."""
    small = "from kernels.runtime.memory import peak; print(peak())"
    large = f"""if True:
        import subprocess, sys
        hoard = b"x" * (300 << 20)
        subprocess.run([sys.executable, "-c", {small!r}], check=True)
    """
    done = subprocess.run([sys.executable, "-c", large], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < 100 << 20
