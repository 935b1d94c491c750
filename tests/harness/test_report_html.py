"""The page: what it shows, that it needs nothing, and that nothing a host writes becomes markup."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_samples
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.harness import report
from builder.harness.localise_model import Found, Localisation
from builder.harness.report_chart import chart
from builder.harness.report_model import SourceLine, excerpt
from builder.harness.report_receipts import LONGEST
from builder.harness.report_words import SYMBOLS
from builder.harness.trace import Source
from builder.harness.verdict import Verdict

CSS = (Path(__file__).parents[2] / "templates" / "report.css").read_text()
VOID = {"meta", "br", "line", "rect"}


class Page(HTMLParser):
    """Every tag with its attributes in order, and the text; also checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


@pytest.fixture(scope="module")
def everything() -> Page:
    return Page(report.html(report_samples.everything()))


def test_all_that_is_known_is_shown(everything: Page) -> None:
    text = " ".join("".join(everything.text).split())
    for words in (
        "2 of 9 runs differ", "native", "hostile environment", "starter LANG=tr_TR.UTF-8 TZ=Asia/Kathmandu",
        "this CPU lacks avx2, fma, bmi1, bmi2 of x86-64-v3", "hint: run on a newer CPU", "float32 [4, 10]",
        "31 of 40 (78 %)", "328 ULP", "-0 against +0", "NaN against a number", "-7.613488", "0xc0f3a1b2",
        "conv_general_dilated [12/0]", "float32[3, 3, 1, 16]", "model.py:4", 'layout = ("NHWC"', "yes, every bit",
        "matmul-dispatch: kernels are picked by instruction set (differs: features, cpu)", "14 hashes compared of 118",
        "on native operations compiled alone come to other bits", "not pinned", "NPROC=2", "AMD EPYC 9B14", "24.0 GiB",
        "0.412 s", report_samples.A, report_samples.B, "sha256:" + "0" * 64,
    ):  # fmt: skip
        assert words in text, words
    for verdict in Verdict:
        assert f"{SYMBOLS[verdict]} {verdict.value}" in text
    assert len(set(SYMBOLS.values())) == len(Verdict)  # told apart without colour


def test_platforms_that_are_compared_are_one_matrix() -> None:
    page = Page(report.html(report_samples.portable()))
    text = " ".join("".join(page.text).split())
    assert "the first host that delivered, whatever its platform" in text
    assert "linux/amd64 and linux/arm64 · example" in text
    assert "cortex-a72linux/arm64" in text
    assert len([tag for tag, attributes in page.tags if attributes.get("class") == "matrix"]) == 1


def test_agreement_is_said_and_nothing_else(everything: Page) -> None:
    text = "".join(Page(report.html(report_samples.agreed())).text)
    assert "All 3 runs agree, bit for bit" in text
    for absent in ("Differences", "First divergence", "What was varied"):
        assert absent not in text
        assert absent in "".join(everything.text)


def test_the_page_needs_nothing_and_does_nothing(everything: Page) -> None:
    page = report.html(report_samples.everything())
    allowed = {
        "html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "article", "footer",
        "div", "span", "p", "h1", "h2", "h3", "h4", "ul", "ol", "li", "a", "dl", "dt", "dd", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "code", "pre", "b", "i", "br", "mark", "figure", "figcaption", "svg",
        "rect", "line", "text", "tspan", "details", "summary",
    }  # fmt: skip
    assert {tag for tag, _ in everything.tags} <= allowed
    for tag, attributes in everything.tags:
        assert not any(name.startswith("on") or name in {"style", "src", "srcset", "action"} for name in attributes)
        if "href" in attributes:
            assert tag == "a"
            assert re.fullmatch(r"#[a-z]+", attributes["href"] or "")
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"url\(|@import|expression|\\", CSS)


def test_the_policy_allows_the_one_style_sheet_and_nothing_else(everything: Page) -> None:
    page = report.html(report_samples.everything())
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [
        attributes["content"]
        for tag, attributes in everything.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "&" not in style  # escaping would change what is hashed


def test_headings_and_landmarks(everything: Page) -> None:
    levels = [int(tag[1]) for tag, _ in everything.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    anchors = [attributes["href"] for tag, attributes in everything.tags if tag == "a"]
    identifiers = [f"#{attributes['id']}" for _, attributes in everything.tags if "id" in attributes]
    assert anchors == identifiers
    assert len(set(identifiers)) == len(identifiers)
    assert all(attributes.get("scope") for tag, attributes in everything.tags if tag == "th")
    for tag, attributes in everything.tags:
        if attributes.get("class") == "scroll":  # reachable by keyboard, and named
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
        if tag == "html":
            assert attributes["lang"] == "en"


@pytest.mark.parametrize(
    ("found", "heading"),
    [
        (Found.OPERATION, "conv_general_dilated [12/0]"),
        (Found.SEGMENT, "conv_general_dilated [12/0], compiled together with what is around it"),
        (Found.ARGUMENT, "What the program began with"),
        (Found.PROGRAM, "Not the same program"),
        (Found.NOTHING, "No first operation was found"),
    ],
)
def test_every_end_of_a_search_has_words(found: Found, heading: str) -> None:
    located = dataclasses.replace(report_samples.LOCATED, found=dataclasses.replace(report_samples.FOUND, found=found))
    page = Page(report.html(dataclasses.replace(report_samples.everything(), localisations=(located,))))
    assert heading in page.text


def test_a_search_that_found_nothing_is_short() -> None:
    nothing = Localisation("native", "haswell", Found.NOTHING, notes=("this time both gave the same outputs",))
    located = dataclasses.replace(report_samples.LOCATED, found=nothing, source=())
    page = Page(report.html(dataclasses.replace(report_samples.everything(), localisations=(located,))))
    text = "".join(page.text)
    assert "this time both gave the same outputs" in text
    assert "Likely cause" not in text
    assert "traced run" not in text


def test_many_differing_values_are_counted() -> None:
    many = tuple(dataclasses.replace(report_samples.TENSOR, name=f"parameter {k}") for k in range(40))
    found = dataclasses.replace(report_samples.FOUND, outputs=many)
    located = dataclasses.replace(report_samples.LOCATED, found=found)
    text = "".join(Page(report.html(dataclasses.replace(report_samples.everything(), localisations=(located,)))).text)
    assert "parameter 11" in text
    assert "parameter 12" not in text
    assert "28 more differ" in text


def test_an_excerpt_is_around_its_line() -> None:
    text = "".join(f"line {k}\n" for k in range(1, 11))
    assert [(one.number, one.marked) for one in excerpt(text, 2, around=2)] == [
        (1, False), (2, True), (3, False), (4, False),
    ]  # fmt: skip
    assert excerpt(text, 10, around=1)[-1] == SourceLine(10, "line 10", True)
    assert excerpt(text, 0) == excerpt(text, 11) == excerpt("", 1) == ()


EVIL = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{7*7}}{% raw %}</style></title>--><!--"
    "\x00\x1b[31m\u202e\u2028"
)


def poisoned(value: Any) -> Any:
    """The same data, with every string from outside made hostile; equal strings stay equal."""
    if isinstance(value, Enum) or value is None or isinstance(value, int | float | Path):
        return value
    if isinstance(value, str):
        return EVIL + value
    if isinstance(value, Source):
        return value.model_copy(update={"file": EVIL + value.file, "function": EVIL + value.function})
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{field.name: poisoned(getattr(value, field.name)) for field in dataclasses.fields(value)}
        )
    if isinstance(value, Mapping):
        kept = {"result", "outputs", "tensors", "dtype", "shape", "sha256", "host", "microseconds", "kernel", "name"}
        kept |= {"version", "profile", "threads", "seed", "spec", "inputs"}
        return {key if key in kept else EVIL + key: poisoned(item) for key, item in value.items()}
    return type(value)(poisoned(item) for item in value)


def test_hostile_words_change_no_tag() -> None:
    plain = report_samples.everything()
    hostile = poisoned(plain)
    assert hostile != plain
    text = report.html(hostile)
    page, honest = Page(text), Page(report.html(plain))
    assert page.shape() == honest.shape()
    shown = "".join(page.text)
    assert "<script>alert(1)</script>" in shown  # as words
    assert "{{7*7}}" in shown
    assert not [char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char != "\n"]


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=50)
def test_any_name_is_shown_as_words(name: str) -> None:
    run = report_samples.run(name, error=name)
    shape = Page(report.html(report.from_runs(report_samples.verification(report_samples.run("plain"))))).shape()
    assert Page(report.html(report.from_runs(report_samples.verification(run)))).shape() == shape


@pytest.mark.parametrize(
    "receipt",
    [
        {"result": {}},
        {"result": {"kernel": 5, "profile": [], "seed": {"a": 1}, "inputs": "x"}, "host": "x", "microseconds": 7},
        {"result": [], "host": {"cpu": None, "memory": True, "x": [1, [2], {"y": 3}], "z": {"k": 1.5}}},
        {"result": {"kernel": {"name": "k" * 10_000}}, "microseconds": {"a": -1, "b": 2**60, "c": "1", "d": True}},
    ],
)
def test_odd_receipts_are_shown_as_they_are(receipt: dict[str, Any]) -> None:
    run = report_samples.run("odd", Verdict.FAILED, None, said=receipt, error="no outputs")
    assert "odd" in "".join(Page(report.html(report.from_runs(report_samples.verification(run)))).text)


def test_an_enormous_receipt_is_cut() -> None:
    said = report_samples.receipt({"logits": report_samples.A}, filler="x" * (1 << 20))
    run = report_samples.run("big", said=said)
    page = report.html(report.from_runs(report_samples.verification(run)))
    assert len(page) < LONGEST * 2
    assert "the JSON report has all of it" in page


def test_equal_findings_are_equal_bytes_whatever_the_process() -> None:
    code = (
        "import hashlib, report_samples; from builder.harness import report;"
        "print(hashlib.sha256(report.html(report_samples.everything()).encode()).hexdigest())"
    )
    found = set()
    for seed, zone, tongue in (("1", "UTC", "C"), ("2", "Asia/Kathmandu", "C.UTF-8")):
        env = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": tongue, "PYTHONPATH": ":".join(sys.path)}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found.add(run.stdout)
    assert len(found) == 1
    assert found == {hashlib.sha256(report.html(report_samples.everything()).encode()).hexdigest() + "\n"}


def test_a_moment_is_shown_only_if_given() -> None:
    plain = report_samples.agreed()
    assert "Made" not in report.html(plain)
    assert "on a Tuesday" in report.html(dataclasses.replace(plain, moment="on a Tuesday"))


# The style sheet


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[0] if scheme == "light" else blocks[1]))
    for text in ("ink", "soft", "info"):
        for ground in ("page", "card", "faint"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for tone in ("good", "bad", "warn", "info"):
        assert contrast(colours[tone], colours[f"{tone}-bg"]) >= 4.5, tone
        assert contrast(colours["ink"], colours[f"{tone}-bg"]) >= 4.5, tone
    assert contrast(colours["ink"], colours["mark"]) >= 4.5
    assert contrast(colours["bar"], colours["card"]) >= 3  # WCAG 1.4.11: parts of pictures


def test_every_class_has_a_rule(everything: Page) -> None:
    used = {name for _, attributes in everything.tags for name in (attributes.get("class") or "").split()}
    known = set(re.findall(r"\.([a-z]+)\b", CSS)) | {"output"}
    assert used <= known


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_the_window(tmp_path: Path, width: int) -> None:
    page = report.html(report_samples.everything())
    probe = "<script>document.title = 'probed ' + document.documentElement.scrollWidth + ' ' + innerWidth</script>"
    page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"{probe}</body>")
    (tmp_path / "page.html").write_text(page)
    run = subprocess.run(
        [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=60, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    (found,) = re.findall(r"<title>probed (\d+) (\d+)</title>", run.stdout)
    assert int(found[0]) <= int(found[1])


# Pictures


def test_a_chart_draws_each_bar_from_the_ground_up() -> None:
    picture = chart((0, 0, 3, 0, 1_000_000))
    assert picture is not None
    assert [(bar.label, bar.count) for bar in picture.bars] == [
        ("4\N{EN DASH}7", "3"), ("8\N{EN DASH}15", ""), ("16\N{EN DASH}31", "1.0M"),
    ]  # fmt: skip
    assert all(bar.y + bar.height == picture.ground for bar in picture.bars)
    assert picture.bars[1].height == 0 < picture.bars[0].height < picture.bars[2].height
    assert chart(()) is None


@given(st.lists(st.integers(0, 2**40), max_size=64))
def test_charts_stay_in_their_frame(histogram: list[int]) -> None:
    picture = chart(histogram)
    assert (picture is None) == (not any(histogram))
    for bar in picture.bars if picture else ():
        assert bar.x >= 0
        assert bar.x + bar.width <= picture.width
        assert 0 <= bar.y <= bar.y + bar.height == picture.ground
        assert bar.height or not bar.count
