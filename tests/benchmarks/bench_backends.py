"""`kbuild SPEC --backend docker` against plain `docker build` of the same content, cold and with nothing changed.

As `bench_build.py`, with whose parts it is made: both sides have their downloads already, and the base image that the
Dockerfile begins from is not counted. Cold means a store with downloads alone and an engine without any image of ours;
on the other side `--no-cache`. Needs root, a Docker engine and debootstrap.

    python tests/benchmarks/bench_backends.py [KERNEL_FOLDER]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli
from bench_build import (
    REPOSITORY,
    base_image,
    docker_build,
    docker_context,
    downloads,
    environment,
    one_platform,
    run,
    timed,
)

LABEL = "org.kbuild.backend"
ROUNDS = 3


def main() -> None:
    kernel = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "kernels" / "minilm").resolve()
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-", dir="/var/tmp") as folder:
        place = Path(folder)
        spec = one_platform(kernel, place / "kernel")
        seed = place / "seed"
        run(sys.executable, "-m", "builder", spec, "-q", env=environment(seed))
        lock = tomli.loads(spec.with_suffix(".lock").read_text())
        context = docker_context(place / "context", spec, lock, seed)
        base_image(place / "context" / "archives")
        stores = [downloads(lock, seed, place / f"cold{number}") for number in range(ROUNDS)]
        report(spec, stores, context)
        subprocess.run(["chmod", "-R", "u+w", place], check=False)


def forget() -> None:
    """Remove everything of ours from the engine that nobody uses."""
    command = ["docker", "image", "prune", "--all", "--force", "--filter", f"label={LABEL}"]
    while subprocess.run(command, check=False, capture_output=True).returncode:
        time.sleep(0.5)  # an engine prunes for one client at a time


def ours(spec: Path, store: Path) -> None:
    run(sys.executable, "-m", "builder", spec, "-q", "--backend", "docker", env=environment(store))


def report(spec: Path, stores: list[Path], context: Path) -> None:
    cold, plain_cold = [], []
    for store in stores:  # in turns, so that what else the machine does meets both
        forget()
        cold.append(timed(lambda store=store: ours(spec, store)))
        plain_cold.append(timed(lambda: docker_build(context, "--no-cache")))
    docker_build(context)
    same, plain_same = [], []
    for _ in range(7):
        same.append(timed(lambda: ours(spec, stores[0])))
        plain_same.append(timed(lambda: docker_build(context)))
    edits, plain_edits = [], []
    for number in range(3):
        for model in (spec.parent / "model.py", context / "model.py"):
            model.write_text(f"{model.read_text()}\n# edit {number}\n")
        edits.append(timed(lambda: ours(spec, stores[0])))
        plain_edits.append(timed(lambda: docker_build(context)))
    print(f"{'':28}{'kbuild':>10}{'docker':>10}{'ratio':>8}{'goal':>8}")
    rows = [
        ("cold, downloads at hand", cold, plain_cold, 1.15),
        ("nothing changed", same, plain_same, 0.5),
        ("model.py edited", edits, plain_edits, 1.0),
    ]
    for name, mine, theirs, goal in rows:
        one, two = statistics.median(mine), statistics.median(theirs)
        print(f"{name:28}{one:9.2f}s{two:9.2f}s{one / two:8.2f}{goal:8.2f}")


if __name__ == "__main__":
    main()
