"""`kbuild SPEC`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.pipeline.report import BuildReport
    from builder.store.blobs import Store


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("spec", metavar="SPEC", type=Path, help="the kernel's spec.toml, or its folder")
    verb.add_argument("--locked", action="store_true", help="write nothing beside the spec; fail if there is no lock")
    verb.add_argument(
        "--backend", choices=("embedded", "docker", "nix", "all"), default="embedded",
        help="what runs compilers: embedded (bubblewrap; the default), docker, nix, or all that work here, which "
        "have to agree on every byte",
    )  # fmt: skip
    verb.add_argument("--offline", action="store_true", help="do not use the network; say what is missing")


def run(options: argparse.Namespace) -> int:
    """Build, and print the digest of the image's index."""
    from builder.cli.paths import lock_path, spec_path
    from builder.machine import from_environment
    from builder.pipeline import report, unchanged
    from builder.store.blobs import Store

    began = time.monotonic()
    spec = spec_path(options.spec)
    machine = from_environment(os.environ, offline=options.offline)
    store = Store(machine.store)
    builders = _builders(options.backend, store)
    if record := unchanged.recall(store, spec, lock_path(spec), builders):
        answer = report.load(record["report"])
    else:
        from builder.cli.display import progress
        from builder.pipeline.backend import backend_of
        from builder.pipeline.build import build

        backend, *others = [backend_of(name, store) for name in builders]
        with progress(options) as display:
            answer = build(
                spec, lock_path(spec), machine=machine, store=store, backend=backend,
                progress=display, locked=options.locked, others=others,
            )  # fmt: skip
    took = time.monotonic() - began
    if options.json:
        print(json.dumps({"schema": "kbuild.build/1", **answer.dump(), "seconds": round(took, 3)}))
    else:
        print(answer.digest)
    if not options.quiet:
        _summary(answer, took)
    return 0


def _builders(asked: str, store: Store) -> tuple[str, ...]:
    """The names of the backends to build with."""
    if asked != "all":
        return (asked,)
    from builder.pipeline.backend import present

    return present(store)


def _summary(answer: BuildReport, took: float) -> None:
    """The layers, their sizes, and what had to be made; nothing but one line if nothing had."""
    if len(answer.builders) > 1:
        print(f"{answer.name}: {', '.join(answer.builders)} agree on every byte", file=sys.stderr)
    made = [item for items in answer.layers.values() for item in items if not item.cached]
    if not made:
        print(f"{answer.name}: nothing changed ({took:.2f} s)", file=sys.stderr)
        return
    from builder.cli.appearance import human_size, table

    for platform, layers in answer.layers.items():
        rows = [
            (
                item.layer.name,
                str(item.layer.files),
                human_size(item.layer.tar_size),
                human_size(item.layer.size),
                "cached" if item.cached else "made",
                item.layer.digest.removeprefix("sha256:")[:12],
            )
            for item in layers
        ]
        rows.append(
            (
                "total",
                str(sum(item.layer.files for item in layers)),
                human_size(sum(item.layer.tar_size for item in layers)),
                human_size(sum(item.layer.size for item in layers)),
                "",
                "",
            )
        )
        title = f"{answer.name} {platform}  {answer.manifests[platform]}"
        table(title, ("layer", "files", "unpacked", "packed", "", "digest"), rows, right=(1, 2, 3))
    print(f"{answer.name}: {took:.1f} s", file=sys.stderr)
