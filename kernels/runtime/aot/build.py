"""What runs at build, under the declared CPU in emulation: compile the entry for every shape that the spec asks for.

    python -m kernels.runtime.aot.build ROOT TARGET PLATFORM LEVEL CPU

ROOT holds what an image of this kernel would, below `opt/kernel`; TARGET receives what goes to `opt/kernel/aot`.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jax
import jaxlib
import numpy as np

from kernels.runtime import declared, environment, kernel, native, products, program
from kernels.runtime.aot import parameters, shapes
from kernels.runtime.aot.canonical import canonical
from kernels.runtime.aot.execute import Loaded
from kernels.runtime.aot.manifest import FILE, Handler, Leaf, Manifest, Program, dumps
from kernels.runtime.blame import blaming
from kernels.runtime.declared import Declared
from kernels.runtime.errors import KernelError, RunError
from kernels.runtime.kernel import Kernel
from kernels.runtime.tensors import numpy_dtype

_LLVM: Final = b"LLVM version "
_TARGET: Final = re.compile(r'custom_call_target="([^"]+)"')


def build(root: Path, target: Path, *, platform: str, level: str, cpu: str) -> None:
    """Compile every program, and write them with their manifest.

    Args:
        root: of the image to be.
        target: an empty folder.
        platform: such as `linux/amd64`.
        level: of the architecture, from the spec.
        cpu: what is emulated.

    Raises:
        RunError: the kernel's code or files are at fault.
    """
    spec = declared.read(root)
    if spec.aot is None:
        raise KernelError("the spec asks for no programs to be compiled at build")
    loaded = kernel.load(spec, root)
    _rehearse()
    weights = sorted((root / declared.KERNEL / "weights").glob("*/*"))
    with (target / parameters.FILE).open("xb") as out:
        writer = parameters.Writer(weights, root, out)
        leaves = parameters.Leaves(jax.tree_util.tree_leaves(loaded.params), writer)
        programs = tuple(
            _compiled(target / f"{index}.xla", loaded, spec, arrays, leaves)
            for index, arrays in enumerate(shapes.choices(spec.aot))
        )
    handlers = tuple(Handler(one.library, one.symbol, name) for name, one in sorted(native.registered().items()))
    manifest = Manifest(
        platform=platform,
        cpu=level,
        compiled_on=cpu,
        environment=environment.read(root),
        versions=kernel.versions(spec) | {"llvm": _llvm()},
        seed=spec.seed,
        stored=writer.sha256(),
        parameters=tuple(writer.placed),
        handlers=handlers,
        programs=programs,
    )
    (target / FILE.name).write_bytes(dumps(manifest))


def _llvm() -> str:
    """The version of LLVM that XLA compiles with: its library says so in its own text, and nowhere else."""
    library = Path(jaxlib.__file__).with_name("libjax_common.so")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(_LLVM)
        found = content[place + len(_LLVM) : place + len(_LLVM) + 64] if place >= 0 else b""
    match = re.match(rb"[0-9][0-9A-Za-z.+-]*", found)
    if match is None:
        raise KernelError("this jaxlib does not say which LLVM it has")
    return match[0].decode()


def _compiled(
    file: Path, loaded: Kernel, spec: Declared, arrays: Mapping[str, Leaf], leaves: parameters.Leaves
) -> Program:
    """Compile the entry for these arrays, and write the program to `file`."""
    given = {name: _typed(leaf.shape, numpy_dtype(leaf.dtype)) for name, leaf in arrays.items()}
    one = program.Call(loaded, spec.entry, (loaded.params, given, _key()))
    lowered = program.lowered(one)
    with blaming(spec.entry, loaded.folder):
        compiled = lowered.compile()
    text = compiled.as_text() or ""  # of megabytes, where a program is large
    products.note(text)
    inside: Any = compiled._executable  # noqa: SLF001 - JAX's own serialisation would add a pickle
    executable = inside.xla_executable
    serialised = canonical(executable.serialize())
    made = Program(
        file=file.name,
        code=hashlib.sha256(serialised).hexdigest(),
        program=program.identity(lowered),
        arrays=arrays,
        arguments=_arguments(compiled, sorted(arrays), leaves),
        outputs=_outputs(spec, lowered, executable),
        foreign=_foreign(text),
    )
    Loaded(made, serialised, ())  # this jaxlib takes back what it gave
    file.write_bytes(serialised)
    shown = ", ".join(f"{name} {list(leaf.shape)}" for name, leaf in sorted(arrays.items()))
    print(f"compiled for {shown}", file=sys.stderr, flush=True)  # noqa: T201 - the build shows it
    return made


def _key() -> Any:
    """What stands for the random key where only its type counts; making a real one would compile for it."""
    return jax.eval_shape(functools.partial(jax.random.wrap_key_data, impl="threefry2x32"), _typed((2,), np.uint32))


def _typed(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _arguments(
    compiled: jax.stages.Compiled, arrays: list[str], leaves: parameters.Leaves
) -> tuple[tuple[str | int, ...], ...]:
    """What the program takes: constants that JAX hoisted, parameters, arrays by name, the key; without the unused."""
    constants = compiled._params.const_args  # noqa: SLF001
    inside: Any = compiled._executable  # noqa: SLF001
    wanted = [aval.dtype for aval in inside._all_args_info.in_avals]  # noqa: SLF001
    first, last = len(constants), len(constants) + leaves.count
    found: list[tuple[str | int, ...]] = []
    for index in sorted(inside._kept_var_idx):  # noqa: SLF001
        if index < first:
            found.append(("parameter", leaves.writer.add(np.asarray(constants[index], dtype=wanted[index]))))
        elif index < last:
            found.append(("parameter", leaves.place(index - first, wanted[index])))
        elif index < last + len(arrays):
            found.append(("array", arrays[index - last]))
        else:
            found.append(("key",))
    return tuple(found)


def _outputs(spec: Declared, lowered: jax.stages.Lowered, executable: Any) -> tuple[tuple[str, Leaf], ...]:
    """Names and tensors of what the program gives, in its order, which is that of sorted names.

    Raises:
        KernelError: the entry gives something else than a dict of named arrays, or another layout than C order.
    """
    info = lowered.out_info
    if not isinstance(info, dict) or any(isinstance(value, dict | list | tuple) for value in info.values()):
        raise KernelError(f"{spec.entry} gives {type(info).__name__}, not a dict of named arrays")
    found = tuple((name, Leaf(str(info[name].dtype), tuple(info[name].shape))) for name in sorted(info))
    for (name, leaf), layout in zip(found, executable.get_output_layouts(), strict=True):
        order = ",".join(map(str, reversed(range(len(leaf.shape)))))
        if not str(layout).startswith(f"{{{order}}}"):
            raise KernelError(f"{name!r} comes in the layout {layout}, not in C order")
    return found


def _foreign(text: str) -> bool:
    """Whether a program calls functions that no library of the kernel registered.

    Raises:
        KernelError: it calls back into Python, which a program on a node cannot.
    """
    called = set(_TARGET.findall(text)) - native.registered().keys()
    if back := sorted(name for name in called if "python" in name):
        raise KernelError(
            f"the entry calls back into Python ({back[0]})", hint="set aot = false, or do without the callback"
        )
    return bool(called)


def _rehearse() -> None:
    """Run a program of one addition the way nodes do, which stands or falls with jaxlib.

    Raises:
        KernelError: this jaxlib does it in another way.
    """
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    inside: Any = jax.jit(lambda x: {"y": x + 1}).lower(one).compile()._executable  # noqa: SLF001
    serialised = canonical(inside.xla_executable.serialize())
    leaf = Leaf("float32", (2, 3))
    made = Program("", "", "", {"x": leaf}, (("array", "x"),), (("y", leaf),), foreign=False)
    try:
        found = Loaded(made, serialised, ()).run((), {"x": one}, np.zeros(2, np.uint32))["y"]
    except (AttributeError, TypeError, KernelError) as error:
        raise KernelError(
            f"this jaxlib cannot load programs without JAX: {error}", hint="set aot = false, or take jaxlib 0.10"
        ) from error
    if found.tobytes() != (one + 1).tobytes():
        raise KernelError("this jaxlib gives another result where a program is loaded without JAX")


def main() -> int:
    """As the module says."""
    root, target, platform, level, cpu = sys.argv[1:]
    try:
        build(Path(root), Path(target), platform=platform, level=level, cpu=cpu)
    except RunError as fault:
        print(f"error: {fault.message}" + (f"\nhint: {fault.hint}" if fault.hint else ""), file=sys.stderr)  # noqa: T201
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
