"""`kbuild completions SHELL`."""

from __future__ import annotations

import argparse
import json


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")


def run(options: argparse.Namespace) -> int:
    """Print the script; put it where the shell looks for completions."""
    import shtab

    from builder.cli.main import parser

    script = shtab.complete(parser(), shell=options.shell)
    print(json.dumps({"shell": options.shell, "script": script}) if options.json else script)
    return 0
