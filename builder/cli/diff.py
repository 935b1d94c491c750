"""`kbuild diff A B`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("a", metavar="A", type=Path, help="a run's folder, or its outputs.safetensors")
    verb.add_argument("b", metavar="B", type=Path, help="what to compare it with")
    verb.add_argument(
        "--referee", metavar="DIR", type=Path,
        help="a run's folder with the referee's answer (kbuild run --referee): which of the two gave its bits",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Say which outputs differ, in which elements and how far; 0 if every bit is equal, else 1.

    Where both runs listed their operations, also say which is the first that differs.
    """
    from builder.cli.appearance import console
    from builder.cli.display import progress
    from builder.harness.compare.differ import diff
    from builder.harness.operations import dispute
    from builder.harness.report_json import diff_to_json
    from builder.harness.report_terminal import comparison, paragraph

    with progress(options) as display:
        tensors = diff(options.a, options.b, progress=display)
        found = dispute(options.a, options.b, options.referee)
    if options.json:
        said = {"operations": found.document()} if found else {}
        print(json.dumps(diff_to_json(str(options.a), str(options.b), tensors) | said))
    elif not options.quiet:
        comparison(tensors, console())
        if found:
            paragraph(found.lines(), console())
    return 0 if all(tensor.equal for tensor in tensors) else 1
