"""How errors and tables look, with colour and without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import kbuild, on_terminal
from hypothesis import given
from hypothesis import strategies as st

from builder.cli import appearance
from builder.errors import KernelError, SpecError
from builder.spec.findings import SHOWN, Finding, SpecErrors

FINDINGS = [
    Finding("spec.toml", 12, 3, 4, "unknown key 'nmae'", "did you mean 'name'?", "  nmae = 1"),
    Finding("spec.toml", 2, 1, 3, "is wrong", None, "abc = 2"),
    Finding("spec.toml", 0, 0, 0, "is no spec", "write one"),
]
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def report(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    appearance.report_error(error, as_json=False)
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("colour")
def test_findings_in_colour(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SpecErrors(FINDINGS[:1]), capsys) == (
        "\x1b[1;31merror\x1b[0m\x1b[1m: unknown key 'nmae'\x1b[0m\n"
        "\x1b[1;34m  --> \x1b[0mspec.toml:12:3\n"
        "\x1b[1;34m   |\x1b[0m\n"
        "\x1b[1;34m12 | \x1b[0m  nmae = 1\n"
        "\x1b[1;34m   | \x1b[0m\x1b[1;31m  ^^^^\x1b[0m\n"
        "\x1b[1;34m   = \x1b[0m\x1b[36mhint: did you mean 'name'?\x1b[0m\n"
    )


def test_colour_changes_no_letter(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Finding("s", line, 1, 1, f"number {line}", None, "x") for line in range(1, SHOWN + 8)]
    for error in (SpecErrors(FINDINGS), SpecErrors(many), SpecError("a\nb", where="w", hint="h")):
        monkeypatch.setenv("NO_COLOR", "1")
        bare = report(error, capsys)
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        assert ESCAPE.sub("", report(error, capsys)) == bare
        assert "\x1b" not in bare
    assert "and 7 more errors" in report(SpecErrors(many), capsys)


@pytest.mark.usefixtures("plain")
def test_plain_errors_are_their_diagnostics(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SpecErrors(FINDINGS), capsys) == SpecErrors(FINDINGS).diagnostics() + "\n"
    assert report(SpecError("is wrong"), capsys) == "error: is wrong\n"
    assert report(SpecError("is wrong", where="here", hint="mend it"), capsys) == (
        "error: here: is wrong\nhint: mend it\n"
    )
    long = KernelError("g++ failed\n  op.cc:1: error: expected\n", where="op")
    assert report(long, capsys) == "error: op: g++ failed\n  op.cc:1: error: expected\n"


@pytest.mark.usefixtures("colour")
def test_no_style_runs_over_the_end_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (SpecErrors(FINDINGS), SpecError("a\n\nb", where="w", hint="h")):
        for line in report(error, capsys).splitlines():
            codes = ESCAPE.findall(line)
            assert not codes or codes[-1] == "\x1b[0m"


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_nothing_from_outside_moves_the_cursor(message: str, where: str | None, hint: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        text = "".join(part for _, part in appearance._segments(SpecError(message, where=where, hint=hint)))
    assert all(char == "\n" or char.isprintable() or char == "\u3000" or not char.isascii() for char in text)
    assert not set(text) & set("\x1b\r\b\t\x07\x9b\u202e")
    assert text.startswith("error: ")
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("env", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),  # no-color.org: present and not empty
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_who_gets_colour(
    env: dict[str, str], *, terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def isatty(self) -> bool:
            return terminal

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert appearance.colour(Stream()) is expected


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"),
        (1 << 30, "1.00 GiB"), (5 << 40, "5120.00 GiB"),
    ],
)  # fmt: skip
def test_sizes(size: int, text: str) -> None:
    assert appearance.human_size(size) == text


def table(env: str) -> list[str]:
    code = "from builder.cli.appearance import table; table('t', ('layer', 'size'), [('[bold]base', '1'), ('w', '20')],"
    return ["-c", f"{code} right=(1,)){env}"]


@pytest.mark.parametrize(("env", "styled"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_table_on_a_terminal(env: dict[str, str], *, styled: bool) -> None:
    code, written = on_terminal(*table(""), env=env)
    assert code == 0
    assert ("\x1b" in written) is styled
    assert "base" in written


def test_a_spec_on_a_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("schema = 2\n")
    piped = kbuild(tmp_path / "spec.toml").stderr
    code, written = on_terminal("-m", "builder", tmp_path / "spec.toml")
    assert code == 2
    assert "\x1b[1;31merror\x1b[0m" in written
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", written) == piped
