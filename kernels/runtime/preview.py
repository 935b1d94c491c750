"""The first and last values of a result, for whoever looks at a receipt; no hash covers them."""

from __future__ import annotations

import numpy as np

from kernels.runtime.tensors import Array

WIDTH = 100
"""Columns of a line, the name and ` = ` before the first one counted."""
LONGEST = 400
"""Characters of a text."""
CHOICES = ((64, 6), (0, 6), (0, 4), (0, 3), (0, 2), (0, 1))
"""From the most to the least: how many values are shown in full; and of more, how many at each end of an axis."""


def preview(name: str, array: Array) -> str:
    """The values, as many as there is room for, to be shown after `NAME = `.

    Numbers have as many digits as it takes to tell them from every other of their type. A row stands on one line, and
    lines below the first are indented so that columns meet.
    """
    prefix = f"{name} = "
    text = ""
    for threshold, edge in CHOICES:
        text = _shown(array, prefix, threshold, edge)
        if len(text) <= LONGEST and len(prefix) + len(text.partition("\n")[0]) <= WIDTH:
            return text
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _shown(array: Array, prefix: str, threshold: int, edge: int) -> str:
    # Every option is stated: the kernel's own code may have changed NumPy's defaults.
    with np.printoptions(
        edgeitems=edge, floatmode="unique", formatter=None, infstr="inf", legacy=False, linewidth=1 << 20, nanstr="nan",
        precision=8, sign="-", suppress=False, threshold=threshold,
    ):  # fmt: skip
        return np.array2string(array, separator=", ", prefix=prefix)
