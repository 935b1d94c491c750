"""The kernel itself: its Python functions, its parameters, and the arrays that its entry is called with."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernels.runtime import installed, native
from kernels.runtime.blame import blaming
from kernels.runtime.declared import KERNEL, WIDE, Declared
from kernels.runtime.errors import HostError, KernelError
from kernels.runtime.tensors import Array, Tensor, Text


class Preparation(NamedTuple):
    """What makes the entry's arrays of the inputs: `prepare` is None where declared inputs are the entry's own."""

    folder: Path
    prepare: Callable[[Mapping[str, Any]], Any] | None


class Kernel(NamedTuple):
    """A loaded kernel: its entry, and the parameters that its `load` gave."""

    folder: Path
    entry: Callable[..., Any]
    params: Any


def load(declared: Declared, root: Path) -> Kernel:
    """Import JAX and the kernel's code, and let it load its weights.

    Raises:
        KernelError: something of the image is missing, of another version, or fails.
        HostError: this CPU can't run JAX at all.
    """
    _import_jax(declared)
    folder = _opened(root)
    entry = _function(declared.entry, folder)
    if declared.profile == "portable":
        from kernels.runtime.portable.transform import portable  # noqa: PLC0415 - not in the image of another profile

        entry = portable(entry)
    params: Any = {}
    if declared.load is not None:
        loader = _function(declared.load, folder)
        with blaming(declared.load, folder):
            params = loader(_weights(declared, folder))
        _refuse_wide(declared, declared.load, params)
    return Kernel(folder, entry, params)


def preparation(declared: Declared, root: Path) -> Preparation:
    """Import what prepares inputs, if the kernel has such code, and let it load its weights.

    Raises:
        KernelError: it is missing, or fails.
    """
    folder = _opened(root)
    if declared.prepare is None:
        return Preparation(folder, None)
    preparer = _function(declared.prepare, folder)
    with blaming(declared.prepare, folder):
        prepare = preparer(_weights(declared, folder))
    if not callable(prepare):
        raise KernelError(f"{declared.prepare} gave {type(prepare).__name__}, not a function of the inputs")
    return Preparation(folder, prepare)


def _opened(root: Path) -> Path:
    """The kernel's folder, whose modules can be imported and whose libraries are found from now on."""
    folder = (root / KERNEL).absolute()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    native.search(folder / "lib")
    return folder


def _weights(declared: Declared, folder: Path) -> dict[str, Path]:
    return {name: _only_file(folder / "weights" / name) for name in declared.weights}


def versions(declared: Declared) -> dict[str, str]:
    """Versions of Python, of what computes, and of all that the spec pins.

    Raises:
        KernelError: a distribution is missing or not of the version that the spec pins with `==`.
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    pinned = {}
    for requirement in declared.requirements:
        if match := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([^\s;,*]+)\s*(;|$)", requirement):
            pinned[installed.normalised(match[1])] = match[2]
    wanted = sorted({"jax", "jaxlib", "numpy", *pinned})
    there = installed.versions(wanted)
    for name in wanted:
        if name not in there:
            raise KernelError(f"{name} is not installed", hint="name it in the spec's python.requirements")
        found[name] = there[name]
        if name in pinned and found[name] != pinned[name]:
            raise KernelError(f"{name} is {found[name]}, but the spec pins {pinned[name]}")
    return found


def arguments(kernel: Preparation, declared: Declared, inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    """The entry's arrays: the declared inputs, or what `prepare` makes of them.

    Raises:
        KernelError: `prepare` fails or gives something else than named arrays.
    """
    plain = {name: value.nested() if isinstance(value, Text) else value for name, value in inputs.items()}
    if kernel.prepare is None:
        if texts := sorted(name for name, value in inputs.items() if isinstance(value, Text)):
            raise KernelError(
                f"{texts[0]!r} is string, which JAX can't take",
                hint="name a function in kernel.prepare that encodes it",
            )
        return plain
    with blaming(str(declared.prepare), kernel.folder):
        made = kernel.prepare(plain)
    if not isinstance(made, Mapping) or not all(isinstance(name, str) for name in made):
        raise KernelError(f"{declared.prepare} gave {type(made).__name__}, not a dict of named arrays")
    if odd := [name for name in made if any("\ud800" <= character <= "\udfff" for character in name)]:
        raise KernelError(f"{declared.prepare} gave an array the name {odd[0]!r}, which is not Unicode")
    arrays = {name: np.asarray(value) for name, value in made.items()}
    for name, array in arrays.items():
        if array.dtype.kind in "OUSMm":
            raise KernelError(f"{declared.prepare} gave {name!r} as {array.dtype}, which JAX can't take")
    if not declared.wide:
        for name, array in arrays.items():
            if str(array.dtype) in WIDE:
                raise _too_wide(str(declared.prepare), str(array.dtype), f"[{name!r}]")
    return arrays


def _import_jax(declared: Declared) -> None:
    try:
        import jax  # noqa: PLC0415  # two thirds of a run's start; not before the inputs are known to be good
    except ImportError as error:
        raise KernelError(
            f"JAX can't be imported: {error}", hint="name jax in the spec's python.requirements"
        ) from error
    except RuntimeError as error:  # jaxlib's own check of the CPU
        raise HostError(f"JAX can't run here: {error}") from error
    jax.config.update("jax_enable_x64", declared.wide)  # type: ignore[no-untyped-call]


def _function(reference: str, folder: Path) -> Callable[..., Any]:
    module_name, _, name = reference.partition(":")
    with blaming(module_name, folder):
        module = importlib.import_module(module_name)
    origin = Path(getattr(module, "__file__", None) or "")
    if not origin.is_relative_to(folder):
        raise KernelError(
            f"{reference}: {module_name!r} is another module, {origin}", hint=f"rename {module_name}.py in the kernel"
        )
    function = getattr(module, name, None)
    if not callable(function):
        raise KernelError(f"{reference}: {module_name}.py has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _only_file(folder: Path) -> Path:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise KernelError(f"the weights {folder.name!r} are not in the image: {error.strerror}") from error
    if len(files) != 1:
        raise KernelError(f"the weights {folder.name!r} are {len(files)} files, not one")
    return files[0]


def _refuse_wide(declared: Declared, reference: str, tree: Any) -> None:
    """JAX would silently halve 64-bit numbers where 64-bit types are off."""
    import jax  # noqa: PLC0415

    if declared.wide:
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype = getattr(leaf, "dtype", None)
        if dtype is not None and str(dtype) in WIDE:
            raise _too_wide(reference, str(dtype), jax.tree_util.keystr(path))


def _too_wide(reference: str, dtype: str, place: str) -> KernelError:
    return KernelError(
        f"{reference} gave {dtype} at {place}, but 64-bit types are off",
        hint="convert it, or declare a 64-bit input or output, which turns them on",
    )
