"""A comparison and a report as plain JSON data (docs/compare.md says what each key means).

Keys are only ever added within a schema's number. Counts and distances are whole numbers and may go beyond 2^53, where
a reader that takes numbers as binary64 loses their last digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from builder.harness.compare.model import Element, TensorDiff
from builder.harness.localise_model import Operation
from builder.harness.report_model import Difference, Influence, Located, Report, letters, sections
from builder.harness.verdict import HostRun, Member
from builder.platforms import Platform

DIFF_SCHEMA = "kbuild.diff/1"
REPORT_SCHEMA = "kbuild.report/1"


def diff_to_json(a: str, b: str, tensors: Sequence[TensorDiff]) -> dict[str, Any]:
    """What `kbuild diff --json` says.

    Args:
        a: where one run's outputs are.
        b: where the other's are.
        tensors: as `builder.harness.compare.differ.diff` gives them.
    """
    return {
        "schema": DIFF_SCHEMA,
        "a": a,
        "b": b,
        "equal": all(tensor.equal for tensor in tensors),
        "tensors": {tensor.name: tensor_to_json(tensor) for tensor in tensors},
    }


def tensor_to_json(tensor: TensorDiff) -> dict[str, Any]:
    """One tensor's comparison, without its name."""
    return {
        "status": tensor.status.value,
        "a": _kind(tensor.dtype_a, tensor.shape_a),
        "b": _kind(tensor.dtype_b, tensor.shape_b),
        "elements": tensor.elements,
        "differing": tensor.differing,
        "first": _element(tensor.first),
        "worst": _element(tensor.worst),
        "cases": asdict(tensor.cases),
        "unit": tensor.unit.value,
        "largest": tensor.largest,
        "histogram": list(tensor.histogram),
    }


def to_json(report: Report) -> dict[str, Any]:
    """The whole report: everything that the page shows, and receipts in full."""
    verification = report.verification
    return {
        "schema": REPORT_SCHEMA,
        "name": verification.name,
        "digest": verification.digest,
        "manifests": dict(verification.manifests),
        "moment": report.moment,
        "conclusion": report.conclusion.value,
        "counts": {verdict.value: count for verdict, count in report.counts().items()},
        "cases": list(verification.cases),
        "runs": [_run(run) for run in verification.runs],
        "groups": [
            {
                **_platforms(section.platforms),
                "case": section.case,
                "output": output,
                "label": letters(place),
                "sha256": group.sha256,
                "reference": group.reference,
                "members": [_member(member) for member in group.members],
            }
            for section in sections(verification)
            for output in section.outputs
            for place, group in enumerate(section.groups[output])
        ],
        "differences": [_difference(item) for item in report.differences],
        "localisations": [_localisation(item) for item in report.localisations],
        "influences": [_influence(item) for item in report.influences],
    }


def _kind(dtype: str | None, shape: Sequence[int] | None) -> dict[str, Any] | None:
    return None if dtype is None or shape is None else {"dtype": dtype, "shape": list(shape)}


def _element(element: Element | None) -> dict[str, Any] | None:
    if element is None:
        return None
    return {
        "index": list(element.index),
        "a": {"bits": element.a_bits, "value": element.a},
        "b": {"bits": element.b_bits, "value": element.b},
    }


def _platforms(platforms: tuple[Platform, ...]) -> dict[str, Any]:
    """Of one platform, its name; of several that are compared with each other, none."""
    return {"platform": platforms[0] if len(platforms) == 1 else None, "platforms": list(platforms)}


def _member(member: Member) -> dict[str, Any]:
    return {"host": member.host, "repeat": member.repeat}


def _run(run: HostRun) -> dict[str, Any]:
    """Without the folder, which is this machine's own affair."""
    return {
        "host": run.host,
        "repeat": run.repeat,
        "kind": run.kind,
        "platform": run.platform,
        "case": run.case,
        "conditions": run.conditions.described(),
        "verdict": run.verdict.value,
        "error": run.error,
        "hint": run.hint,
        "seconds": round(run.seconds, 3),
        "cached": run.cached,
        "receipt": _plain(run.receipt),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        **_platforms(difference.platforms),
        "case": difference.case,
        "output": difference.tensor.name,
        "a": _member(difference.a),
        "b": _member(difference.b),
        "tensor": tensor_to_json(difference.tensor),
    }


def _localisation(located: Located) -> dict[str, Any]:
    found = located.found
    return {
        **_platforms(located.platforms),
        "case": located.case,
        "a": _member(located.a),
        "b": _member(located.b),
        "found": found.found.value,
        "operations": [_operation(operation) for operation in found.operations],
        "source": [asdict(line) for line in located.source],
        "inputs_equal": found.inputs_equal,
        "inputs": {tensor.name: tensor_to_json(tensor) for tensor in found.inputs},
        "outputs": {tensor.name: tensor_to_json(tensor) for tensor in found.outputs},
        "suspects": [
            {"influence": suspect.influence, "why": suspect.why, "seen": list(suspect.seen)}
            for suspect in found.suspects
        ],
        "fusion": found.fusion,
        "confirmed": found.confirmed,
        "leaves": found.leaves,
        "traced": found.runs,
        "compared": found.compared,
        "notes": list(found.notes),
    }


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "path": operation.path,
        "primitive": operation.primitive,
        "parameters": operation.parameters,
        "file": operation.source.file if operation.source else None,
        "line": operation.source.line if operation.source else None,
        "function": operation.source.function if operation.source else None,
        "takes": [_kind(dtype, shape) for dtype, shape in operation.inputs],
        "gives": [_kind(dtype, shape) for dtype, shape in operation.outputs],
    }


def _influence(influence: Influence) -> dict[str, Any]:
    return {
        "name": influence.name,
        "acts": influence.acts,
        "pinned": influence.pinned,
        "varied": list(influence.varied),
        "effect": influence.effect.value,
    }


def _plain(value: Any) -> Any:
    """JSON data that may have come in read-only mappings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
