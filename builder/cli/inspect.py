"""`kbuild inspect DIGEST`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("digest", metavar="DIGEST", help="of an image in the store, or its beginning")


def run(options: argparse.Namespace) -> int:
    """Show each platform's manifest, layers, environment and labels; print the digest."""
    from builder.cli.appearance import human_size, table
    from builder.machine import from_environment
    from builder.oci.image import load
    from builder.store.blobs import Store

    image = load(Store(from_environment(os.environ).store), options.digest)
    if options.json:
        platforms = {
            platform: {
                "manifest": item.digest,
                "config": item.config_digest,
                "layers": [asdict(layer) for layer in item.image.layers],
                "environment": dict(item.image.config.environment),
                "labels": dict(item.image.config.labels),
            }
            for platform, item in image.manifests.items()
        }
        print(json.dumps({"digest": image.digest, "platforms": platforms}, indent=2))
        return 0
    print(image.digest)
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
    return 0
