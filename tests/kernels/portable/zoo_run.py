"""Run the zoo and print each program's hash, on whatever host this is.

    python zoo_run.py LIBRARIES [--level NAME] [--referee] [--stock] [NAME...]

LIBRARIES is the folder of compiled native libraries. The result is one JSON object, from names to SHA-256, or to
nothing for a program that fails.
"""

import argparse
import contextlib
import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

import jax  # noqa: E402
import numpy as np  # noqa: E402
from zoo import PROGRAMS  # noqa: E402

from kernels.runtime import native  # noqa: E402
from kernels.runtime.errors import RunError  # noqa: E402
from kernels.runtime.portable import library  # noqa: E402
from kernels.runtime.portable.transform import portable  # noqa: E402


def leaves(results):
    """The arrays of a result."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(results)]


def digest(results):
    """The hash of types, shapes and bits."""
    found = hashlib.sha256()
    for leaf in leaves(results):
        found.update(f"{leaf.dtype.name}{leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def run(name, transform=portable):
    """One program, compiled."""
    one = PROGRAMS[name]
    return jax.jit(transform(one.function))(*one.inputs())


def main():
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--level")
    parser.add_argument("--referee", action="store_true")
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_intermixed_args()
    native.search(asked.libraries)
    jax.config.update("jax_enable_x64", True)
    if asked.level:
        library.level = lambda: asked.level
    found = {}
    with library.arbitrated() if asked.referee else contextlib.nullcontext():
        for name in asked.names or PROGRAMS:
            try:
                found[name] = digest(run(name, (lambda function: function) if asked.stock else portable))
            except (RunError, jax.errors.JaxRuntimeError) as error:
                sys.stderr.write(f"{name}: {error}\n")
                found[name] = None
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
