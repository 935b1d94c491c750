"""The folder of results: emptied before a run, and written file by file, each as a whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kernels.runtime.errors import HostError

TENSORS = "outputs.safetensors"
TRACE = "trace.json"
TRACED = "trace.safetensors"
RECEIPT = "receipt.json"


def clear(folder: Path) -> None:
    """Remove what an earlier run left, so that a failure can't be mistaken for its results.

    Raises:
        HostError: the folder is not there, or can't be written to.
    """
    try:
        for name in (TENSORS, TRACE, TRACED, RECEIPT):
            (folder / name).unlink(missing_ok=True)
        probe = folder / f".{RECEIPT}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise HostError(
            f"{folder} can't be written to: {error.strerror}", hint=f"mount a writable folder at {folder}"
        ) from error


def discard(folder: Path) -> None:
    """Remove results that a run left before it failed."""
    for name in (TENSORS, TRACE, TRACED):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def put(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all.

    Raises:
        HostError: it can't be written.
    """
    part = path.with_name(f".{path.name}")
    try:
        part.write_bytes(data)
        os.replace(part, path)  # noqa: PTH105
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()  # its space may be what the receipt needs
        raise HostError(f"{path} can't be written: {error.strerror}") from error
