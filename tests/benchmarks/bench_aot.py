"""What programs compiled ahead of time save a run, and what they cost a build; prints ratios of one machine's runs.

python tests/benchmarks/bench_aot.py [KERNEL ...]

Each kernel is built twice, without and with an `[aot]` table for the shapes of its first example, and run in fresh
sandboxes, the two in turn: from the start of the sandbox to its end, and by the receipts' own durations.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from builder.hosts import local
from builder.oci.image import load
from builder.pipeline.verify import images_of
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
ROUNDS = 9
TABLES = {
    "digits": "\n[aot]\nsizes.batch = [3]\n",
    "minilm": """
[aot]
sizes = { batch = [3], length = [32] }

[aot.arrays.ids]
dtype = "int32"
shape = ["batch", "length"]

[aot.arrays.mask]
dtype = "int32"
shape = ["batch", "length"]
""",
}


def kbuild(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "builder", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def built(folder: Path, table: str) -> tuple[str, float]:
    """The digest, and the seconds that the build took, with all downloads and other layers at hand."""
    spec = folder / "spec.toml"
    both = 'platforms = ["linux/amd64", "linux/arm64"]'
    spec.write_text(spec.read_text().replace(both, f'platforms = ["{host_platform()}"]') + table)
    (folder / "spec.lock").unlink(missing_ok=True)
    kbuild("lock", spec)
    began = time.perf_counter()
    return kbuild(spec, "--quiet").strip(), time.perf_counter() - began


def run(digest: str, source: Path, out: Path) -> tuple[float, float]:
    """Seconds in a fresh sandbox, from its start to its end, and those of the protocol's steps within."""
    store = Store(Path(os.environ["KBUILD_STORE"]))
    (image,) = images_of(load(store, digest))
    began = time.perf_counter()
    local.run(store, image, [source], out, progress=Silent())
    took = time.perf_counter() - began
    return took, sum(json.loads((out / "receipt.json").read_bytes())["microseconds"].values()) / 1e6


def compare(name: str, folder: Path) -> None:
    digests = {}
    for which, table in (("here", ""), ("ahead", TABLES[name])):
        shutil.copytree(KERNELS / name, folder / which, ignore=shutil.ignore_patterns("__pycache__"))
        digests[which], seconds = built(folder / which, table)
        print(f"{name}, compiled {which}: built in {seconds:.1f} s", flush=True)
    (source,) = (KERNELS / name / "examples").glob({"digits": "three.json", "minilm": "similar.json"}[name])
    inside: dict[str, list[float]] = {"here": [], "ahead": []}
    outside: dict[str, list[float]] = {"here": [], "ahead": []}
    outputs = set()
    for _ in range(ROUNDS):
        for which, digest in digests.items():
            out = folder / f"out-{which}"
            took, steps = run(digest, source, out)
            outside[which].append(took)
            inside[which].append(steps)
            outputs.add((out / "outputs.safetensors").read_bytes())
            shutil.rmtree(out)
    if len(outputs) != 1:
        sys.exit(f"{name}: the two give different bits")
    for what, found in (("protocol's steps", inside), ("a fresh sandbox", outside)):
        here, ahead = (statistics.median(found[which]) for which in ("here", "ahead"))
        print(f"{name}, {what}: {ahead:.3f} s against {here:.3f} s compiled there, ratio {ahead / here:.2f} (goal 0.3)")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("KBUILD_STORE", f"{folder}/store")
        for name in sys.argv[1:] or list(TABLES):
            compare(name, Path(folder) / name)


if __name__ == "__main__":
    main()
