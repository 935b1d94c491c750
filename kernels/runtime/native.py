"""The kernel's own compiled code, called from JAX.

A spec's `[native.NAME]` becomes `/opt/kernel/lib/NAME.so`. Each function that it exports by XLA's macro,

    XLA_FFI_DEFINE_HANDLER_SYMBOL(scale_f32, ScaleF32, ffi::Ffi::Bind()...);

is an `extern "C"` symbol, and `model.py` names library and symbol to get what `jax.ffi.ffi_call` takes:

    SCALE = native.handler("NAME", "scale_f32")
    jax.ffi.ffi_call(SCALE, jax.ShapeDtypeStruct(x.shape, x.dtype))(x, factor=np.float32(2))

The name registered with XLA is `NAME.symbol` unless another is given.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kernels.runtime.errors import KernelError

IMAGE = Path("/opt/kernel/lib")


class Handler(NamedTuple):
    """A function that is registered with XLA: `symbol` of the file `path`, which the library's name led to."""

    path: Path
    library: str
    symbol: str


class _Libraries:
    """The folder that libraries come from, and the handlers so far; one per process, as XLA's registry is."""

    folder = IMAGE
    registered: dict[str, Handler] = {}  # noqa: RUF012  # deliberately shared


def search(folder: Path) -> None:
    """Look for libraries in this folder instead of `/opt/kernel/lib`, for a kernel that runs outside its image."""
    _Libraries.folder = folder


def handler(library: str, symbol: str, name: str = "") -> str:
    """Register one function of a compiled library with XLA, once.

    Args:
        library: the key of the spec's native table, which is the file's name without `.so`.
        symbol: the name given to `XLA_FFI_DEFINE_HANDLER_SYMBOL`.
        name: what XLA is to call it, which is part of a program's text; `library.symbol` if empty.

    Returns:
        The target name for `jax.ffi.ffi_call`.

    Raises:
        KernelError: the library or the symbol is not there.
    """
    from jaxlib import _jax  # noqa: PLC0415  # heavy, and not needed to describe a failure

    path = _Libraries.folder / f"{library}.so"
    name = name or f"{library}.{symbol}"
    wanted = Handler(path, library, symbol)
    if _Libraries.registered.get(name) == wanted:
        return name
    try:
        function = getattr(ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL), symbol)
    except OSError as error:
        raise KernelError(f"the native library {library!r} does not load: {error}") from error
    except AttributeError as error:
        raise KernelError(
            f"the native library {library!r} exports no {symbol!r}",
            hint="define it with XLA_FFI_DEFINE_HANDLER_SYMBOL and default visibility",
        ) from error
    # What jax.ffi.register_ffi_target comes to, without importing JAX: a typed call of XLA's CPU platform.
    _jax.register_custom_call_target(name, _capsule(function), "Host", 1, 0)
    _Libraries.registered[name] = wanted
    return name


def registered() -> Mapping[str, Handler]:
    """Every function registered so far, by the name that XLA knows it by."""
    return dict(_Libraries.registered)


def _capsule(function: Any) -> Any:
    """A function's address as Python's C API hands pointers around."""
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return make(function, None, None)
