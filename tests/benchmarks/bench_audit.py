"""What decoding an image's machine code costs, cold and cached, each platform by itself.

python tests/benchmarks/bench_audit.py DIGEST

Takes the image from the store that KBUILD_STORE names, and audits it with records of its own. CPU time is of all
processes together: other work on the machine does not lengthen it, and over two cores a cold audit takes half of it.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from builder.audit.image import contents
from builder.machine import from_environment
from builder.oci.image import load
from builder.progress import Silent
from builder.store.blobs import Store

GOAL = 20.0


def spent() -> float:
    """CPU seconds of this process and of those that have ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall and of CPU."""
    began, before = time.perf_counter(), spent()
    call()
    return time.perf_counter() - began, spent() - before


def main() -> None:
    machine = from_environment(os.environ)
    image = load(Store(machine.store), sys.argv[1])
    for platform, manifest in image.manifests.items():
        with tempfile.TemporaryDirectory(dir=machine.store) as folder:
            for name in ("blobs", "trees"):
                (Path(folder) / name).symlink_to(machine.store / name)
            store = Store(Path(folder))
            for what in ("cold", "cached"):
                wall, cpu = timed(partial(contents, store, manifest, jobs=machine.jobs, progress=Silent()))
                print(
                    f"{platform} {what}: {wall:.1f} s, {cpu:.1f} s of CPU, {machine.jobs} jobs (goal {GOAL:.0f} s cold)"
                )


if __name__ == "__main__":
    main()
