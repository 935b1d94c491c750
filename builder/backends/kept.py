"""Programs of others that end when kbuild does, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_KEEPER = Path(__file__).with_name("keeper.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit status, or minus its signal, and what it printed."""

    status: int
    out: bytes
    said: bytes


def run(line: Any, environment: Mapping[str, str], *, stdin: IO[bytes] | None = None) -> Ended:
    """Run a program to its end, or to this process's, whichever comes first: see `builder/backends/keeper.py`.

    Args:
        line: a command of plumbum's with its arguments.
        environment: the program's whole environment.
        stdin: what it reads; nothing if not given.

    Raises:
        OSError: it does not start.
    """
    from plumbum import local  # noqa: PLC0415 - not needed to print a version

    process: Any = None
    end, lifeline = os.pipe()
    if os.access(sys.executable or "", os.X_OK):
        line = local[sys.executable]["-I", "-S", str(_KEEPER), str(end), str(end), "0"][line.formulate()]
    try:
        try:
            process = line.popen(
                env=environment,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(end,),
            )
        finally:
            os.close(end)
        out, said = process.communicate()
    finally:
        os.close(lifeline)
        if process is not None:
            process.wait()  # so that nobody writes any more where it did
    return Ended(int(process.returncode), out, said)
