"""`kbuild diff` against cmp(1) on the same files, in one run.

`python tests/benchmarks/bench_diff.py [--size GIB] [--folder DIR]`. Needs twice the size on disk, and a page cache that
holds it, or the disk is measured. Per pair of files it prints the best of several alternating rounds, their ratio, and
the peak memory. Equal files are put against plain `cmp`, which stops at the first difference; files that differ here
and there against `cmp -l`, which reads them whole as the diff does and lists what it finds. Files that differ in every
number have no goal: `cmp -l` would list for minutes.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_SPEED = 0.50
GOAL_MEMORY = 128 << 20

_DIFF = """
import sys, time
from pathlib import Path
from builder.harness.compare.differ import diff
import builder.harness.compare.bits
began = time.perf_counter()
(found,) = diff(Path(sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - began
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) * 1024, found.differing)
"""


def fill(path: Path, size: int) -> None:
    """A file of one float32 tensor of `size` bytes, none of whose pages are alike."""
    header = b'{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
    header += b" " * (-len(header) % 8)
    page = bytearray(struct.pack("<1024f", *(k / 1024 for k in range(1024))))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start in range(0, size, len(page)):
            struct.pack_into("<f", page, 0, start / size)
            file.write(page)


def change(path: Path, size: int, every: int) -> int:
    """Move one number in `every` bytes by one ULP; gives how many."""
    begin = path.stat().st_size - size
    with path.open("r+b") as file:
        for start in range(begin, begin + size, every):
            file.seek(start)
            (pattern,) = struct.unpack("<I", file.read(4))
            file.seek(start)
            file.write(struct.pack("<I", pattern ^ 1))
    return -(-size // every)


def change_all(path: Path, size: int) -> int:
    """Move every number by one ULP; gives how many."""
    begin = path.stat().st_size - size
    flip = bytes(k ^ 1 for k in range(256))
    with path.open("r+b") as file:
        for start in range(begin, begin + size, 1 << 20):
            file.seek(start)
            block = bytearray(file.read(1 << 20))
            block[::4] = block[::4].translate(flip)
            file.seek(start)
            file.write(block)
    return size // 4


def time_cmp(a: Path, b: Path, *more: str) -> float:
    began = time.perf_counter()
    # A pipe, for with /dev/null as its stdout cmp stops at the first difference.
    subprocess.run(["cmp", *more, str(a), str(b)], check=False, stdout=subprocess.PIPE)
    return time.perf_counter() - began


def time_diff(a: Path, b: Path) -> tuple[float, int, int]:
    """Seconds, peak bytes, and elements that differ; in a process of its own, for the memory."""
    run = subprocess.run([sys.executable, "-c", _DIFF, str(a), str(b)], check=True, capture_output=True, text=True)
    seconds, peak, differing = run.stdout.split()
    return float(seconds), int(peak), int(differing)


def show(name: str, size: int, other: float | None, own: tuple[float, int, int]) -> bool:
    """Print a row; whether it meets the goals that it has."""
    seconds, peak, differing = own
    ratio = other / seconds if other else None
    print(
        f"{name:20}{f'{other:.2f}' if other else '':>9}{seconds:9.2f}{size / seconds / 1e9:11.2f}"
        f"{f'{ratio:.2f}' if ratio else '':>8}{peak / 2**20:10.0f}{differing:13}"
    )
    return peak <= GOAL_MEMORY and (ratio is None or ratio >= GOAL_SPEED)


def main() -> int:
    """Run, print the table, and tell by the exit code whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=4, help="of each file, in GiB (default 4)")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("cmp") is None:
        print("cmp is missing: apt-get install diffutils", file=sys.stderr)
        return 3
    size = int(options.size * 2**30) >> 20 << 20
    met = True
    print(f"{'':20}{'cmp s':>9}{'diff s':>9}{'diff GB/s':>11}{'ratio':>8}{'peak MiB':>10}{'differing':>13}")
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        a, b = Path(work, "a.safetensors"), Path(work, "b.safetensors")
        fill(a, size)
        shutil.copyfile(a, b)
        for name, edit, more in [
            ("equal", lambda: 0, []),
            ("one number per MiB", lambda: change(b, size, 1 << 20), ["-l"]),
        ]:
            expected = edit()
            others, own = [], []
            for _ in range(options.rounds):
                others.append(time_cmp(a, b, *more))
                own.append(time_diff(a, b))
            met &= show(name, size, min(others), min(own)) and min(own)[2] == expected
        changed = change_all(a, size) - (size >> 20)  # those that had been changed in `b` agree now
        met &= show("every number", size, None, found := time_diff(a, b)) and found[2] == changed
    print(f"speed at least {GOAL_SPEED} of cmp, memory at most {GOAL_MEMORY >> 20} MiB: {'met' if met else 'NOT met'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
