"""`kbuild inspect DIGEST`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.oci.image import Image
    from builder.store.blobs import Store


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("digest", metavar="DIGEST", help="of an image in the store, or its beginning")
    verb.add_argument(
        "--instructions",
        action="store_true",
        help="decode all machine code, and count what does not give the same bits on every CPU, by library",
    )
    verb.add_argument("--html", metavar="FILE", type=Path, help="with --instructions: write a page with every function")


def run(options: argparse.Namespace) -> int:
    """Show each platform's manifest, layers, environment and labels, or its instructions; print the digest."""
    from builder.errors import UsageError
    from builder.machine import from_environment
    from builder.oci.image import load
    from builder.store.blobs import Store

    machine = from_environment(os.environ)
    store = Store(machine.store)
    image = load(store, options.digest)
    if options.instructions:
        return _instructions(options, image, store, machine.jobs)
    if options.html:
        raise UsageError("--html is of --instructions", hint="give both")
    if options.json:
        print(json.dumps({"digest": image.digest, "platforms": _platforms(image)}, indent=2))
        return 0
    print(image.digest)
    _show(options, image)
    return 0


def _platforms(image: Image) -> dict[str, Any]:
    return {
        platform: {
            "manifest": item.digest,
            "config": item.config_digest,
            "layers": [asdict(layer) for layer in item.image.layers],
            "environment": dict(item.image.config.environment),
            "labels": dict(item.image.config.labels),
        }
        for platform, item in image.manifests.items()
    }


def _show(options: argparse.Namespace, image: Image) -> None:
    from builder.cli.appearance import human_size, table

    for platform, item in image.manifests.items():
        rows = [
            (layer.name, str(layer.files), human_size(layer.tar_size), human_size(layer.size), layer.digest[7:19],
             layer.diff_id[7:19], layer.tree_digest[7:19])
            for layer in item.image.layers
        ]  # fmt: skip
        columns = ("layer", "files", "unpacked", "packed", "digest", "diff ID", "tree")
        table(f"{platform}  {item.digest}", columns, rows, right=(1, 2, 3))
        if not options.quiet:
            for name, value in sorted(item.image.config.environment.items()):
                print(f"  {name}={value}", file=sys.stderr)


def _instructions(options: argparse.Namespace, image: Image, store: Store, jobs: int) -> int:
    from builder.audit.image import contents
    from builder.audit.page import page
    from builder.audit.traits import EVERYWHERE, MEANINGS
    from builder.cli.appearance import table
    from builder.cli.display import progress
    from builder.store.atomic import unique_name, write_whole

    with progress(options) as display:
        found = {
            platform: contents(store, manifest, jobs=jobs, progress=display)
            for platform, manifest in image.manifests.items()
        }
    if options.html:
        temporary = options.html.with_name(f".{unique_name()}")
        write_whole(options.html, page(image.digest, found).encode(), temporary=temporary)
    if options.json:
        platforms = {
            platform: [{"path": item.path, "layer": item.layer, **item.audit.dump()} for item in held.libraries]
            for platform, held in found.items()
        }
        unread = {platform: [asdict(item) for item in held.unread] for platform, held in found.items()}
        print(json.dumps({"digest": image.digest, "platforms": platforms, "unread": unread}))
        return 0
    print(image.digest)
    if options.quiet:
        return 0
    for platform, held in found.items():
        rows = []
        for item in held.libraries:
            tally = item.audit.tally()
            if tally or options.verbose:
                holds = ", ".join(f"{count:,} {trait.value}" for trait, count in tally.items())
                rows.append((Path(item.path).name.partition(".cpython-")[0], holds))
        rows += [(Path(item.path).name, f"not decoded: {item.reason}") for item in held.unread]
        count = sum(item.audit.instructions for item in held.libraries)
        title = f"{platform}: {count:,} instructions in {len(held.libraries)} programs and libraries"
        table(title, ("library", "holds"), rows)
    for trait in EVERYWHERE:
        print(f"  {trait.value}: {MEANINGS[trait]}", file=sys.stderr)
    return 0
