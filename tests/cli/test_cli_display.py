"""Progress: lines for logs, a display that leaves nothing behind for terminals, silence on request."""

from __future__ import annotations

import argparse
import re
import sys
import threading

import pytest
from command import on_terminal

from builder.cli import display
from builder.cli.display import Live, Plain, progress
from builder.progress import Progress, Silent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_a_long_step_is_one_line_at_its_end(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(verbose=False).step("fetch", 4 << 20) as step:
        step.advance(1 << 20)
        step.advance(3 << 20)
        clock[0] = 2.0
    assert lines(capsys) == ["fetch: 4.0 MiB in 2.0 s"]


def test_a_very_long_step_reports_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(verbose=False).step("fetch", 100) as step:
        for _ in range(100):
            clock[0] += 0.3
            step.advance()
    assert lines(capsys) == ["fetch: 34 % 34 B", "fetch: 68 % 68 B", "fetch: 100 B in 30.0 s"]


def test_items_notes_and_unknown_lengths(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(verbose=False).step("resolve", None, "items") as step:
        step.advance(3)
        step.note("2 kept")
        clock[0] = 1.0
    with Plain(verbose=False).step("wait"):
        clock[0] = 3.0
    assert lines(capsys) == ["resolve: 3 in 1.0 s (2 kept)", "wait: in 2.0 s"]


@pytest.mark.usefixtures("clock")
def test_short_steps_are_only_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, expected in ((False, []), (True, ["pack: done", "fetch: cached"])):
        plain = Plain(verbose=verbose)
        with plain.step("pack"):
            pass
        with plain.step("fetch") as step:
            step.note("cached")
        assert lines(capsys) == expected


@pytest.mark.usefixtures("clock")
def test_failure_details_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(verbose=False)
    with pytest.raises(ValueError, match="x"), plain.step("fetch"):
        raise ValueError("x")
    plain.detail("nobody asked")
    plain.warn("old lock")
    Plain(verbose=True).detail("somebody asked")
    assert lines(capsys) == ["fetch: failed", "warning: old lock", "somebody asked"]


def test_lines_of_many_threads_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(verbose=True)
    threads = [threading.Thread(target=lambda n=n: [plain.detail(f"{n}" * 50) for _ in range(20)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(lines(capsys))) == [f"{n}" * 50 for n in range(8)]


@pytest.mark.parametrize(
    ("terminal", "quiet", "env", "expected"),
    [
        (True, False, {}, Live), (False, False, {}, Plain), (True, True, {}, Silent), (False, True, {}, Silent),
        (True, False, {"CI": "true"}, Plain), (True, False, {"TERM": "dumb"}, Plain),
    ],
)  # fmt: skip
def test_who_sees_what(
    terminal: bool, quiet: bool, env: dict[str, str], expected: type, monkeypatch: pytest.MonkeyPatch,  # noqa: FBT001
) -> None:  # fmt: skip
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress(argparse.Namespace(quiet=quiet, verbose=False)) as found:
        found_type: type[Progress] = type(found)
    assert found_type is expected


SCRIPT = """
import argparse, time
from builder.cli.display import progress
with progress(argparse.Namespace(quiet=False, verbose=True)) as display:
    with display.step("fetch [weights]", 100) as one, display.step("items", 3, "items") as two:
        for _ in range(3):
            one.advance(30)
            two.advance()
            one.note("from [far] away")
            time.sleep(0.15)
        display.detail("a [detail]")
        display.warn("a [warning]")
print("answer")
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def screen(written: str) -> list[str]:
    """What a terminal shows in the end: enough of one for what a progress display writes."""
    rows, row, column = [""], 0, 0
    for match in re.finditer(r"\x1b\[([0-9;?]*)([A-Za-z])|\n|\r|[^\x1b]", written):
        token, number = match[0], int(match[1]) if (match[1] or "").isdigit() else 1
        if token == "\n":
            row, column = row + 1, 0
        elif token == "\r":
            column = 0
        elif match[2] == "A":
            row -= number
        elif match[2] == "K":
            rows[row] = "" if match[1] == "2" else rows[row][:column]
        elif match[2] is None:
            rows[row] = rows[row].ljust(column)[:column] + token + rows[row][column + 1 :]
            column += 1
        while len(rows) <= row:
            rows.append("")
    return [line.rstrip() for line in rows if line.strip()]


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_a_terminal_is_left_as_it_was(env: dict[str, str]) -> None:
    code, written = on_terminal("-c", SCRIPT, env={"COLUMNS": "120"} | env)
    assert code == 0, written
    assert "fetch [weights]" in written, "names are shown as they are, not as markup"
    assert "90 B of 100 B" in written
    assert "3/3" in written
    assert "from [far] away" in written
    assert screen(written) == ["a [detail]", "warning: a [warning]", "answer"]
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is shown again"


def test_a_failure_leaves_the_terminal_as_it_was() -> None:
    script = SCRIPT.replace("display.detail(", "raise SystemExit(3) #")
    code, written = on_terminal("-c", script, env={"COLUMNS": "120"})
    assert code == 3
    assert screen(written) == []
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")


def test_without_colour_the_display_has_none() -> None:
    _, written = on_terminal("-c", SCRIPT, env={"NO_COLOR": "1"})
    assert {code for code in ESCAPE.findall(written) if code.endswith("m")} <= {"\x1b[0m"}


def test_a_log_has_no_control_characters() -> None:
    _, written = on_terminal("-c", SCRIPT, env={"TERM": "dumb"})
    assert "\x1b" not in written
    assert "\r" not in written
    assert "warning: a [warning]" in written
