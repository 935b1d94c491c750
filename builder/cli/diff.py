"""`kbuild diff A B`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("a", metavar="A", type=Path, help="a run's folder, or its outputs.safetensors")
    verb.add_argument("b", metavar="B", type=Path, help="what to compare it with")


def run(options: argparse.Namespace) -> int:
    """Say which outputs differ, in which elements and how far; 0 if every bit is equal, else 1."""
    from builder.cli.appearance import console
    from builder.cli.display import progress
    from builder.harness.compare.differ import diff
    from builder.harness.report_json import diff_to_json
    from builder.harness.report_terminal import comparison

    with progress(options) as display:
        tensors = diff(options.a, options.b, progress=display)
    if options.json:
        print(json.dumps(diff_to_json(str(options.a), str(options.b), tensors)))
    elif not options.quiet:
        comparison(tensors, console())
    return 0 if all(tensor.equal for tensor in tensors) else 1
