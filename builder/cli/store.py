"""`kbuild store verify|gc|path`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.store.blobs import Store

DAY = 86400.0

MOST_DAYS = 36500.0
"""A clock goes back a hundred years; not by infinity, nor by what is no number."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument(
        "action",
        choices=("verify", "gc", "path"),
        help="verify: hash every blob again; gc: remove what no image needs; path: print where the store is",
    )
    verb.add_argument(
        "--older-than", metavar="DAYS", type=days, help="gc: spare what was used within so many days (default 30)"
    )
    verb.add_argument(
        "--keep", metavar="DIGEST", action="append", help="gc: keep only these images (default: every image built)"
    )


def days(text: str) -> float:
    """The number of `--older-than`.

    Raises:
        ValueError: it is none, or not between 0 and `MOST_DAYS`.
    """
    number = float(text)
    if not 0 <= number <= MOST_DAYS:
        raise ValueError(text)
    return number


def run(options: argparse.Namespace) -> int:
    """Do it; exit 4 if `verify` found damage."""
    from builder.cli.appearance import human_size
    from builder.cli.display import progress
    from builder.errors import UsageError
    from builder.machine import from_environment
    from builder.store import collect
    from builder.store.blobs import Store

    if options.action != "gc" and (options.keep or options.older_than is not None):
        raise UsageError("--keep and --older-than go with gc")
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
    keep = None if options.keep is None else {_index(store, digest) for digest in options.keep}
    age = collect.OLDER_THAN if options.older_than is None else options.older_than * DAY
    swept = collect.collect(store, keep=keep, older_than=age)
    if options.json:
        print(json.dumps(asdict(swept)))
    if not options.quiet:
        print(f"removed {human_size(swept.freed)}; kept {human_size(swept.kept_size)}", file=sys.stderr)
    return 0


def _index(store: Store, digest: str) -> str:
    """The remembered image that a digest is of, or of whose platform: a slip must not sweep what was meant to stay.

    Raises:
        UsageError: there is none.
    """
    from builder.errors import UsageError
    from builder.oci.image import find
    from builder.store.collect import images

    found = find(store, digest)
    for key, record in images(store).items():
        if found == key or found in record["manifests"]:
            return key
    raise UsageError(f"no image is {digest}", where=str(store.root), hint="nothing was removed")
