"""`python -m kernels.runtime`: run this image's kernel on `/io/in` and leave results and receipt in `/io/out`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kernels.runtime.protocol import Places, run

BUG = 70
PLACES = Places(Path("/"), Path("/io/in"), Path("/io/out"))


def main() -> int:
    """Parse the arguments, run, and turn whatever should not have escaped into exit code 70."""
    places = _places(sys.argv[1:])
    try:
        return run(places, os.environ)
    except Exception:  # noqa: BLE001  # the protocol's exit code for a bug, with all there is to know about it
        import traceback  # noqa: PLC0415 - only for a bug

        traceback.print_exc()
        print("error: this is a bug in the kernel runtime", file=sys.stderr)  # noqa: T201
        return BUG


def _places(arguments: Sequence[str]) -> Places:
    """Where everything is; an image's entry point says nothing, and argparse would be a twentieth of its start."""
    if not arguments:
        return PLACES
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="kernels.runtime", description="Run this image's kernel once.")
    for name, place, what in (
        ("input", PLACES.source, "folder of inputs"),
        ("output", PLACES.target, "folder for results"),
        ("root", PLACES.root, "the image's file system"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=place, help=f"{what} (default: {place})")
    found = parser.parse_args(arguments)
    return Places(found.root, found.input, found.output)


def leave(code: int) -> NoReturn:
    """End the process without Python's own farewell: all files are written, and there is nobody to free memory for."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
