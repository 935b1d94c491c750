"""Loading a spec and holding it to the tables of this package, with every finding at its place."""

from __future__ import annotations

from pathlib import Path

from builder.determinism.pins import problems
from builder.spec.load import loads, read, report
from builder.spec.model import Spec


def checked(path: Path) -> Spec:
    """Load the spec at a path.

    Raises:
        SpecErrors: it is no valid spec, or asks for what no flag, pin or compiler option gives.
        SpecError: it cannot be read.
    """
    text = read(path)
    spec = loads(text, str(path))
    if wrong := problems(spec):
        raise report(wrong, text, str(path))
    return spec
