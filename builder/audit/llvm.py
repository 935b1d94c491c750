"""Which LLVM a jaxlib compiles with: its library says so in its own text, and nowhere else."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from builder.audit.schema import LIBRARY, library
from builder.errors import IntegrityError
from builder.store.blobs import Store

RECORDS: Final = "llvm-versions"

_VERSION: Final = re.compile(rb"LLVM version ([0-9][0-9A-Za-z.+-]{0,63})(?=[\0\n ])")
_STEP: Final = 8 << 20
"""Bytes between two looks: jaxlib 0.10.2 has it 32 MB from the beginning."""
_OVERLAP: Final = 128


def of_wheel(store: Store, sha256: str) -> str:
    """The version of LLVM in a jaxlib wheel of the store; looked for once per wheel.

    Raises:
        IntegrityError: the blob is no wheel with XLA in it, or it does not say.
        EnvironmentFault: the store has no such blob.
    """
    if record := store.recall(RECORDS, sha256):
        return str(record["llvm"])
    with library(store, sha256) as content:
        found = extract(content)
    store.remember(RECORDS, sha256, {"llvm": found})
    return found


def extract(content: BinaryIO) -> str:
    """The version that a library names, read from its beginning no further than needed.

    Raises:
        IntegrityError: it names none.
    """
    kept = b""
    while chunk := content.read(_STEP):
        kept = kept[-_OVERLAP:] + chunk
        if match := _VERSION.search(kept):
            return match[1].decode()
    raise IntegrityError("this jaxlib does not say which LLVM it has", where=LIBRARY)
