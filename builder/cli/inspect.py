"""`kbuild inspect DIGEST`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from builder.cli import instructions

if TYPE_CHECKING:
    from builder.oci.image import Image


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("digest", metavar="DIGEST", help="of an image in the store, or its beginning")
    instructions.arguments(verb)


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
        return instructions.run(options, image, store, machine)
    if wrong := instructions.unused(options):
        raise UsageError(f"{wrong} is of --instructions", hint="give both")
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
