"""How long work reports itself, without knowing who watches.

Library code receives a `Progress`; `builder.cli` decides whether that is a live display, plain lines or nothing.
All methods may be called from any thread.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Protocol, Self

Unit = Literal["bytes", "items"]


class Step(Protocol):
    """One piece of running work; leaving the `with` block ends it, with an exception as failed."""

    def advance(self, amount: int = 1) -> None:
        """Report `amount` more units as done."""

    def note(self, text: str) -> None:
        """Attach a short remark ("cached", "retrying in 2 s") that stays beside the step."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where steps are announced."""

    def step(self, name: str, total: int | None = None, unit: Unit = "bytes") -> Step:
        """Begin a step of `total` units, or of unknown length."""

    def detail(self, text: str) -> None:
        """Say something that only a reader with `-v` wants to know."""

    def warn(self, text: str) -> None:
        """Say something that every reader should know and that does not stop the work."""


class _SilentStep:
    def advance(self, amount: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Silent:
    """A `Progress` that reports to no one."""

    def step(self, name: str, total: int | None = None, unit: Unit = "bytes") -> Step:
        return _SilentStep()

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
