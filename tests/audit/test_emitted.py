"""What XLA emitted: an instruction that the profile forbids is named to its function and source line."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.audit.binary import parse
from builder.audit.emitted import emitted, require_clean, require_portable
from builder.audit.executable import Call, Executable
from builder.audit.floats import computes, floats
from builder.audit.traits import Trait
from builder.errors import IntegrityError, KernelError
from builder.platforms import host_platform

ONLY_X86 = pytest.mark.skipif(host_platform() != "linux/amd64", reason="needs code for x86-64")


@ONLY_X86
def test_an_estimate_fails_the_build_with_its_function_and_line(found: dict[str, Executable]) -> None:
    program = emitted(found["inverse"])
    source = Path(__file__).with_name("xla_samples.py")
    with pytest.raises(KernelError, match="do not give the same bits") as caught:
        require_clean(program, "program inverse")
    assert "vrsqrtps" in caught.value.message
    assert f"jit(inverse)/rsqrt ({source}:" in caught.value.message
    assert caught.value.where == "program inverse"
    assert "platform_dependent_math" in str(caught.value.hint)
    require_clean(program, "program inverse", allowed=["estimate"])


def test_code_without_them_passes(found: dict[str, Executable]) -> None:
    for name in ("counted", "looped"):
        require_clean(emitted(found[name]), name)
    require_portable(emitted(found["counted"]), "counted", libraries={"portable"})


def test_portable_code_computes_nothing_in_floating_point(found: dict[str, Executable]) -> None:
    program = emitted(found["looped"])
    assert program.audit.tally()[Trait.FLOAT] > 3
    with pytest.raises(KernelError, match=r"floating point[\s\S]*cos \("):
        require_portable(program, "looped", libraries={"portable"})


def test_portable_programs_call_no_library_but_their_own(found: dict[str, Executable]) -> None:
    def calling(*calls: Call) -> Executable:
        return replace(found["counted"], calls=calls)

    own = Call("custom-call", "portable.dot", ("jit(f)/dot (model.py:1)",), floats=True)
    lapack = Call("custom-call", "lapack_sgesdd_ffi", ("jit(f)/svd (model.py:2)",), floats=True)
    integers = Call("ynn-fusion", "", ("jit(f)/dot (model.py:3)",), floats=False)
    require_portable(emitted(calling(own, integers)), "f", libraries={"portable"})
    for bad in (lapack, replace(integers, floats=True)):
        with pytest.raises(KernelError, match=rf"{bad.kind} ?{bad.target}: .*model.py") as caught:
            require_portable(emitted(calling(own, bad)), "f", libraries={"portable"})
        assert "portable.dot" not in caught.value.message
    assert emitted(calling(own, own, integers)).calls() == {"custom-call portable.dot": 2, "ynn-fusion": 1}


def test_real_calls_say_whether_they_give_floats(found: dict[str, Executable]) -> None:
    assert all(call.floats for call in found["mlp"].calls)
    with pytest.raises(KernelError):
        require_portable(emitted(found["mlp"]), "mlp", libraries={"portable"}, allowed=["float"])


def test_code_for_another_machine_than_said_is_refused(found: dict[str, Executable]) -> None:
    item = found["counted"]
    with pytest.raises(IntegrityError, match="is not for"):
        emitted(replace(item, target=replace(item.target, triple="riscv64-unknown-linux-gnu")))


@pytest.mark.parametrize(
    ("machine", "expression", "computing"),
    [
        ("x86-64", "x + y", True),
        ("x86-64", "x < y ? x : 2 * y", True),
        ("x86-64", "(float)(int)x", True),
        ("x86-64", "__builtin_sqrtf(x)", True),
        ("x86-64", "__builtin_fmaf(x, y, x)", True),
        ("x86-64", "__builtin_copysignf(x, y)", False),
        ("x86-64", "-x", False),
        ("x86-64", "z ? x : y", False),
        ("aarch64", "x + y", True),
        ("aarch64", "x < y ? x : 2 * y", True),
        ("aarch64", "(float)(int)x", True),
        ("aarch64", "__builtin_sqrtf(x)", True),
        ("aarch64", "z ? x : y", False),
    ],
)
def test_which_instructions_compute(machine: str, expression: str, *, computing: bool, tmp_path: Path) -> None:
    compiler, flags = {"x86-64": ("g++", ["-mavx2", "-mfma"]), "aarch64": ("aarch64-linux-gnu-g++", [])}[machine]
    if shutil.which(compiler) is None or (machine == "x86-64" and host_platform() != "linux/amd64"):
        pytest.skip(f"needs {compiler}")
    source = f"float f(float x, float y, int z) {{ return {expression}; }}"
    (tmp_path / "f.cc").write_text(source)
    subprocess.run([compiler, "-O2", *flags, "-c", tmp_path / "f.cc", "-o", tmp_path / "f.o"], check=True)
    content = (tmp_path / "f.o").read_bytes()
    binary = parse(content)
    assert binary is not None
    assert bool(floats(binary, content)) == computing


@pytest.mark.parametrize("name", ["vaddps", "vcvtdq2ps", "cmpltss", "vrndscaleps", "vfmadd231sd", "vdpbf16ps"])
def test_x86_names_that_compute(name: str) -> None:
    assert computes(name, "x86-64")


@pytest.mark.parametrize("name", ["vmovups", "vpermps", "vandps", "vpmaxsd", "shufps", "vpaddd", "clflush", "cmp"])
def test_x86_names_that_do_not(name: str) -> None:
    assert not computes(name, "x86-64")


@pytest.mark.parametrize("name", ["fadd", "fmla", "fcmp", "fcvtzs", "scvtf", "bfdot", "bfmlalb", "frsqrte"])
def test_arm_names_that_compute(name: str) -> None:
    assert computes(name, "aarch64")


@pytest.mark.parametrize("name", ["fmov", "fcsel", "add", "bfi", "bfxil", "ldr", "zip1"])
def test_arm_names_that_do_not(name: str) -> None:
    assert not computes(name, "aarch64")
