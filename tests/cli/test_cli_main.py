"""The command line's frame: which verb, where words go, and how a command ends."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import PLAIN, Outcome, kbuild, on_terminal, python

import builder
from builder.cli import main as command
from builder.cli.main import EXIT_CODES, VERBS, main, parser
from builder.errors import FetchError, IntegrityError, NotReproducible, SpecError
from builder.pipeline import unchanged
from builder.store.blobs import Store, hash_file

HEAVY = [
    "pydantic", "rich", "rich_argparse", "urllib3", "docker", "plumbum", "jinja2", "numpy", "jax", "zstandard",
    "filelock", "installer", "shtab", "packaging", "tomli", "certifi", "isal", "pysequoia", "cyclonedx", "resolvelib",
]  # fmt: skip

WRONG = {
    "no verb": [],
    "a misspelt verb": ["bild", "spec.toml"],
    "an unknown option": ["--nope"],
    "an unknown option of a verb": ["store", "path", "--nope"],
    "an abbreviated option": ["store", "gc", "--old", "3"],
    "too few words": ["build"],
    "too many words": ["schema", "extra"],
    "a spec that is not there": ["absent.toml"],
    "a lock's spec that is not there": ["lock", "absent.toml"],
    "a run of nothing": ["run", "absent.toml"],
    "no digest": ["inspect", "not a digest"],
    "an export of no digest": ["export", "not a digest", "/tmp/x"],
    "an unknown shell": ["completions", "fish"],
    "an unknown store action": ["store", "burn"],
    "two that exclude each other": ["lock", "x", "--check", "--upgrade"],
    "a name that is none": ["init", "Not A Name"],
    "options of another action": ["store", "path", "--keep", "123456"],
}


def test_version_says_it_and_costs_nothing() -> None:
    outcome = kbuild("--version")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, f"kbuild {builder.__version__}\n", "")
    code = f"""
import sys
from builder.cli.main import main
assert main(["--version"]) == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code).stdout.splitlines()[1] == "[]"


def test_parsing_alone_imports_no_library() -> None:
    code = f"""
import sys
from builder.cli.main import parser
parser().parse_args(["build", "spec.toml", "--json"])
print([name for name in {HEAVY} if name in sys.modules])
"""
    outcome = python(code)
    assert outcome.stdout == "[]\n", outcome.stderr


def test_the_quickest_build_imports_no_library(tmp_path: Path) -> None:
    for name in ("spec.toml", "spec.lock", "model.py"):
        (tmp_path / name).write_text(name)
    store = Store(tmp_path / "store")
    digest = f"sha256:{1:064x}"
    unchanged.remember(
        store, tmp_path / "spec.toml", tmp_path / "spec.lock", patterns=("*.py",),
        files={"model.py": hash_file(tmp_path / "model.py")[0]}, blobs=(),
        report={"name": "tiny", "digest": digest, "manifests": {}, "layers": {}},
    )  # fmt: skip
    code = f"""
import sys
from builder.cli.main import main
assert main([{str(tmp_path)!r}]) == 0
print([name for name in {HEAVY} if name in sys.modules])
"""
    outcome = python(code, env={"KBUILD_STORE": str(store.root)})
    assert outcome.stdout.splitlines() == [digest, "[]"], outcome.stderr
    assert outcome.stderr.startswith("tiny: nothing changed (")
    quiet = kbuild(tmp_path, "-q", env={"KBUILD_STORE": str(store.root)})
    assert (quiet.stdout, quiet.stderr) == (f"{digest}\n", "")
    said = json.loads(kbuild(tmp_path / "spec.toml", "--json", env={"KBUILD_STORE": str(store.root)}).stdout)
    assert (said["schema"], said["digest"]) == ("kbuild.build/1", digest)


def test_help_names_every_verb_and_exit_code() -> None:
    outcome = kbuild("--help")
    assert (outcome.code, outcome.stderr) == (0, "")
    for verb, summary in VERBS.items():
        assert re.search(rf"^ +{verb}\s+{re.escape(summary)}$", outcome.stdout, re.MULTILINE)
    assert EXIT_CODES in outcome.stdout
    assert "\x1b" not in outcome.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb: str, here: Callable[..., Outcome]) -> None:
    outcome = here(verb, "--help")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"usage: kbuild {verb} ")
    for option in ("--quiet", "--verbose", "--json"):
        assert option in outcome.stdout
    assert "\x1b" not in outcome.stdout


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
)
def test_help_on_a_terminal(env: dict[str, str], *, coloured: bool) -> None:
    for words in (["--help"], ["store", "--help"]):
        code, written = on_terminal("-m", "builder", *words, env=env)
        assert code == 0
        assert ("\x1b[" in written) is coloured
        assert "kbuild" in written


def test_colour_without_a_terminal_where_it_is_asked_for() -> None:
    assert "\x1b[" in kbuild("lock", "--help", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[" in kbuild("absent.toml", env={"FORCE_COLOR": "1"}).stderr
    assert "\x1b[" not in kbuild("absent.toml").stderr


@pytest.mark.parametrize("what", WRONG)
def test_wrong_usage(what: str, here: Callable[..., Outcome]) -> None:
    outcome = here(*WRONG[what])
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("what", sorted(WRONG.keys() - {"no verb"}))
def test_wrong_usage_as_json(what: str, here: Callable[..., Outcome]) -> None:
    outcome = here(*WRONG[what], "--json")
    assert outcome.code == 2
    (key, error), = json.loads(outcome.stdout).items()  # fmt: skip
    assert key == "error"
    assert error["code"] == 2
    assert error["message"] in outcome.stderr
    assert outcome.stdout.count("\n") == 1


def test_a_misspelt_verb_is_recognised_and_a_file_of_that_name_is_a_spec(here: Callable[..., Outcome]) -> None:
    assert "did you mean `kbuild build`?" in here("bulid").stderr
    Path("bulid").write_text("no spec")
    assert "bulid:1:" in here("bulid").stderr


def test_spec_alone_is_short_for_build(here: Callable[..., Outcome]) -> None:
    Path("spec.toml").write_text("schema = 1\n")
    outcomes = [here(*words, "spec.toml") for words in ([], ["build"])]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].code == 2
    assert outcomes[0].stdout == ""
    assert here(".") == outcomes[0], "a folder is its spec.toml"


def test_findings_as_json(here: Callable[..., Outcome]) -> None:
    Path("spec.toml").write_text('schema = 1\n[kernel]\nnmae = "x"\n')
    outcome = here("spec.toml", "--json")
    error = json.loads(outcome.stdout)["error"]
    assert error["code"] == outcome.code == 2
    assert {"path": "spec.toml", "line": 3, "column": 1, "length": 4, "message": "unknown key 'nmae'",
            "hint": "did you mean 'name'?", "source_line": 'nmae = "x"'} in error["findings"]  # fmt: skip


def test_an_environment_that_is_wrong() -> None:
    outcome = kbuild("store", "path", env={"KBUILD_JOBS": "many"})
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "KBUILD_JOBS" in outcome.stderr


# How a command ends


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The `schema` verb, raising whatever is set as `error`."""
    found = SimpleNamespace(error=None)

    def run(_: argparse.Namespace) -> int:
        raise found.error

    import builder.cli.schema

    monkeypatch.setattr(builder.cli.schema, "run", run)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("is wrong", where="spec.toml", hint="mend it"), 2),
        (FetchError("is nowhere", where="libc6"), 3),
        (IntegrityError("is corrupt"), 4),
        (NotReproducible("differs"), 5),
    ],
)
def test_each_family_has_its_exit_code(
    verb: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    verb.error = error
    assert main(["schema"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"error: {error.diagnostics()}\n"
    assert main(["schema", "--json"]) == code
    expected = {"message": error.message, "where": error.where, "hint": error.hint, "code": code}
    assert json.loads(capsys.readouterr().out) == {"error": expected}


def test_a_bug_is_one_line_and_exits_70(verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    verb.error = RuntimeError("what was never thought of")
    assert main(["schema"]) == 70
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: a bug in kbuild: RuntimeError: what was never thought of",
        "hint: run again with -v for a traceback, and report it",
    ]
    assert main(["schema", "--json"]) == 70
    assert json.loads(capsys.readouterr().out)["error"]["code"] == 70


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_a_bug_shows_its_traceback_on_request(
    verb: SimpleNamespace, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    verb.error = RuntimeError("what was never thought of")
    assert main(["schema", option]) == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "test_cli_main.py" in said
    assert said.splitlines()[-2].startswith("error: a bug in kbuild")


def test_an_interruption(verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    verb.error = KeyboardInterrupt()
    assert main(["schema"]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert "interrupted" in said.err


def test_a_full_disk_is_no_bug(verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    verb.error = OSError(28, "No space left on device", "/var/tmp/x")
    assert main(["schema"]) == 3
    assert capsys.readouterr().err == "error: /var/tmp/x: cannot be written: No space left on device\n"


@pytest.mark.parametrize("words", [["schema"], ["store", "path"], ["--help"]])
def test_a_reader_that_went_away(words: list[str]) -> None:
    """Whether the answer fills the pipe or only meets it at the very end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outcome = kbuild(*words, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert outcome.code == 141
    assert outcome.stderr == ""


@pytest.mark.parametrize("words", [["schema"], ["store", "path"]])
def test_an_answer_that_cannot_be_written(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = kbuild(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert outcome.code == 3
    assert "No space left on device" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Exception ignored" not in outcome.stderr


def shell(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" -m builder {" ".join(words)} {redirection}'
    return subprocess.run(["/bin/sh", "-c", line, sys.executable], env=PLAIN, capture_output=True, text=True,
                          check=False, timeout=60)  # fmt: skip


def test_closed_streams_mix_nothing_up() -> None:
    silent = shell("2>&-", "absent.toml")
    assert (silent.returncode, silent.stdout) == (2, ""), "an error never takes the place of an answer"
    mute = shell(">&-", "absent.toml")
    assert mute.returncode == 2
    assert mute.stderr.startswith("error: ")
    assert shell(">&- 2>&-", "store", "path").returncode == 0


def test_a_path_is_printed_as_the_bytes_that_it_is(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xc3\xa9"
    outcome = kbuild("init", "tiny", "--to", folder, "-q")
    assert outcome.code == 0, outcome.stderr
    assert os.fsencode(outcome.stdout) == folder + b"/spec.toml\n"


def test_nothing_depends_on_the_callers_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        main(["init", "tiny", "--to", str(tmp_path / "tiny"), "-q"])
    finally:
        os.umask(before)
    assert (tmp_path / "tiny" / "spec.toml").stat().st_mode & 0o777 == 0o644


def test_every_verb_has_its_module_and_takes_the_common_options() -> None:
    (verbs,) = [item for item in parser()._actions if isinstance(item, argparse._SubParsersAction)]
    assert list(verbs.choices) == list(VERBS)
    modules = {path.stem for path in Path(command.__file__).parent.glob("*.py")}
    assert modules >= VERBS.keys()
    for sub in verbs.choices.values():
        options = {option for action in sub._actions for option in action.option_strings}
        assert options >= {"-q", "--quiet", "-v", "--verbose", "--json", "-h", "--help"}
        assert all(action.help for action in sub._actions)
