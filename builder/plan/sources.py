"""The kernel's own files: its code, native sources and local weights, taken into the store as one snapshot.

What a build uses is what this read, even if a file changes while the build runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from builder.errors import EnvironmentFault, SpecError
from builder.spec.files import check_files, kernel_files
from builder.spec.findings import SpecErrors
from builder.spec.model import Spec
from builder.store.blobs import Store

LARGEST_FILE = 64 << 20
"""A source file above this is a mistake; weights have their own table in the spec."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file below the kernel's folder: `path` relative to it, with its content in the store."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Sources:
    """`code` goes into the image as it is; `native` is compiled; `local` are weights that the lock has hashed."""

    code: tuple[SourceFile, ...]
    native: dict[str, tuple[SourceFile, ...]]
    local: tuple[SourceFile, ...]

    def digest(self) -> str:
        """`sha256:<hex>` over every file's role, path and content, in order of path."""
        state = hashlib.sha256()
        rows = [("code", item) for item in self.code]
        rows += [(f"native {name}", item) for name, items in self.native.items() for item in items]
        rows += [("local", item) for item in self.local]
        for role, item in sorted(rows, key=lambda row: (row[0], row[1].path)):
            state.update(f"{role}\0{item.path}\0{item.sha256}\n".encode())
        return f"sha256:{state.hexdigest()}"

    def files(self) -> dict[str, str]:
        """Hex SHA-256 of every file by its path."""
        native = [item for items in self.native.values() for item in items]
        return {item.path: item.sha256 for item in (*self.code, *native, *self.local)}


def snapshot(spec: Spec, path: Path, store: Store) -> Sources:
    """Read the files that the spec at `path` names into the store.

    Raises:
        SpecError: a file that the spec names is missing or lies outside of its folder, or its module lacks a function.
        EnvironmentFault: a file cannot be read.
    """
    if findings := check_files(spec, path.parent, name=path.name):
        raise SpecErrors(findings)
    folder, name = path.parent, path.name
    code = {relative: _take(file, folder, store) for relative, file in kernel_files(spec, folder, name=name).items()}
    native = {
        name: tuple(_take(folder / source, folder, store) for source in table.sources)
        for name, table in spec.native.items()
    }
    local = tuple(
        _take(folder / weights.source.removeprefix("file:"), folder, store, limit=None)
        for _, weights in sorted(spec.weights.items())
        if weights.source.startswith("file:")
    )
    return Sources(tuple(code.values()), native, local)


def _take(path: Path, folder: Path, store: Store, limit: int | None = LARGEST_FILE) -> SourceFile:
    relative = path.relative_to(folder).as_posix()
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SpecError("leads out of the kernel's folder", where=relative, hint="copy the file into the folder")
    try:
        size = path.stat().st_size
        if limit is not None and size > limit:
            raise SpecError(
                f"is {size} bytes; a source file may have {limit}",
                where=relative,
                hint="name large data in a [weights] table",
            )
        with path.open("rb") as stream, store.writer() as blob:
            taken = 0
            while chunk := stream.read(1 << 20):
                blob.write(chunk)
                taken += len(chunk)
            sha256 = blob.commit()
    except FileNotFoundError as error:
        raise SpecError("no such file", where=relative, hint="create it, or correct the spec") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read: {error.strerror}", where=relative) from error
    return SourceFile(relative, sha256, taken)
