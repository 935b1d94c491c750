"""Programs of the zoo compiled ahead of time, by the runtime's own functions: each in a folder laid out as an image is,
so that another process, on another CPU, loads it as a node does.
"""

import hashlib
import platform
import shutil

import numpy as np

from kernels.runtime.aot import parameters
from kernels.runtime.aot.execute import Loaded
from kernels.runtime.aot.manifest import FILE, FOLDER, Handler, Leaf, Manifest, dumps, read
from kernels.runtime.declared import Declared
from kernels.runtime.kernel import Kernel

KEY = np.zeros(2, np.uint32)
"""The random key's words: programs of the zoo that draw numbers make keys of their own."""


def compile_for(root, entry, arrays):
    """Compile an entry for these arrays into the folder `root`; returns the SHA-256 of the program."""
    from kernels.runtime import native
    from kernels.runtime.aot import build

    shutil.rmtree(root, ignore_errors=True)
    target = root / FOLDER
    target.mkdir(parents=True)
    leaves = {name: Leaf(array.dtype.name, array.shape) for name, array in arrays.items()}
    with (target / parameters.FILE).open("xb") as out:
        writer = parameters.Writer([], root, out)
        one = build._compiled(
            target / "0.xla", Kernel(root, entry, {}), _declared(), leaves, parameters.Leaves([], writer)
        )
    handlers = tuple(Handler(one.library, one.symbol, name) for name, one in sorted(native.registered().items()))
    manifest = Manifest(
        platform=f"linux/{platform.machine()}", cpu="", compiled_on="", environment={}, versions={}, seed=0,
        stored=writer.sha256(), parameters=tuple(writer.placed), handlers=handlers, programs=(one,),
    )  # fmt: skip
    (root / FILE).write_bytes(dumps(manifest))
    return bytes.fromhex(one.code)


def run(root, arrays):
    """Load what `compile_for` left, and run it on these arrays; its results by their numbers."""
    manifest = read(root)
    (one,) = manifest.programs
    code = (root / FOLDER / one.file).read_bytes()
    assert hashlib.sha256(code).hexdigest() == one.code
    made = Loaded(one, code, manifest.handlers).run(parameters.load(manifest.parameters, root), arrays, KEY)
    return [made[name] for name in sorted(made, key=int)]


def _declared():
    """A spec that says nothing but an entry's name, which is all that compiling one program asks of it."""
    return Declared(
        identity="", name="zoo", version="", entry="zoo:entry", load=None, prepare=None, requirements=(),
        profile="portable", threads=2, seed=0, cpu={}, features={}, without={}, memory=0,
        cuda=None, weights=(), inputs={}, outputs={},
    )  # fmt: skip
