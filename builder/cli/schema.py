"""`kbuild schema`."""

from __future__ import annotations

import argparse


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    del verb


def run(options: argparse.Namespace) -> int:
    """Print the JSON Schema of a kernel spec."""
    del options
    from builder.spec.schema import schema_text

    print(schema_text(), end="")
    return 0
