"""What `kbuild verify` adds to the runs themselves: at most 5 %.

    KBUILD_STORE=... python tests/benchmarks/bench_verify.py DIGEST INPUTS [RUNS]

Runs one case on this machine, in turn directly and by the harness (which hashes, judges, keeps and remembers), so that
whatever else the machine does hits both alike, and compares the medians.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from builder.harness.job import case
from builder.harness.verify import Settings, verify
from builder.hosts.host import Conditions, Variant
from builder.hosts.local import Local
from builder.machine import from_environment
from builder.oci.image import load
from builder.pipeline.verify import images_of
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

MOST = 0.05


def main(digest: str, inputs: Path, runs: int) -> int:
    store = Store(from_environment(os.environ).store)
    image = next(item for item in images_of(load(store, digest)) if item.platform == host_platform())
    host = Local("native", store)
    cases = [case("bench", [inputs])]
    direct: list[float] = []
    whole: list[float] = []
    for _ in range(runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            host.run(image, [inputs], Path(folder), conditions=Conditions(), timeout=600, progress=Silent())
            direct.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = verify(
            digest, [image], cases, [Variant("native", host)], settings=Settings(fresh=True), store=store,
            progress=Silent(),
        )  # fmt: skip
        whole.append(time.perf_counter() - began)
        assert found.runs[0].verdict.delivered, found.runs[0].error
    run, verified = statistics.median(direct[1:]), statistics.median(whole[1:])  # the first ones fill caches
    added = verified / run - 1
    print(f"{runs} runs: directly {run:.3f} s, by the harness {verified:.3f} s: {added:+.1%} (at most {MOST:.0%})")
    return 0 if added <= MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 10))
