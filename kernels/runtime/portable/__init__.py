"""Portable numerics: the same bits on every IEEE-754 host, by the specification in docs/numerics/."""

from __future__ import annotations

from typing import Any

__all__ = ["portable"]


def __getattr__(name: str) -> Any:
    """`portable`, which needs JAX; `library` is also imported where JAX is not."""
    if name != "portable":
        raise AttributeError(name)
    from kernels.runtime.portable.transform import portable  # noqa: PLC0415

    return portable
