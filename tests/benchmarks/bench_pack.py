"""Packing against `tar | zstd -3 -T2` over the same files, in one run.

`python tests/benchmarks/bench_pack.py [FOLDER]`. Without a folder it packs 600 MB made up of this Python's own
files. Needs GNU tar and the zstd program (`apt-get install zstd`). Prints the best of several alternating rounds, their
ratio, and the packer's peak memory.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from builder.layers import codec
from builder.layers.entry import Entry, Kind
from builder.layers.pack import pack
from builder.store.blobs import Store

GOAL_SPEED = 0.70
GOAL_MEMORY = 400 * 2**20

_PACK = "import sys; sys.path.insert(0, sys.argv[1]); import bench_pack; bench_pack.pack_folder(*sys.argv[2:])"


def peak_memory() -> int:
    """Bytes; not ru_maxrss, which after vfork and exec still holds the peak of the process that started this one."""
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def pack_folder(folder: str, store: str, threads: str) -> None:
    """In a process of its own, so that its memory can be measured; prints seconds and peak bytes."""
    began = time.perf_counter()
    layer = pack("bench", folder_entries(Path(folder)), Store(Path(store)), codec.CODEC, threads=int(threads))
    seconds = time.perf_counter() - began
    print(seconds, peak_memory(), layer.size, layer.tar_size)


def folder_entries(folder: Path) -> list:
    """What `tar` would pack of a folder; only a benchmark takes metadata from the host."""
    entries = []
    waiting = [str(folder)]
    cut = len(str(folder)) + 1
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for item in found:
                facts = item.stat(follow_symlinks=False)
                place, mode, mtime = item.path[cut:], stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
                if item.is_symlink():
                    entries.append(Entry(place, Kind.SYMLINK, mode, mtime, target=str(Path(item.path).readlink())))
                elif item.is_dir():
                    entries.append(Entry(place, Kind.DIRECTORY, mode, mtime))
                    waiting.append(item.path)
                elif item.is_file():
                    source = partial(io.FileIO, item.path)
                    entries.append(Entry(place, Kind.FILE, mode, mtime, size=facts.st_size, source=source))
    return entries


def fill(folder: Path, size: int) -> None:
    """What an image holds (JAX, NumPy, SciPy, the standard library), over again with other bytes until `size`."""
    library = Path(os.__file__).parent
    packages = [Path(path, name) for path in sys.path for name in ("jax", "jaxlib", "numpy", "scipy", "sklearn")]
    files = [
        path
        for root in (*(package for package in packages if package.is_dir()), library)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and (root != library or "site-packages" not in path.parts)
    ]
    total, turn = 0, 0
    while total < size:
        for path in files:
            data = path.read_bytes()
            target = folder / f"{turn}" / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(hashlib.sha256(data).digest() + data[::-1] if turn else data)
            total += len(data)
            if total >= size:
                return
        turn += 1


def time_tar(folder: Path, out: Path) -> float:
    """Seconds of the pipeline, with its output on disk and synced, as a store's blob is."""
    out.unlink(missing_ok=True)
    began = time.perf_counter()
    subprocess.run(f"tar -C '{folder}' -cf - . | zstd -q -3 -T2 -o '{out}' && sync '{out}'", shell=True, check=True)
    return time.perf_counter() - began


def time_pack(folder: Path, store: Path) -> list[float]:
    """Seconds, peak bytes, blob bytes and tar bytes of one packing into an empty store."""
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-c", _PACK, str(Path(__file__).parent), str(folder), str(store), "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def main() -> int:
    """Run, print the table, and tell by the exit code whether both goals are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=600_000_000, help="bytes to make up without a folder")
    options = parser.parse_args()
    for tool in ("tar", "zstd"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install {tool}", file=sys.stderr)
            return 3
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder or Path(work, "files")
        if not options.folder:
            fill(folder, options.size)
        plain, packed = [], []
        for _ in range(options.rounds):
            plain.append(time_tar(folder, Path(work, "x.tar.zst")))
            packed.append(time_pack(folder, Path(work, "store")))
        other = Path(work, "x.tar.zst").stat().st_size
    seconds, peak, blob, tar = min(packed)
    ratio = min(plain) / seconds
    print(f"{'':24}{'seconds':>10}{'MB/s of tar':>14}{'blob MB':>10}{'peak MB':>10}")
    print(f"{'tar | zstd -3 -T2':24}{min(plain):10.2f}{tar / min(plain) / 1e6:14.0f}{other / 1e6:10.1f}{'':>10}")
    print(f"{'kbuild pack':24}{seconds:10.2f}{tar / seconds / 1e6:14.0f}{blob / 1e6:10.1f}{peak / 1e6:10.0f}")
    print(f"speed {ratio:.2f} of tar | zstd (goal {GOAL_SPEED}), peak {peak / 2**20:.0f} MiB (goal 400)")
    return 0 if ratio >= GOAL_SPEED and peak <= GOAL_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
