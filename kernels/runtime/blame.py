"""Whose fault it is when the kernel's own code raises, and at which of its lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernels.runtime.errors import HostError, KernelError, RunError

LONGEST_REASON = 4000
"""Characters of a foreign exception's text that a message repeats."""


@contextmanager
def blaming(reference: str, folder: Path) -> Iterator[None]:
    """Turn whatever the kernel's code raises into a `KernelError` that names the innermost line of its own.

    Args:
        reference: `module:function` that is being run.
        folder: where the kernel's files are.
    """
    try:
        yield
    except RunError:
        raise
    except MemoryError as error:
        raise HostError(f"{reference} ran out of memory", hint="raise hardware.memory to what it needs") from error
    except (Exception, SystemExit) as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise HostError(f"{reference} ran out of memory: {_reason(error)}") from error
        raise KernelError(f"{reference}: {_reason(error)}{_place(error, folder)}") from error


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, folder: Path) -> str:
    import traceback  # noqa: PLC0415 - 1 ms of a start in which nothing fails

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(folder):
            return f" ({path.relative_to(folder)}, line {frame.lineno}, in {frame.name})"
    return ""
