"""What a run's outputs are, by the protocol's own hash, taken outside of the image: a host that lies is found out.

This is the second implementation of docs/protocol.md, section 4; `kernels/runtime/tensors.py` is the first, and neither
knows of the other.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any, Final

from builder.harness.compare.container import Container, Tensor, outputs_file
from builder.harness.compare.differ import CHUNK

_LENGTH: Final = struct.Struct("<Q")


def describe(path: Path) -> dict[str, Any]:
    """What a receipt says in `outputs` if it is true: `sha256`, and `tensors` by name.

    Args:
        path: a run's folder, or a file of tensors.

    Raises:
        UsageError: there are no outputs at the path.
        IntegrityError: they are malformed.
    """
    import rfc8785  # noqa: PLC0415 - a run that is not verified needs none

    with Container(outputs_file(path)) as container:
        tensors = {name: _described(container, tensor) for name, tensor in container.tensors.items()}
    return {"sha256": hashlib.sha256(rfc8785.dumps(tensors)).hexdigest(), "tensors": tensors}


def _described(container: Container, tensor: Tensor) -> dict[str, Any]:
    import rfc8785  # noqa: PLC0415

    header = rfc8785.dumps({"dtype": tensor.format.name, "name": tensor.name, "shape": list(tensor.shape)})
    state = hashlib.sha256(_LENGTH.pack(len(header)) + header)
    buffer = bytearray(min(CHUNK, tensor.size))
    for start in range(0, tensor.size, CHUNK):
        if tensor.size - start < len(buffer):
            buffer = bytearray(tensor.size - start)
        container.read_into(tensor, start, buffer)
        if tensor.format.kind == "bool" and buffer.translate(None, b"\0\1"):
            container.refuse_bool(tensor)
        state.update(buffer)
    return {"dtype": tensor.format.name, "shape": list(tensor.shape), "sha256": state.hexdigest()}
