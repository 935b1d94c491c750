"""What pyproject.toml declares is what the code imports: nothing unused, nothing borrowed from others."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from functools import cache
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.lock.model import FORMAT

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomli.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}

COMES_WITH = {"pydantic-core": "pydantic"}
"""One exact version of the first belongs to each version of the second."""


@cache
def imported() -> dict[str, set[str]]:
    """Top-level modules that are not the standard library's, each with the files that import it."""
    found: dict[str, set[str]] = {}
    for path in (REPOSITORY / "builder").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Import(names=names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "builder":
                    found.setdefault(top, set()).add(str(path.relative_to(REPOSITORY)))
    return found


distributions = cache(importlib.metadata.packages_distributions)


def providers(module: str) -> set[str]:
    return {canonicalize_name(name) for name in distributions().get(module, ())}


def test_every_import_is_declared() -> None:
    for module, files in imported().items():
        found = providers(module)
        assert found, f"nothing installed provides {module}, imported by {sorted(files)}"
        found |= {COMES_WITH[name] for name in found & COMES_WITH.keys()}
        assert found & DECLARED, f"{module} ({found}) is imported by {sorted(files)} and not declared"


def test_every_declaration_is_imported() -> None:
    used = {name for module in imported() for name in providers(module)}
    assert sorted(DECLARED - used) == []


def test_declarations_hold_here_and_on_every_python() -> None:
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        assert requirement.marker is None
        assert requirement.url is None
        assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True), text
        assert any(part.operator in (">=", "==") for part in requirement.specifier), text


def test_declarations_are_sorted() -> None:
    names = [Requirement(text).name for text in PROJECT["dependencies"]]
    assert names == sorted(names)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "kernels" / "runtime").rglob("*.py")), ids=lambda path: path.name)
def test_the_inside_needs_only_what_every_image_has(path: Path) -> None:
    """The runtime runs in images, on their wheels: nothing of kbuild's own dependencies is there."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or top in {"kernels", "jax", "jaxlib", "numpy", "ml_dtypes",
                                                             "safetensors"}, f"{path.name} imports {name}"  # fmt: skip


def test_the_changelog_names_the_format() -> None:
    """Whoever changes the bytes of images raises the number and says so."""
    assert f"- Format {FORMAT}" in (REPOSITORY / "CHANGELOG.md").read_text()
