"""How a build ended, whichever of Docker's builders ran it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from builder.errors import IntegrityError
from builder.layers.spool import Spool

LARGEST = 4 << 30
"""Bytes of the tar that an action's output may come back as, and of the files in it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The command's exit status (128 + n for signal n), the end of what it printed, and its output if it succeeded."""

    status: int
    output: str
    tar: Spool | None = None


def collect(chunks: Iterable[bytes], where: str) -> Spool:
    """Keep what an engine sends.

    Raises:
        IntegrityError: there is more of it than `LARGEST`.
    """
    spool = Spool()
    for chunk in chunks:
        if spool.size + len(chunk) > LARGEST:
            raise IntegrityError(f"the Docker engine sends an output of more than {LARGEST} bytes", where=where)
        spool.write(chunk)
    return spool
