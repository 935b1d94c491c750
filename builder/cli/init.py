"""`kbuild init NAME`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("name", metavar="NAME", help="the kernel's name, and its folder's unless --to says another")
    verb.add_argument("--to", metavar="DIR", type=Path, help="the folder to create (default: NAME)")


def run(options: argparse.Namespace) -> int:
    """Write the files and print the spec's path."""
    from builder.spec.scaffold import scaffold

    folder = options.to or Path(options.name)
    files = scaffold(options.name, folder)
    spec = folder / "spec.toml"
    if options.json:
        print(json.dumps({"spec": str(spec), "files": [str(path) for path in files]}))
    else:
        print(spec)
        if not options.quiet:
            print(f"next: kbuild {spec}", file=sys.stderr)
    return 0
