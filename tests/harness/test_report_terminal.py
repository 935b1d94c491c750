"""The terminal's rendering, and the words that both renderings share."""

from __future__ import annotations

import io
import unicodedata

import pytest
import report_samples
from rich.console import Console
from test_report_html import poisoned

from builder.harness import report, report_words
from builder.harness.compare.model import Status, TensorDiff
from builder.harness.report_model import Conclusion, letters
from builder.harness.report_terminal import comparison
from builder.harness.verdict import Verdict


def printed(found: report.Report, **settings: object) -> str:
    stream = io.StringIO()
    report.terminal(found, Console(file=stream, width=160, **settings))
    return stream.getvalue()


def test_all_that_is_known_is_said() -> None:
    text = printed(report_samples.everything())
    for words in (
        "linux/amd64, example", "linux/arm64, example", "haswell", "cpu Haswell", "≠ differs", "= equal", "⊘ refused",
        "✕ failed", "◷ timed out", "○ alone", "old: this CPU lacks", "hint: run on a newer CPU",
        "31 of 40 (78 %) differ; largest distance 328 ULP", "a 0xc0f3a1b2  -7.613488",
        "First divergence: conv_general_dilated [12/0]", "what goes in is equal", "conv_general_dilated at model.py:4",
        "likely matmul-dispatch: kernels", "note: on native", "CPU features", "≠ moved", "2 of 9 runs differ",
    ):  # fmt: skip
        assert words in text, words
    assert "\x1b" not in text
    assert "flush to zero" not in text  # what nobody varied is for the page


def test_platforms_that_are_compared_are_one_matrix() -> None:
    text = printed(report_samples.portable())
    for words in (
        "linux/amd64 and linux/arm64, example", "linux/amd64, cpu Haswell", "1 of 5 runs differs",
        "native against arm-max (linux/amd64 and linux/arm64, example)",
    ):  # fmt: skip
        assert words in text, words
    (row,) = [line for line in text.splitlines() if line.startswith("|arm-max")]
    assert "linux/arm64" in row
    assert "≠ B" in row


def test_agreement_is_short() -> None:
    text = printed(report_samples.agreed())
    assert text.rstrip().endswith("All 3 runs agree, bit for bit")
    assert "Differences" not in text


def test_colour_only_adds_to_what_is_said() -> None:
    assert "\x1b[" in printed(report_samples.everything(), force_terminal=True, color_system="standard")


@pytest.mark.parametrize("settings", [{}, {"force_terminal": True}])
def test_hostile_words_move_no_cursor(settings: dict[str, object]) -> None:
    text = printed(poisoned(report_samples.everything()), color_system=None, **settings)
    allowed = {"\n"}
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in allowed]


def test_a_comparison_names_what_cannot_be_compared() -> None:
    stream = io.StringIO()
    comparison(
        [
            TensorDiff("same", Status.EQUAL, "int8", "int8", (1,), (1,), elements=1),
            TensorDiff("kind", Status.TYPE, "int8", "uint8", (1,), (1,)),
            TensorDiff("form", Status.SHAPE, "int8", "int8", (1,), (2,)),
            TensorDiff("gone", Status.ONLY_A, "int8", None, (1,), None),
            TensorDiff("new", Status.ONLY_B, None, "int8", None, (1,)),
            report_samples.TENSOR,
        ],
        Console(file=stream, width=120),
    )
    text = stream.getvalue()
    for words in (
        "int8 [1] against uint8 [1]", "int8 [1] against int8 [2]", "missing in the second", "missing in the first",
        "not compared", "31 of 40 (78 %)",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("verdicts", "conclusion", "words"),
    [
        ([Verdict.EQUAL] * 2, Conclusion.AGREED, "All 2 runs agree, bit for bit"),
        ([Verdict.EQUAL, Verdict.DIFFERS], Conclusion.DIFFERS, "1 of 2 runs differs"),
        ([Verdict.DIFFERS, Verdict.FAILED], Conclusion.DIFFERS, "1 of 2 runs differs"),
        ([Verdict.EQUAL, Verdict.TIMED_OUT], Conclusion.OPEN, "not every run counts: 1 equal, 1 timed out"),
        ([Verdict.ALONE], Conclusion.OPEN, "not every run counts: 1 alone"),
        ([Verdict.REFUSED, Verdict.FAILED], Conclusion.OPEN, "not every run counts: 1 failed, 1 refused"),
        ([], Conclusion.OPEN, "Nothing ran"),
    ],
)
def test_conclusions(verdicts: list[Verdict], conclusion: Conclusion, words: str) -> None:
    runs = [
        report_samples.run(f"host{place}", verdict, report_samples.A if verdict.delivered else None)
        for place, verdict in enumerate(verdicts)
    ]
    found = report.from_runs(report_samples.verification(*runs))
    assert found.conclusion is conclusion
    assert words in report_words.headline(found)


def test_letters_and_buckets() -> None:
    assert [letters(place) for place in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip
    assert [report_words.bucket(place) for place in (0, 1, 2, 5, 6, 7, 63)] == [
        "1", "2-3", "4-7", "32-63", "64-127", "2^7", "2^63",
    ]  # fmt: skip
