"""The files that a spec names: which go into the image, and whether all are there.

Nothing is imported or run; a function is looked for in its module's syntax tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from builder.spec.explain import Explained, near
from builder.spec.findings import Finding, SpecErrors
from builder.spec.load import locate, read
from builder.spec.model import Spec
from builder.spec.refusal import quoted
from builder.spec.sources import LocalFile, parse, relative_path

FILES_LIMIT = 10_000
"""The most files that the globs of one kernel may match."""

_NEVER = frozenset({"__pycache__", ".git"})
"""Folders that hold what a run or a tool left behind."""


def kernel_files(spec: Spec, folder: Path, *, name: str = "spec.toml") -> dict[str, Path]:
    """The files that `kernel.files` selects, by path below `/opt/kernel`, sorted.

    The spec itself and its lock are never among them: a lock records what is built from these files.

    Args:
        spec: the spec.
        folder: the folder that it stands in.
        name: its file's name.

    Raises:
        SpecErrors: a match leads out of the folder, or there are too many.
    """
    chosen: dict[str, Path] = {}
    wrong: list[Explained] = []
    for index, glob in enumerate(spec.kernel.files):
        loc = ("kernel", "files", index)
        matches = _matches(folder, glob, name)
        if len(matches) > FILES_LIMIT:
            wrong.append(Explained(loc, "value", f"{quoted(glob)} selects more than {FILES_LIMIT} files", "narrow it"))
            continue
        for path, match in matches.items():
            refusal = relative_path(path)
            if refusal:
                wrong.append(Explained(loc, "value", f"{refusal.message}, as {quoted(glob)} selects it", "rename it"))
            elif not match.resolve().is_relative_to(folder.resolve()):
                wrong.append(Explained(loc, "value", f"{quoted(path)} is a link out of the kernel's folder", _COPY))
        chosen |= matches
    if wrong:
        raise SpecErrors(_located(wrong, folder / name))
    return dict(sorted(chosen.items(), key=lambda item: item[0].encode()))


def _matches(folder: Path, glob: str, name: str) -> dict[str, Path]:
    """What one glob selects, by path; the order is the file system's."""
    own = {name, f"{Path(name).stem}.lock"}
    found: dict[str, Path] = {}
    for match in folder.glob(glob):
        relative = match.relative_to(folder)
        if str(relative) not in own and not _NEVER & set(relative.parts) and _is_file(match):
            found[relative.as_posix()] = match
        if len(found) > FILES_LIMIT:
            break
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be read
        return False


def check_files(spec: Spec, folder: Path, *, name: str = "spec.toml") -> list[Finding]:
    """What is wrong with the files that a spec names; empty if nothing is.

    Golden outputs are not looked for: a run of what is built here is what makes them.

    Args:
        spec: the spec.
        folder: the folder that it stands in.
        name: its file's name, from whose text the places come.
    """
    try:
        files = kernel_files(spec, folder, name=name)
    except SpecErrors as error:
        return list(error.findings)
    wrong = [*_unmatched(spec, folder, name), *_functions(spec, files), *_named(spec, folder)]
    return list(SpecErrors(_located(wrong, folder / name)).findings) if wrong else []


_COPY = "put a copy of the file into the folder"


def _located(wrong: list[Explained], path: Path) -> list[Finding]:
    return locate(wrong, read(path), str(path))


def _unmatched(spec: Spec, folder: Path, name: str) -> Iterator[Explained]:
    for index, glob in enumerate(spec.kernel.files):
        if not _matches(folder, glob, name):
            message = f"{quoted(glob)} matches no file"
            yield Explained(("kernel", "files", index), "value", message, f"it is looked for in {folder}")


def _functions(spec: Spec, files: dict[str, Path]) -> Iterator[Explained]:
    for key in ("entry", "load", "prepare"):
        reference: str | None = getattr(spec.kernel, key)
        if reference is None:
            continue
        module, _, function = reference.partition(":")
        loc = ("kernel", key)
        path = files.get(f"{module}.py") or files.get(f"{module}/__init__.py")
        if path is None:
            meant = near(module, [PurePosixPath(name).stem for name in files if name.endswith(".py")])
            hint = f"did you mean '{meant}:{function}'?" if meant else "write the module, or let kernel.files match it"
            yield Explained(loc, "value", f"there is no {module}.py among the kernel's files", hint)
            continue
        names = _defined(path)
        if names is not None and function not in names:
            meant = near(function, names)
            hint = f"did you mean '{module}:{meant}'?" if meant else f"define it in {path.name}"
            yield Explained(loc, "value", f"{path.name} defines no {function!r}", hint)


def _defined(path: Path) -> set[str] | None:
    """Names that a module binds at its top level, or None where reading it cannot tell."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return None  # another Python than this one may read it; the build compiles it with the image's own
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case ast.Expr() | ast.AsyncFunctionDef():
                pass
            case _:
                return None  # conditions and loops bind names that only a run knows
    return None if "*" in names else names


def _named(spec: Spec, folder: Path) -> Iterator[Explained]:
    """Files that the spec names one by one."""
    named: list[tuple[tuple[str | int, ...], str]] = []
    for key, native in spec.native.items():
        named += [(("native", key, "sources", index), path) for index, path in enumerate(native.sources)]
    for key, weights in spec.weights.items():
        source = parse(weights.source)
        if isinstance(source, LocalFile):
            named.append((("weights", key, "source"), source.path))
    for key, example in spec.examples.items():
        named.append((("examples", key, "inputs"), example.inputs))
    root = folder.resolve()
    for loc, path in named:
        full = folder / path
        if not _is_file(full):
            meant = near(full.name, sorted(item.name for item in full.parent.glob("*")))
            hint = f"did you mean {str(PurePosixPath(path).with_name(meant))!r}?" if meant else f"it would be {full}"
            yield Explained(loc, "value", f"there is no file {quoted(path)}", hint)
        elif not full.resolve().is_relative_to(root):
            yield Explained(loc, "value", f"{quoted(path)} is a link out of the kernel's folder", _COPY)
