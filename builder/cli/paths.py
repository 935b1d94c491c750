"""Where a verb's argument points: a spec's file, and the lock beside it."""

from __future__ import annotations

from pathlib import Path

from builder.errors import UsageError


def spec_path(argument: Path) -> Path:
    """The spec that an argument names: the file itself, or `spec.toml` in a folder.

    Raises:
        UsageError: there is no such file.
    """
    path = argument / "spec.toml" if argument.is_dir() else argument
    if not path.is_file():
        raise UsageError("no such spec", where=str(argument), hint="`kbuild init NAME` writes one to start from")
    return path


def lock_path(spec: Path) -> Path:
    """The lock beside a spec: `spec.toml` has `spec.lock`."""
    return spec.with_suffix(".lock")
