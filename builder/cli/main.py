"""The command line: which verb, with which options, and how a run of it ends.

`kbuild SPEC` is short for `kbuild build SPEC`. stdout carries the answer and nothing else; all that a person reads on
the way goes to stderr. Verbs import what they need when they run, so that `kbuild --version` costs next to nothing.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from builder import __version__
from builder.cli import interrupt
from builder.errors import EnvironmentFault, KbuildError, UsageError

VERBS = {
    "build": "build the image of a spec and print its digest",
    "lock": "resolve a spec to exact, hashed artifacts",
    "run": "run an image on inputs, in a sandbox",
    "verify": "run an image on many hosts and compare every bit",
    "diff": "compare two runs' outputs bit by bit",
    "export": "write an image as an OCI layout or a Docker archive",
    "render": "write a directory that docker or nix builds without kbuild",
    "inspect": "show what an image is made of",
    "influences": "every factor that can move a bit, and what holds it",
    "doctor": "say what this machine lacks, for kbuild or for a kernel",
    "store": "verify, clean or locate what kbuild keeps",
    "init": "start a new kernel: a working spec and model",
    "schema": "print the JSON Schema of a spec",
    "completions": "print a shell's completion script",
}

EXIT_CODES = """\
exit codes: 0 yes; 1 no (differs); 2 usage, spec or kernel error; 3 this machine lacks something;
4 bytes do not match their hash; 5 not reproducible; 70 a bug in kbuild"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like any other: on stderr, and with `--json` as an object."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` says what there is")


def parser(formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter) -> argparse.ArgumentParser:
    """The whole command line, as completions and the reference see it."""
    root = _Parser(
        prog="kbuild",
        description="Build hermetic, content-addressed images of JAX models that give the same bits on every node.",
        epilog=f"`kbuild SPEC` is short for `kbuild build SPEC`.\n\n{EXIT_CODES}",
        formatter_class=formatter,
        allow_abbrev=False,  # or an option to come would change what today's abbreviation means
    )
    root.add_argument("--version", action="version", version=f"kbuild {__version__}")
    common = _Parser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress, no table: only the answer and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="say more on stderr; show tracebacks of bugs")
    group.add_argument("--json", action="store_true", help="the answer as one JSON object on stdout")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name, parents=[common], help=summary, description=summary[0].upper() + summary[1:] + ".",
            formatter_class=formatter, allow_abbrev=False,
        )  # fmt: skip
        importlib.import_module(f"builder.cli.{name}").arguments(verb)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code; see `EXIT_CODES`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        print(f"kbuild {__version__}")
        return 0
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; print() would send errors to the other one
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the process's life
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a path is printed as the bytes that it is
    try:
        try:
            return _command(words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        _report(EnvironmentFault(f"the answer cannot be written: {error.strerror}"), ())
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EnvironmentFault.exit_code


def _command(words: list[str]) -> int:
    """Parse and run, and turn whatever is raised into a report and an exit code."""
    try:
        if words and words[0] not in VERBS and not words[0].startswith("-"):
            words.insert(0, _meant(words[0]))
        os.umask(0o022)
        options = parser(_formatter(words)).parse_args(words)
        with interrupt.heeded():
            return int(importlib.import_module(f"builder.cli.{options.verb}").run(options))
    except KbuildError as error:
        _report(error, words)
        return error.exit_code
    except KeyboardInterrupt:
        interrupt.say()
        return interrupt.EXIT_CODE
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever else is raised is a bug, and exits as one
        if {"-v", "--verbose"} & set(words):
            import traceback

            traceback.print_exc()
        report = _unforeseen(error)
        _report(report, words)
        return report.exit_code


def _unforeseen(error: Exception) -> KbuildError:
    """What to say of an error that no code raised on purpose: a full disk is the machine's fault, the rest a bug."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        where = error.filename if isinstance(error.filename, str) else None
        return EnvironmentFault(f"cannot be written: {error.strerror}", where=where)
    return KbuildError(
        f"a bug in kbuild: {type(error).__name__}: {error}", hint="run again with -v for a traceback, and report it"
    )


def _report(error: KbuildError, words: Sequence[str]) -> None:
    from builder.cli.appearance import report_error

    report_error(error, as_json="--json" in words)


def _meant(word: str) -> str:
    """The verb that a first word which is none stands for: `build`, unless it is a verb misspelt.

    Raises:
        UsageError: it is nearly a verb, and there is no such file.
    """
    if not Path(word).exists():
        from difflib import get_close_matches

        if near := get_close_matches(word, VERBS, 1):
            raise UsageError(f"there is no verb {word!r}", hint=f"did you mean `kbuild {near[0]}`?")
    return "build"


def _formatter(words: Sequence[str]) -> type[argparse.HelpFormatter]:
    if {"-h", "--help"} & set(words):
        from builder.cli.appearance import colour

        if colour(sys.stdout):
            from rich_argparse import RawDescriptionRichHelpFormatter

            return RawDescriptionRichHelpFormatter
    return argparse.RawDescriptionHelpFormatter


if __name__ == "__main__":
    sys.exit(main())
