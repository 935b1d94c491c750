"""Every way in which a run can fail on purpose, and the exit code of each.

Exit codes of the protocol: 0 done, 2 the inputs or the kernel are at fault, 3 the host is refused, 70 a bug of the
runtime. Whatever else escapes is such a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from kernels.runtime.check import Requirement

Step = Literal["initialise", "input", "execute", "output"]


class RunError(Exception):
    """Root of all deliberate failures.

    Args:
        message: what is wrong, in one sentence without a full stop, lower case first letter.
        hint: what to do, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(RunError):
    """The inputs are not what the spec declares, or are malformed."""

    exit_code = 2


class KernelError(RunError):
    """The kernel's own code or files are at fault: they don't load, run, or give what the spec declares."""

    exit_code = 2


class HostError(RunError):
    """This host may not run the kernel, or lacks what a run needs.

    Args:
        message: see `RunError`.
        hint: see `RunError`.
        unmet: the requirements that the host does not meet, if it was refused.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None, unmet: Sequence[Requirement] = ()) -> None:
        super().__init__(message, hint=hint)
        self.unmet = tuple(unmet)
