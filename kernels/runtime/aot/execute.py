"""Loading and running a program that was compiled at build, without JAX: importing that is most of a run's start.

jaxlib alone can do it, and of jaxlib its two libraries: `jaxlib.xla_client`, which wraps them for JAX, takes 3 ms more.
What is used of them has no documented interface, so the build tries it on every program that it compiles, with the very
jaxlib of the image; another one is refused before this module is imported.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from jaxlib import _hlo, _jax

from kernels.runtime import native
from kernels.runtime.aot.manifest import Handler, Leaf, Program
from kernels.runtime.errors import HostError, KernelError
from kernels.runtime.tensors import Array, numpy_dtype

PORTABLE: Final = "portable."
"""How the names of the numeric specification's operations begin."""


class _Alone(_jax.SingleDeviceSharding):  # type: ignore[misc]  # jaxlib is untyped
    """All of an array on one device, with what jaxlib asks of shardings in place of JAX's own code for it."""

    memory_kind = None

    def _to_xla_hlo_sharding(self, _rank: int) -> Any:
        return _hlo.HloSharding.replicate()


class Loaded:
    """A program that is ready to run.

    Args:
        program: what the manifest says of it.
        serialised: its file's bytes, which have been held to their hash.
        handlers: functions of native libraries that it calls.

    Raises:
        KernelError: a native library lacks a function, or jaxlib does not take the program.
    """

    def __init__(self, program: Program, serialised: bytes, handlers: Sequence[Handler]) -> None:
        register(handlers)
        if program.foreign:
            _register_foreign()
        self._program = program
        client: Any = _jax.get_tfrt_cpu_client(asynchronous=True)
        self._device = client.local_devices()[0]
        self._alone = _Alone(self._device)
        try:
            self._executable = client.deserialize_executable(
                serialised, executable_devices=_jax.DeviceList((self._device,))
            )
        except (RuntimeError, ValueError) as error:
            raise KernelError(f"the program {program.file} does not load: {error}") from error

    def run(self, parameters: Sequence[Array], arrays: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """Call it and wait for its results.

        Args:
            parameters: as the manifest orders them.
            arrays: the entry's, of the shapes that the program is for.
            key: the random key's two words, uint32 [2].

        Raises:
            KernelError: it fails.
            HostError: there is too little memory.
        """
        given = [self._put(_argument(which, parameters, arrays, key)) for which in self._program.arguments]
        handlers = [
            _jax.array_result_handler(_described(leaf), self._alone, True, True) for _, leaf in self._program.outputs
        ]
        try:
            made = self._executable.execute_sharded(given).consume_with_handlers(handlers)
            _jax.batched_block_until_ready(made)
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                raise HostError(f"the program ran out of memory: {error}") from error
            raise KernelError(f"the program {self._program.file} failed: {error}") from error
        return {name: _taken(array, leaf) for array, (name, leaf) in zip(made, self._program.outputs, strict=True)}

    def _put(self, array: Array) -> Any:
        described = SimpleNamespace(shape=array.shape, dtype=array.dtype, weak_type=False)
        zero_copy = _jax.HostBufferSemantics.ZERO_COPY
        return _jax.batched_device_put(described, self._alone, [array], [self._device], True, False, zero_copy, True)


def register(handlers: Sequence[Handler]) -> None:
    """Make functions of native libraries known to XLA.

    Those of the numeric specification come from the library for this host's CPU, whichever the build had.

    Raises:
        KernelError: a library or a function is not there.
        HostError: the CPU is below the specification's floor.
    """
    for handler in handlers:
        if handler.name.startswith(PORTABLE):
            from kernels.runtime.portable import library  # noqa: PLC0415 - not in the image of another profile

            library.target(handler.symbol)
        else:
            native.handler(handler.library, handler.symbol, handler.name)


def _register_foreign() -> None:
    """What JAX registers with XLA when it is imported, and LAPACK's functions out of SciPy."""
    import jax  # noqa: F401, PLC0415 - only for programs that need it
    from jaxlib import xla_client  # noqa: PLC0415
    from jaxlib.cpu import _lapack  # noqa: PLC0415

    _lapack.initialize()
    xla_client.register_custom_call_handler("cpu", _jax.register_custom_call_target)  # what JAX keeps until a client is
    xla_client.register_custom_type_handler("cpu", _jax.register_custom_type)


def _argument(
    which: tuple[str | int, ...], parameters: Sequence[Array], arrays: Mapping[str, Array], key: Array
) -> Array:
    match which:
        case ("parameter", int(index)):
            return parameters[index]
        case ("array", str(name)):
            return np.ascontiguousarray(arrays[name])
        case ("key",):
            return key
    raise KernelError(f"the manifest names an argument {which}")


def _described(leaf: Leaf) -> SimpleNamespace:
    return SimpleNamespace(
        shape=leaf.shape,
        dtype=numpy_dtype(leaf.dtype),
        weak_type=False,
        ndim=len(leaf.shape),
        size=math.prod(leaf.shape),
    )


def _taken(array: Any, leaf: Leaf) -> Array:
    """A result's bytes: its layout is C order, as the build made sure."""
    dtype = numpy_dtype(leaf.dtype)
    size = math.prod(leaf.shape) * dtype.itemsize
    data = ctypes.string_at(array.unsafe_buffer_pointer(), size) if size else b""
    return np.frombuffer(data, dtype).reshape(leaf.shape)
