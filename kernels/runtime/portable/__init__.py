"""Portable numerics: the same bits on every IEEE-754 host, by the specification in docs/numerics/."""

from kernels.runtime.portable.transform import portable

__all__ = ["portable"]
