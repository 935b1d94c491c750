"""`kbuild init`: a first kernel that works, from the templates."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from builder.errors import EnvironmentFault, UsageError
from builder.resources import shipped
from builder.spec.explain import not_of_form
from builder.spec.model import NAME

FILES: Final = ("spec.toml", "model.py", "README.md", "examples/inputs.json")
"""What a new kernel's folder holds; a file's template has `.j2` appended to its name."""


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write a new kernel's folder, whole or not at all.

    Args:
        name: the kernel's name.
        folder: what to create; it may exist if it is empty.

    Returns:
        The files written, the spec first.

    Raises:
        UsageError: the name is none, or something stands where the folder would.
        EnvironmentFault: the folder cannot be written.
    """
    if not re.fullmatch(NAME, name):
        refusal = not_of_form("name", name)
        raise UsageError(refusal.message, hint=refusal.hint)
    # not resolve(): a link to a folder is something that stands there
    target = folder.absolute()
    contents = _rendered(name)
    try:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise UsageError(f"{folder} exists and is not empty", hint="choose another name or folder")
        if not target.parent.is_dir():
            raise UsageError(f"there is no folder {target.parent}", hint="create it first")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".kbuild-init-") as aside:
            made = Path(aside) / "kernel"  # made by mkdir, so that it has the modes that this user's umask gives
            for path, text in contents.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(text, encoding="utf-8", newline="\n")
            made.rename(target)
    except OSError as error:
        raise EnvironmentFault(f"{folder} cannot be written: {error.strerror}", hint="choose another folder") from error
    return [folder / path for path in contents]


def _rendered(name: str) -> dict[str, str]:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only this verb renders

    templates = Environment(
        loader=FileSystemLoader(shipped("templates") / "init"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - TOML and Python, and the only variable is a checked name
        keep_trailing_newline=True,
    )
    return {path: templates.get_template(f"{path}.j2").render(name=name) for path in FILES}
