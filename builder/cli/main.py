"""The command line: which verb, with which options, and how a run of it ends.

`kbuild SPEC` is short for `kbuild build SPEC`. stdout carries the answer and nothing else; all that a person reads on
the way goes to stderr. Verbs import what they need when they run, so that `kbuild --version` costs next to nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from builder import __version__
from builder.errors import KbuildError

VERBS = {
    "build": "build the image of a spec and print its digest",
    "lock": "resolve a spec to exact, hashed artifacts",
    "run": "run an image on inputs, in a sandbox",
    "export": "write an image as an OCI layout or a Docker archive",
    "inspect": "show what an image is made of",
    "store": "verify, clean or locate what kbuild keeps",
    "init": "start a new kernel: a working spec and model",
    "schema": "print the JSON Schema of a spec",
    "completions": "print a shell's completion script",
}

EXIT_CODES = """\
exit codes: 0 yes; 1 no (differs); 2 usage, spec or kernel error; 3 this machine lacks something;
4 bytes do not match their hash; 5 not reproducible; 70 a bug in kbuild"""


def parser() -> argparse.ArgumentParser:
    """The whole command line, as completions and the reference see it."""
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter
    if any(word in ("-h", "--help") for word in sys.argv):
        from rich_argparse import RawDescriptionRichHelpFormatter

        formatter = RawDescriptionRichHelpFormatter
    root = argparse.ArgumentParser(
        prog="kbuild",
        description="Build hermetic, content-addressed images of JAX models that give the same bits on every node.",
        epilog=f"`kbuild SPEC` is short for `kbuild build SPEC`.\n\n{EXIT_CODES}",
        formatter_class=formatter,
    )
    root.add_argument("--version", action="version", version=f"kbuild {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress, no table: only the answer and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="say more on stderr; show tracebacks of bugs")
    group.add_argument("--json", action="store_true", help="the answer as one JSON object on stdout")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name, parents=[common], help=summary, description=summary[0].upper() + summary[1:] + ".",
            formatter_class=formatter,
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
    if words and words[0] not in VERBS and not words[0].startswith("-"):
        words.insert(0, "build")
    os.umask(0o022)
    options = parser().parse_args(words)
    try:
        return int(importlib.import_module(f"builder.cli.{options.verb}").run(options))
    except KbuildError as error:
        from builder.cli.render import report_error

        report_error(error, as_json=options.json)
        return error.exit_code
    except KeyboardInterrupt:
        print("kbuild: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if options.verbose:
            raise
        print(f"error: a bug in kbuild: {type(error).__name__}: {error}", file=sys.stderr)
        print("hint: run again with -v for a traceback, and report it", file=sys.stderr)
        return 70


if __name__ == "__main__":
    sys.exit(main())
