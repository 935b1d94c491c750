"""`python -m kernels.runtime`: run this image's kernel on `/io/in` and leave results and receipt in `/io/out`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path

from kernels.runtime.protocol import Places, run

BUG = 70


def main() -> int:
    """Parse the arguments, run, and turn whatever should not have escaped into exit code 70."""
    parser = argparse.ArgumentParser(prog="kernels.runtime", description="Run this image's kernel once.")
    parser.add_argument("--input", type=Path, default=Path("/io/in"), help="folder of inputs (default: /io/in)")
    parser.add_argument("--output", type=Path, default=Path("/io/out"), help="folder for results (default: /io/out)")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the image's file system (default: /)")
    arguments = parser.parse_args()
    try:
        return run(Places(arguments.root, arguments.input, arguments.output), os.environ)
    except Exception:  # noqa: BLE001  # the protocol's exit code for a bug, with all there is to know about it
        traceback.print_exc()
        print("error: this is a bug in the kernel runtime", file=sys.stderr)  # noqa: T201
        return BUG


if __name__ == "__main__":
    sys.exit(main())
