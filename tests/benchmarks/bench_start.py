"""What `kbuild --version` costs over an interpreter that does nothing; prints the ratio of medians.

python tests/benchmarks/bench_start.py
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 40


def seconds(*command: str) -> float:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    return time.perf_counter() - began


def main() -> None:
    kbuild = shutil.which("kbuild", path=str(Path(sys.executable).parent)) or "kbuild"
    pairs = [(seconds(kbuild, "--version"), seconds(sys.executable, "-c", "pass")) for _ in range(ROUNDS + 1)][1:]
    ours, nothing = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / bare for mine, bare in pairs)
    print(f"kbuild --version {1000 * ours:.1f} ms, python -c pass {1000 * nothing:.1f} ms, ratio {ratio:.2f} (goal 3)")


if __name__ == "__main__":
    main()
