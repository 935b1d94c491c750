"""Fast Fourier transforms, by section 5.8 of docs/numerics/linalg.md.

complex64 and complex128 (float32 and float64 on the real side), any length of at least 1, any number of axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax
import numpy as np

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import library

Rule = Callable[[Sequence[jax.Array], Mapping[str, Any]], Sequence[jax.Array]]

REAL_SIDE: Final[Mapping[Any, np.dtype[Any]]] = {
    np.dtype(np.complex64): np.dtype(np.float32),
    np.dtype(np.complex128): np.dtype(np.float64),
}
COMPLEX_SIDE: Final[Mapping[Any, np.dtype[Any]]] = {real: made for made, real in REAL_SIDE.items()}


def fft(args: Sequence[jax.Array], params: Mapping[str, Any]) -> Sequence[jax.Array]:
    """The transform over the last axes.

    Args:
        args: [..., *lengths], complex; real for RFFT; for IRFFT the last axis is lengths[-1] // 2 + 1.
        params: `fft_type` (FFT, IFFT, RFFT, IRFFT) and `fft_lengths`.

    Raises:
        KernelError: another dtype, a length of 0, or a last axis of IRFFT of another size.
    """
    (x,) = args
    kind = params["fft_type"].name
    lengths = tuple(int(length) for length in params["fft_lengths"])
    kinds = ("FFT", "IFFT", "RFFT", "IRFFT")
    accepted: Mapping[Any, np.dtype[Any]] = COMPLEX_SIDE if kind == "RFFT" else REAL_SIDE
    if kind not in kinds or x.dtype not in accepted:
        raise KernelError(f"portable numerics have no {kind} of {x.dtype}", hint="use complex64 or float32")
    if 0 in lengths:
        raise KernelError(f"portable numerics have no {kind} of length 0", hint="transform at least one element")
    *others, last = lengths
    batch = x.shape[: -len(lengths)]
    shape, dtype = x.shape, x.dtype
    if kind == "RFFT":
        shape, dtype = (*batch, *others, last // 2 + 1), COMPLEX_SIDE[x.dtype]
    if kind == "IRFFT":
        if x.shape[-1] != last // 2 + 1:
            raise KernelError(
                f"the last axis of IRFFT has {x.shape[-1]} elements for length {last}", hint=f"give it {last // 2 + 1}"
            )
        shape, dtype = (*batch, *lengths), REAL_SIDE[x.dtype]
    made = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call(library.target("fft"), made, vmap_method="broadcast_all")
    return [call(x, kind=np.int64(kinds.index(kind)), lengths=np.array(lengths, np.int64))]


RULES: Final[Mapping[str, Rule]] = MappingProxyType({"fft": fft})
