"""`kbuild store verify|gc|path`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

DAY = 86400.0


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument(
        "action",
        choices=("verify", "gc", "path"),
        help="verify: hash every blob again; gc: remove what no image needs; path: print where the store is",
    )
    verb.add_argument(
        "--older-than", metavar="DAYS", type=float, help="gc: spare what was used within so many days (default 30)"
    )
    verb.add_argument(
        "--keep", metavar="DIGEST", action="append", help="gc: keep only these images (default: every image built)"
    )


def run(options: argparse.Namespace) -> int:
    """Do it; exit 4 if `verify` found damage."""
    from builder.cli.display import progress
    from builder.cli.render import human_size
    from builder.machine import from_environment
    from builder.store import collect
    from builder.store.blobs import Store

    store = Store(from_environment(os.environ).store)
    if options.action == "path":
        print(json.dumps({"path": str(store.root)}) if options.json else store.root)
        return 0
    if options.action == "verify":
        with progress(options) as display:
            found = collect.verify(store, display)
        if options.json:
            print(json.dumps(asdict(found)))
        for sha256 in found.corrupt:
            print(f"corrupt: {sha256} (moved aside; the next build gets it again)", file=sys.stderr)
        if not options.quiet:
            print(f"{found.checked} blobs, {human_size(found.size)}: {len(found.corrupt)} corrupt", file=sys.stderr)
        return 4 if found.corrupt else 0
    keep = None if options.keep is None else {digest.removeprefix("sha256:") for digest in options.keep}
    age = collect.OLDER_THAN if options.older_than is None else options.older_than * DAY
    swept = collect.collect(store, keep=keep, older_than=age)
    if options.json:
        print(json.dumps(asdict(swept)))
    if not options.quiet:
        print(f"removed {human_size(swept.freed)}; kept {human_size(swept.kept_size)}", file=sys.stderr)
    return 0
