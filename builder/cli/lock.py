"""`kbuild lock SPEC`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.lock.model import Lock


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("spec", metavar="SPEC", type=Path, help="the kernel's spec.toml, or its folder")
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="change nothing; exit 1 if resolving now would")
    what.add_argument(
        "--upgrade",
        metavar="NAME",
        nargs="*",
        help="take the newest of these packages, or of everything, instead of what the lock has",
    )
    verb.add_argument("--offline", action="store_true", help="do not use the network")


def run(options: argparse.Namespace) -> int:
    """Write the lock, or say how it would change; print the lock's path."""
    from builder.cli.display import progress
    from builder.cli.paths import lock_path, spec_path
    from builder.determinism.check import checked
    from builder.lock import drift, file
    from builder.lock.resolve import ALL, resolve
    from builder.machine import from_environment
    from builder.store.blobs import Store

    path = spec_path(options.spec)
    target = lock_path(path)
    spec = checked(path)
    machine = from_environment(os.environ, offline=options.offline)
    previous = _previous(target, checking=options.check)
    upgrade = None if options.upgrade is None else frozenset(options.upgrade) or ALL
    if options.check:
        upgrade = ALL
    with progress(options) as display:
        fresh = resolve(
            spec, path.parent, machine=machine, store=Store(machine.store), progress=display,
            previous=previous, upgrade=upgrade, now=datetime.now(UTC),
        )  # fmt: skip
    changes = drift.describe_change(previous, fresh) if previous else []
    if options.check and previous is None:
        print(f"{target}: there is no lock", file=sys.stderr)
    if not options.check:
        file.write(target, fresh)
    if options.json:
        print(json.dumps({"lock": str(target), "changes": [str(change) for change in changes]}))
    elif not options.check:
        print(target)
    if not options.quiet:
        for change in changes:
            print(change, file=sys.stderr)
    return int(options.check and (previous is None or bool(changes)))


def _previous(target: Path, *, checking: bool) -> Lock | None:
    """The lock that is there. One that cannot be read is replaced, but never passed by in silence."""
    from builder.errors import LockError
    from builder.lock import file

    if not target.exists():
        return None
    try:
        return file.read(target)
    except LockError as error:
        if checking:
            raise
        print(f"warning: {error.where}: {error.message}; locking anew", file=sys.stderr)
        return None
