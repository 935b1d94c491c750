"""A kernel with compiled code of its own."""

import jax

from kernels.runtime import native

SUM_ROWS = native.handler("fold", "sum_rows")


def total(params, inputs, key):
    """`rows`, float32 [batch, n], to `sums`, float32 [batch]."""
    del params, key
    rows = inputs["rows"]
    return {"sums": jax.ffi.ffi_call(SUM_ROWS, jax.ShapeDtypeStruct(rows.shape[:1], rows.dtype))(rows)}
