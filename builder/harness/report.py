"""A verification's report: one model (`report_model`), three renderings.

`terminal` for people at a terminal, `to_json` for programs, `html` for everybody else: one page that needs nothing.
"""

from __future__ import annotations

from builder.harness.report_html import html
from builder.harness.report_json import to_json
from builder.harness.report_model import (
    Conclusion,
    Difference,
    Effect,
    Influence,
    Located,
    Report,
    SourceLine,
    excerpt,
    from_runs,
)
from builder.harness.report_terminal import terminal

__all__ = [
    "Conclusion", "Difference", "Effect", "Influence", "Located", "Report", "SourceLine", "excerpt", "from_runs",
    "html", "terminal", "to_json",
]  # fmt: skip
