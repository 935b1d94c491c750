"""Every error that kbuild raises on purpose, and the exit code each family ends the process with.

A library function raises one of these or lets a bug escape; only `builder.cli` prints and exits. The message says
what is wrong, `where` says at which file, line or artifact, and `hint` says what to do next.

Exit codes are stable: 0 yes, 1 no, 2 usage or bad spec, 3 environment, 4 input hash mismatch, 5 not reproducible,
6 no approval, 7 approval invalid, 70 bug.
"""

from __future__ import annotations

from typing import ClassVar


class KbuildError(Exception):
    """Root of all deliberate errors.

    Args:
        message: one sentence without a full stop, lower case first letter.
        where: `file:line:column`, an artifact's name, or another place a reader can go to.
        hint: what to do, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def diagnostics(self) -> str:
        """The whole error for a person: where, what, what to do."""
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\nhint: {self.hint}" if self.hint else head


class UsageError(KbuildError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class SpecError(KbuildError):
    """The kernel spec is wrong; `diagnostics` may hold several findings at once."""

    exit_code = 2


class LockError(KbuildError):
    """The lock is missing, malformed, or no longer fits its spec."""

    exit_code = 2


class ResolveError(KbuildError):
    """A requirement of the spec cannot be met by what the registries offer."""

    exit_code = 2


class KernelError(KbuildError):
    """The kernel's own code or its inputs are at fault: it does not compile, load, or accept what it was given."""

    exit_code = 2


class EnvironmentFault(KbuildError):
    """The machine lacks something: network, disk, namespaces, permission, an offline blob."""

    exit_code = 3


class TimedOut(EnvironmentFault):
    """A run was not done in the time that it had; all of its processes are gone."""


class FetchError(EnvironmentFault):
    """No source delivered an artifact."""


class IntegrityError(KbuildError):
    """Bytes from outside are not the bytes that were promised, or are malformed in a way that could do harm."""

    exit_code = 4


class NotReproducible(KbuildError):
    """A build gave another digest than the lock records for the same sources."""

    exit_code = 5
