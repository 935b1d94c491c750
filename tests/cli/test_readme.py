"""What the README and the documents say is so: verbs, options, variables, exit codes, links."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from command import REPOSITORY

import builder.machine
from builder import errors
from builder.cli.main import EXIT_CODES, VERBS, parser

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *REPOSITORY.glob("*.md"),
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "kernels").glob("*/README.md"),
]


def verbs() -> dict[str, argparse.ArgumentParser]:
    (found,) = [item for item in parser()._actions if isinstance(item, argparse._SubParsersAction)]
    return dict(found.choices)


def options(verb: str) -> set[str]:
    return {option for action in verbs()[verb]._actions for option in action.option_strings}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[tuple[str, str]]:
    """The cells of a table's rows: what is named, and what is said of it."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\) ?\| ?", line.strip("| ")) for line in lines]
    return [(first, " ".join(rest)) for first, *rest in cells]


def commands(text: str) -> list[str]:
    """Every `kbuild ...` in code, of a document; in shell blocks by their lines."""
    found = re.findall(r"`(kbuild [^`]*)`", text)
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found += re.findall(r"(?:^|/|\()(kbuild [^\n)]*)", block, re.MULTILINE)
    return [command.replace("\\|", "|") for command in found]


def verb_of(command: str) -> str:
    word = command.split()[1]
    return word if word in VERBS else "build"


def test_every_verb_is_in_the_readme_and_every_one_there_exists() -> None:
    named = {verb_of(first.strip("`")) for first, _ in rows("Commands")}
    assert named == set(VERBS)


FOR_USERS = [path for path in DOCUMENTS if not path.name.endswith("-format.md")]
"""A format's `kbuild ...` are bytes that it prescribes."""


@pytest.mark.parametrize("document", FOR_USERS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_in_documents_exist(document: Path) -> None:
    known = options("build") | {"--version", "--help"}
    for command in commands(document.read_text(encoding="utf-8")):
        words = command.split()
        if re.fullmatch(r"[a-z]+", words[1]) and "/" not in words[1]:
            assert words[1] in VERBS, command
        allowed = known if words[1].startswith("-") else options(verb_of(command))
        for option in re.findall(r"(?<=[\s\[])(--?[a-z][a-z-]*)", command):
            assert option in allowed, command


def test_options_that_the_table_describes_exist() -> None:
    for first, said in rows("Commands"):
        named = set(re.findall(r"`(--[a-z-]+)", f"{first} {said}"))
        assert named <= options(verb_of(first.strip("`"))), first
    prose = section("Commands").partition("stdout carries")[2]
    for option in re.findall(r"`(--?[a-z]+)`", prose):
        assert all(option in options(verb) for verb in VERBS), option


def test_arguments_are_called_as_in_the_help() -> None:
    for first, _ in rows("Commands"):
        words = first.strip("`").replace("\\|", "|").split()[1:]
        verb = verb_of(first.strip("`"))
        positional = [action for action in verbs()[verb]._actions if not action.option_strings]
        expected = [
            action.metavar or ("|".join(action.choices or ()) if verb == "store" else action.dest.upper())
            for action in positional
            if action.dest != "help"
        ]
        given = words[1:] if words and words[0] == verb else words
        if verb == "store":
            assert set(given[0].split("|")) == set(expected[0].split("|"))
        else:
            assert given == expected


def test_variables_are_those_that_are_read() -> None:
    read = set(re.findall(r'environ\.get\("(KBUILD_[A-Z_]+)"', Path(builder.machine.__file__).read_text()))
    named = {name for first, _ in rows("This machine's settings") for name in re.findall(r"KBUILD_[A-Z_]+", first)}
    assert named == read
    elsewhere: set[str] = set()
    for path in (REPOSITORY / "builder").rglob("*.py"):
        if path.name != "machine.py":
            elsewhere |= set(re.findall(r'environ(?:\.get\(|\[)"(KBUILD_[A-Z_]+)"', path.read_text()))
    assert elsewhere == set(), "settings are read in one place"
    table = set(re.findall(r"^`(KBUILD_[A-Z_]+)`", builder.machine.__doc__ or "", re.MULTILINE))
    assert table == read


def codes(text: str) -> dict[int, str]:
    flat = " ".join(text.split()).lower()
    return {int(number): said.strip(" .;") for number, said in re.findall(r"(\d+) (.*?)(?=; \d|\.\s|$)", flat)}


def test_exit_codes_are_those_of_the_help_and_of_the_errors() -> None:
    found = re.search(r"^Exit codes: (.*?)\n\n", section("Commands"), re.MULTILINE | re.DOTALL)
    assert found
    said, helped = codes(found[1]), codes(EXIT_CODES.partition(":")[2])
    assert said.keys() == helped.keys()
    for code, text in helped.items():
        assert said[code].startswith(text.split(" (")[0])
    raised = {item.exit_code for item in vars(errors).values()
              if isinstance(item, type) and issubclass(item, errors.KbuildError)}  # fmt: skip
    assert raised | {0, 1} == set(said)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://", target):
            path, _, anchor = target.partition("#")
            full = document.parent / path if path else document
            assert full.exists(), target
            if anchor:
                headings = re.findall(r"^#+ (.*)$", full.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, target


def test_folders_that_the_house_names_exist() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in re.findall(r"`((?:builder|kernels|tests|docs|\.ci)/[\w./-]*)`", text):
        assert (REPOSITORY / folder).exists(), folder
    packages = {path.parent.name for path in (REPOSITORY / "builder").glob("*/__init__.py")}
    assert {name for name in packages if f"`builder/{name}/`" in text} == packages
