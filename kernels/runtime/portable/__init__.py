"""Portable numerics: the same bits on every IEEE-754 host, by the specification in docs/numerics/."""
