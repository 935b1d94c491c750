"""Commands as another x86-64 CPU, executed by this one: other_cpu.c, and what QEMU's models say of themselves."""

import platform
import shutil
import subprocess
from pathlib import Path

MODELS = ("Haswell", "Skylake-Client", "EPYC-Rome", "EPYC-Milan")


def prefix(folder, model):
    """What goes before a command, its files made in a folder; None where this machine can't."""
    emulator, compiler = shutil.which("qemu-x86_64-static"), shutil.which("gcc")
    if platform.machine() != "x86_64" or not emulator or not compiler:
        return None
    program, told = folder / "other_cpu", folder / f"other_cpu.{model}"
    if not program.exists():
        line = [compiler, "-O2", "-Wall", "-static", "-o", program, Path(__file__).with_suffix(".c")]
        subprocess.run(line, check=True)
    if not told.exists():
        told.write_bytes(subprocess.run([emulator, "-cpu", model, program], check=True, stdout=subprocess.PIPE).stdout)
    line = [program, told]
    return line if subprocess.run([*line, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0 else None
