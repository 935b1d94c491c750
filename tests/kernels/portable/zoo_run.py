"""Run the zoo and print each program's hash, on whatever host this is.

    python zoo_run.py LIBRARIES [--mode MODE] [--level NAME] [--referee] [--programs FOLDER] [NAME...]

LIBRARIES is the folder of compiled native libraries. The mode `compile` leaves programs in FOLDER, of which it prints
the hashes; `ahead` runs them. Each program is a line, printed as soon as it is known: a JSON
list of its name and SHA-256, or null for one that fails.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2])]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import zoo_ahead  # noqa: E402
from zoo import PROGRAMS  # noqa: E402

from kernels.runtime import native, trace, trace_program, trace_walk  # noqa: E402
from kernels.runtime.errors import RunError  # noqa: E402
from kernels.runtime.kernel import Kernel  # noqa: E402
from kernels.runtime.portable import library  # noqa: E402
from kernels.runtime.portable.grouping import alone  # noqa: E402
from kernels.runtime.portable.transform import portable  # noqa: E402
from kernels.runtime.program import Call  # noqa: E402
from kernels.runtime.trace_request import Operations  # noqa: E402

REPEATS = 200


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


def traced(name, sink=lambda leaf: None):
    """One program as a traced run evaluates it: each operation of the transformed program compiled alone."""
    one = PROGRAMS[name]
    inputs = one.inputs()
    closed = jax.jit(portable(one.function)).trace(*inputs).jaxpr
    frame = trace_program.frame(closed.jaxpr, closed.consts, HERE)
    values = [trace_walk.Valued(leaf) for leaf in jax.tree.leaves(inputs)]
    return [one.value for one in trace_walk.Walker(HERE, sink).walk(frame, values)]


def listed(name):
    """The root of the list of operations that a traced run gives."""
    call = Call(Kernel(HERE, as_entry(name), {}), name, ({}, as_arrays(name), None))
    return np.frombuffer(bytes.fromhex(trace.trace(Operations(), call)[0]["root"]), np.uint8)


def as_entry(name):
    """One program as a kernel's entry, with its results by number."""
    one = PROGRAMS[name]
    tree = jax.tree.structure(one.inputs())

    def entry(_, arrays, __):
        made = portable(one.function)(*jax.tree.unflatten(tree, [arrays[str(n)] for n in range(tree.num_leaves)]))
        return {str(number): leaf for number, leaf in enumerate(jax.tree.leaves(made))}

    return entry


def as_arrays(name):
    """The arrays that such an entry takes."""
    return {str(number): leaf for number, leaf in enumerate(leaves(PROGRAMS[name].inputs()))}


def compiled(name, folder):
    """The hash of one program, compiled ahead of time into a folder."""
    return np.frombuffer(zoo_ahead.compile_for(folder / name, as_entry(name), as_arrays(name)), np.uint8)


def ahead(name, folder):
    """One program that was compiled ahead of time, loaded and run as nodes do."""
    return zoo_ahead.run(folder / name, as_arrays(name))


def operations(name):
    """One program operation by operation, nothing of it compiled together."""
    return portable(PROGRAMS[name].function, alone)(*PROGRAMS[name].inputs())


def rows(name):
    """The first and the last row of a program's first argument, each alone."""
    one = PROGRAMS[name]
    first, *others = one.inputs()
    function = jax.jit(portable(one.function))
    return [leaf for at in (slice(0, 1), slice(-1, None)) for leaf in leaves(function(first[at], *others))]


def rows_among_others(name):
    """The same rows of the results for all of them: what `rows` must give."""
    made = leaves(run(name))
    return [leaf[at] for at in (slice(0, 1), slice(-1, None)) for leaf in made]


def repeated(name):
    """What every one of many calls gives; nothing if they differ."""
    function, inputs = jax.jit(portable(PROGRAMS[name].function)), PROGRAMS[name].inputs()
    found = {digest(one): one for one in (function(*inputs) for _ in range(REPEATS))}
    return found.popitem()[1] if len(found) == 1 else None


def stock(name):
    """One program as JAX computes it without the transform."""
    return run(name, lambda function: function)


MODES = {
    "jit": run,
    "traced": traced,
    "list": listed,
    "operations": operations,
    "rows": rows,
    "rows-among-others": rows_among_others,
    "repeated": repeated,
    "stock": stock,
}
AHEAD = {"compile": compiled, "ahead": ahead}


def names_of(mode):
    """The programs for which a mode says something."""
    return [name for name, one in PROGRAMS.items() if one.rows or not mode.startswith("rows")]


def main():
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--mode", choices=[*MODES, *AHEAD], default="jit")
    parser.add_argument("--programs", type=Path)
    parser.add_argument("--level")
    parser.add_argument("--referee", action="store_true")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_intermixed_args()
    native.search(asked.libraries)
    jax.config.update("jax_enable_x64", True)
    if asked.level:
        library._own = lambda: asked.level  # under the names that programs compiled ahead of time call
    modes = MODES | {mode: functools.partial(one, folder=asked.programs) for mode, one in AHEAD.items()}
    with library.arbitrated() if asked.referee else contextlib.nullcontext():
        for name in asked.names or names_of(asked.mode):
            try:
                found = digest(modes[asked.mode](name))
            except (RunError, jax.errors.JaxRuntimeError) as error:
                sys.stderr.write(f"{name}: {error}\n")
                found = None
            sys.stdout.write(json.dumps([name, found]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
