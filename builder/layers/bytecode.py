"""Which files of an image get bytecode, and reading the bytecode that an action made.

An image's modules carry bytecode beside them, so that a run does not compile what never changes. It is made by the
image's own Python version, as `builder.layers.compile_bytecode` describes, from a canonical tar of the sources alone:
a `.py` gives the same bytecode on every platform, so an interpreter of the builder's platform serves images of others.

What is decided here, all of it part of `builder.lock.model.FORMAT`:

- Bytecode is checked against nothing at import (PEP 552, unchecked): nobody edits an image.
- Third-party folders of tests get none (`tests`, `internal_test_util`): nothing imports them in a run. Of numpy,
  scipy and scikit-learn together they are 935 of 2066 files and 45 % of the source bytes, of jax 12 %.
- RECORD does not list bytecode: it would tie a wheel's entries to the interpreter's, and pip checks no hash of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.tar import tar_entries
from builder.layers.wheel import site_packages

SCRIPT = Path(__file__).with_name("compile_bytecode.py")
"""The program that runs inside the action; its bytes are an input like any other."""

_TESTS = re.compile(r"(?:^|/)(?:[^/]+_)?tests?(?:_[^/]+)?/")
_CACHED = re.compile(r"(?P<folder>.+)/__pycache__/(?P<stem>[^/]+)\.cpython-\d+\.pyc")
_MOST_OUTPUT = 4 << 30


def python_sources(entries: Iterable[Entry], *, python: str) -> list[Entry]:
    """The files to compile, with everything but path and content taken away.

    Args:
        entries: of a layer.
        python: the image's Python, such as "3.13".

    Returns:
        Entries in canonical order, parents among them, for `write_tar`.
    """
    site = f"{site_packages(python)}/"
    folders = (f"usr/lib/python{python}/", "usr/lib/python3/dist-packages/", "opt/kbuild/", "opt/kernel/")
    return ordered(
        (
            replace(entry, mode=0o644, mtime=0, uid=0, gid=0, xattrs=())
            for entry in entries
            if entry.kind is Kind.FILE
            and entry.path.endswith(".py")
            and PurePosixPath(entry.path).stem.isidentifier()
            and (
                entry.path.startswith(folders)
                or (entry.path.startswith(site) and not _TESTS.search(entry.path.removeprefix(site)))
            )
        ),
        epoch=0,
    )


def bytecode_entries(output: Path, sources: Iterable[Entry], *, epoch: int) -> list[Entry]:
    """The bytecode in an action's output.

    Args:
        output: the canonical tar.
        sources: what `python_sources` gave to the action.
        epoch: mtime of every entry, in seconds since 1970.

    Returns:
        Entries in canonical order, parents among them.

    Raises:
        IntegrityError: the output holds something else than bytecode of the sources.
    """
    expected = {entry.path for entry in sources}
    found = []
    for entry in tar_entries(output, limit=_MOST_OUTPUT):
        if entry.kind is Kind.DIRECTORY:
            continue
        match = _CACHED.fullmatch(entry.path)
        if entry.kind is not Kind.FILE or match is None or f"{match['folder']}/{match['stem']}.py" not in expected:
            raise IntegrityError("compiling bytecode left something else behind", where=repr(entry.path))
        found.append(replace(entry, mode=0o644, mtime=epoch))
    return ordered(found, epoch=epoch)


def uncompiled(sources: Iterable[Entry], bytecode: Iterable[Entry]) -> list[str]:
    """The sources that did not compile: templates, and files for other versions of Python."""
    compiled = {
        f"{match['folder']}/{match['stem']}.py" for entry in bytecode if (match := _CACHED.fullmatch(entry.path))
    }
    return [entry.path for entry in sources if entry.kind is Kind.FILE and entry.path not in compiled]
