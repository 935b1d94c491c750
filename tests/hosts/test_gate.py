"""What a kernel asks of a machine, seen from outside; and that inside and outside see the same machine."""

import dataclasses
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from builder.hosts import offer
from builder.hosts.gate import requirements
from builder.hosts.offer import Accelerator, Offer, accelerators, cpu_features, memory, this_machine
from builder.spec import features
from builder.spec.model import Spec
from kernels.runtime import accelerator as inner
from kernels.runtime import check, declared, host
from kernels.runtime import memory as inside

HASWELL = features.LEVELS["x86-64-v3"]
GOOD = Offer("amd64", HASWELL, 4 << 30)


def spec_of(platforms=("linux/amd64", "linux/arm64"), **hardware):
    return Spec.model_validate({
        "schema": 1,
        "kernel": {"name": "k", "version": "1.0.0", "entry": "model:f", "platforms": list(platforms)},
        "hardware": hardware,
        "inputs": {"x": {"dtype": "float32"}},
        "outputs": {"y": {"dtype": "float32"}},
    })  # fmt: skip


def unmet(spec, machine):
    return [(item.name, item.needed, item.found) for item in requirements(spec, machine) if not item.met]


def test_a_good_machine():
    assert unmet(spec_of(), GOOD) == []
    assert unmet(spec_of(), Offer("arm64", features.LEVELS["armv8-a"], 4 << 30)) == []


@pytest.mark.parametrize(
    ("hardware", "change", "expected"),
    [
        ({}, {"features": HASWELL - {"fma"}}, ("CPU level", "x86-64-v3", "a CPU without fma")),
        ({"memory": "5GiB"}, {}, ("memory", "5.00 GiB", "4.00 GiB")),
        ({}, {"architecture": "riscv64"}, ("architecture", "amd64 or arm64", "riscv64")),
        (
            {"features": {"amd64": ["amx-tile"]}},
            {},
            ("CPU feature amx-tile", "it", "a CPU without it"),
        ),
        (
            {"without": {"amd64": ["sha"]}},
            {"features": HASWELL | {"sha"}},
            ("CPU feature sha", "a CPU without it", "a CPU with it"),
        ),
    ],
)
def test_a_machine_that_will_not_do(hardware, change, expected):
    assert unmet(spec_of(**hardware), dataclasses.replace(GOOD, **change)) == [expected]


def test_another_architectures_features_are_not_asked_for():
    spec = spec_of(features={"arm64": ["sve"]}, cpu={"arm64": "armv9-a"})
    assert unmet(spec, GOOD) == []


def test_a_kernel_for_one_platform():
    assert unmet(spec_of(["linux/arm64"]), GOOD) == [("architecture", "arm64", "amd64")]


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("machine", [frozenset(), *features.LEVELS.values()])
def test_inside_and_outside_ask_the_same(level, machine):
    """The runtime's gate and this one, on the same machine and spec, name the same requirements and verdicts."""
    spec = spec_of(cpu={"amd64": level}, memory="2GiB", features={"amd64": ["sha"]}, without={"amd64": ["amx-tile"]})
    asked = declared.parse(spec.model_dump_json(by_alias=True).encode())
    seen = host.Host("x86_64", machine, cores=2, memory=1 << 30, nearest=True, denormals=True)
    theirs = {item.name: item.met for item in check.machine(asked, seen)}
    ours = {item.name: item.met for item in requirements(spec, Offer("amd64", machine, 1 << 30))}
    assert ours == {name: met for name, met in theirs.items() if name in ours} | {"accelerator": True}
    assert set(theirs) - set(ours) == {"rounding", "subnormal numbers"}


def test_inside_and_outside_see_the_same_machine():
    seen, own = host.observe(), this_machine()
    assert own.features == seen.features
    assert own.memory == memory() == inside.available() == seen.memory
    assert own.architecture == {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n"


def test_an_arm_cpu_lists_its_features_otherwise():
    assert cpu_features(ARM, "arm64") == {"fp", "asimd", "sve"}
    assert cpu_features(ARM, "amd64") == frozenset()
    assert cpu_features("", "amd64") == frozenset()
    assert cpu_features("flags : sse3 pni sse4_1\nflags : avx2", "amd64") == {"sse3", "sse4.1"}


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "2000\n"}, 2000),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "2000",
                "sys/fs/cgroup/a/b/memory.max": "max",
            },
            2000,
        ),
        ({"proc/self/cgroup": "0::/gone\n", "sys/fs/cgroup/memory.max": "3000"}, 3000),
        (
            {
                "proc/self/cgroup": "4:cpu,memory:/d\n1:name=systemd:/\n0::/\n",
                "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "4000",
            },
            4000,
        ),
        ({"sys/fs/cgroup/memory.max": "junk"}, None),
        ({}, None),
    ],
)
def test_the_limits_of_control_groups(tmp_path, monkeypatch, files, expected):
    for path, text in files.items():
        put(tmp_path, path, text)
    assert memory(tmp_path) == (expected or memory(Path("/nowhere")))
    monkeypatch.setattr(inside, "_INTERFACES", [
        (tmp_path / "sys/fs/cgroup", "memory.max", ""),
        (tmp_path / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory"),
    ])  # fmt: skip
    read = Path.read_text
    moved = {Path("/proc/self/cgroup"): tmp_path / "proc/self/cgroup"}
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: read(moved.get(self, self), *a, **k))
    assert inside.available() == memory(tmp_path)


def test_a_limit_of_the_process_counts():
    code = "from builder.hosts.offer import memory; from kernels.runtime.memory import available; "
    done = subprocess.run(
        ["prlimit", "--data=500000000", sys.executable, "-c", f"{code}print(memory(), available())"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["500000000", "500000000"]


NVIDIA = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 03:07:42 UTC 2025\nGCC version: 12\n"


def test_an_accelerator_and_its_driver(tmp_path):
    assert list(accelerators(tmp_path)) == []
    put(tmp_path, "proc/driver/nvidia/version", NVIDIA)
    for bus in ("0000:17:00.0", "0000:b3:00.0"):
        put(tmp_path, f"proc/driver/nvidia/gpus/{bus}/information", "Model: \t\t NVIDIA H100\nIRQ: 7\n")
    found = list(accelerators(tmp_path))
    assert found == [Accelerator("NVIDIA H100", "570.86.15", "?")] * 2
    assert found == [
        Accelerator(one.model, one.driver, one.capability) for one in inner.nvidia(tmp_path / offer._NVIDIA)
    ]
    assert str(found[0]) == "NVIDIA H100, driver 570.86.15, compute capability ?"


@pytest.mark.parametrize("there", [(), ("9.0",), ("?",), ("9.0", "6.1"), ("10.0",)])
@pytest.mark.parametrize("driver", ["550.54", "600", ""])
@pytest.mark.parametrize("capability", ["9.0", "6.1", ""])
def test_inside_and_outside_ask_the_same_of_accelerators(there, driver, capability):
    spec = spec_of(accelerator="cuda", cuda={"driver": driver, "capability": capability})
    asked = declared.parse(spec.model_dump_json(by_alias=True).encode())
    own = tuple(Accelerator("NVIDIA H100", "570.86.15", one) for one in there)
    theirs = tuple(inner.Accelerator("NVIDIA H100", "570.86.15", one) for one in there)
    seen = host.Host("x86_64", HASWELL, cores=2, memory=4 << 30, nearest=True, denormals=True, accelerators=theirs)
    names = ("accelerator", "accelerator driver", "compute capability")
    lines = [
        [(item.name, item.needed, item.found, item.met, item.remedy) for item in found if item.name in names]
        for found in (check.machine(asked, seen), requirements(spec, dataclasses.replace(GOOD, accelerators=own)))
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1 + bool(driver) + bool(capability)
    assert lines[0][0][3] == bool(there)


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo 9.0", ["9.0"]), ("echo 'NVIDIA-SMI has failed'", []), ("exit 9", []), ("exec sleep 60", [])],
)
def test_the_drivers_tool_may_say_anything(tmp_path, monkeypatch, script, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(offer, "_PATIENCE", 0.5)
    assert offer._capabilities() == expected


def test_the_profile_refuses_what_it_has_no_pin_for():
    """Inside and outside alike; a spec without the profile, or that rules it out itself, gets one line at most."""
    seen = frozenset(features.LEVELS["armv9-a"] | {"sme"})
    for profile, without, expected in (("pinned", [], 1), ("pinned", ["sme"], 1), ("none", [], 0)):
        spec = spec_of(without={"arm64": without})
        spec = spec.model_copy(update={"determinism": spec.determinism.model_copy(update={"profile": profile})})
        asked = declared.parse(spec.model_dump_json(by_alias=True).encode())
        inside = host.Host("aarch64", seen, cores=2, memory=4 << 30, nearest=True, denormals=True)
        theirs = [item.name for item in check.machine(asked, inside) if not item.met]
        ours = [item.name for item in requirements(spec, Offer("arm64", seen, 4 << 30)) if not item.met]
        assert ours == theirs == ["CPU feature sme"] * expected
