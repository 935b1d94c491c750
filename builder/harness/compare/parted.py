"""How every group that parts from the reference differs from it: the one step of a report that reads outputs."""

from __future__ import annotations

from pathlib import Path

from builder.harness.compare.differ import diff
from builder.harness.compare.model import TensorDiff
from builder.harness.report_model import Difference
from builder.harness.verdict import Verification
from builder.progress import Progress


def differences(verification: Verification, *, progress: Progress) -> tuple[Difference, ...]:
    """Compare the first run of each group with the reference's.

    Two runs are compared once, however many of their outputs differ.

    Args:
        verification: its runs' folders are read.
        progress: sees the bytes go by.

    Returns:
        One entry for every group that is not the reference's, in the order of the groups.

    Raises:
        UsageError: a run's outputs are gone.
        IntegrityError: they are not what they were.
    """
    found: list[Difference] = []
    done: dict[tuple[Path, Path], dict[str, TensorDiff]] = {}
    references = {(group.platforms, group.case): group for group in verification.groups if group.reference}
    for group in verification.groups:
        if group.reference:
            continue
        reference = references[group.platforms, group.case].members[0]
        a, b = (verification.run(group.case, member).folder for member in (reference, group.members[0]))
        if a is None or b is None:
            raise AssertionError("a run in a group delivered")
        if (a, b) not in done:
            done[a, b] = {item.name: item for item in diff(a, b, progress=progress)}
        tensor = done[a, b].get(group.output)
        if tensor is not None:
            found.append(Difference(group.platforms, group.case, reference, group.members[0], tensor))
    return tuple(found)
