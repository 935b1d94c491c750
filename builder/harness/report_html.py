"""The report as one page: no script, nothing fetched, and nothing that a host wrote is taken for markup."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from builder.harness import report_words as words
from builder.harness.compare.model import Status, TensorDiff
from builder.harness.report_chart import chart
from builder.harness.report_model import Difference, Effect, Located, Report, Section, letters, sections
from builder.harness.report_receipts import shown, what_ran
from builder.harness.verdict import HostRun, Verdict
from builder.pages import environment, style
from builder.platforms import Platform

if TYPE_CHECKING:
    from jinja2 import Environment

TONES = {
    Verdict.EQUAL: "good",
    Verdict.DIFFERS: "bad",
    Verdict.FAILED: "bad",
    Verdict.REFUSED: "warn",
    Verdict.TIMED_OUT: "warn",
    Verdict.ALONE: "info",
    Effect.HELD: "good",
    Effect.MOVED: "bad",
    Effect.NOT_VARIED: "none",
}
"""Which of the style sheet's colours goes with a verdict; a symbol and a word always stand beside it."""

MOST = 12
"""Values of one divergence that are shown; where a program began with other weights, there may be hundreds."""


def html(report: Report) -> str:
    """The page, as text to be written in UTF-8."""
    found = sections(report.verification)
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            verification=report.verification,
            **style(),
            headline=words.headline(report),
            counts=report.counts(),
            facts=what_ran(report.verification.runs),
            sections=found,
            matrices=[_matrix(section) for section in found],
            labels=_labels(found),
            whole=[
                (section, output, groups[0])
                for section in found
                for output, groups in section.groups.items()
                if len(groups) == 1
            ],
            receipts=[entry for run in report.verification.runs if (entry := shown(run))],
        )
    )


@functools.cache
def _templates() -> Environment:
    found = environment()
    found.filters |= {"digits": _digits, "chart": chart, "member": _member, "parted": _parted}
    found.globals |= {"words": words, "tones": TONES, "letters": letters, "Status": Status, "most": MOST}
    return found


def _matrix(section: Section) -> dict[str, Any]:
    repeated = max(run.repeat for run in section.runs) > 1
    return {
        "section": section,
        "columns": [(output, _kind(section.runs, output)) for output in section.outputs],
        "rows": [
            {
                "run": run,
                "name": words.host_name(run, repeated=repeated),
                "conditions": words.unusual(run, several=section.spans),
                "cells": [section.label(run, output) for output in section.outputs],
            }
            for run in section.runs
        ],
    }


def _kind(runs: Sequence[HostRun], output: str) -> str:
    """An output's type and shape, by the first run that has it."""
    facts = next((run.outputs[output] for run in runs if output in run.outputs), {})
    return words.tensor_kind(facts.get("dtype"), facts.get("shape"))


def _labels(found: Sequence[Section]) -> dict[tuple[tuple[Platform, ...], str, str, str, int], str]:
    """The letter of every run's group, by platforms, case, output, host and repeat."""
    return {
        (section.platforms, section.case, output, member.host, member.repeat): letters(place)
        for section in found
        for output in section.outputs
        for place, group in enumerate(section.groups[output])
        for member in group.members
    }


def _member(pair: Difference | Located, which: str) -> str:
    member = pair.a if which == "a" else pair.b
    return f"{member.host}{f' · run {member.repeat}' if member.repeat > 1 else ''}"


def _parted(tensors: Sequence[TensorDiff]) -> list[TensorDiff]:
    return [tensor for tensor in tensors if not tensor.equal]


def _digits(own: str, other: str) -> list[tuple[str, bool]]:
    """A bit pattern in runs of digits, each with whether the other pattern has others there."""
    runs: list[tuple[str, bool]] = []
    for place, digit in enumerate(own):
        differs = other[place : place + 1] != digit
        if runs and runs[-1][1] is differs:
            runs[-1] = (runs[-1][0] + digit, differs)
        else:
            runs.append((digit, differs))
    return runs
