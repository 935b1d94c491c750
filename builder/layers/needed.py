"""Whether every shared library that the root's programs and libraries ask for is in the root."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from builder.layers.elf import MAGIC, Elf, read_elf
from builder.layers.entry import Entry, Kind
from builder.layers.ldso import TRIPLETS, search_folders
from builder.layers.rootfs import Root


@dataclass(frozen=True, slots=True)
class Missing:
    """A library that `path` needs (DT_NEEDED) and that the dynamic linker would not find; paths without a slash."""

    path: str
    library: str


def missing_libraries(entries: Iterable[Entry]) -> list[Missing]:
    """All needs that the root does not meet, sorted by file and library.

    A need is met by a file of that name in DT_RUNPATH or DT_RPATH, or in a folder that `ld.so.conf` or the dynamic
    linker itself names, if that file is made for the same machine.
    """
    root = Root(entries, 2**40)
    programs = {entry.path: elf for entry in root.entries() if (elf := _elf(entry)) is not None}
    missing = []
    folders: dict[int, list[str]] = {}
    for path, elf in sorted(programs.items()):
        if elf.machine not in folders:
            folders[elf.machine] = search_folders(root, elf.machine)
        own = [_expand(folder, path, elf.machine) for folder in elf.search]
        missing += [
            Missing(path, name)
            for name in elf.needed
            if not any(
                _fits(f"{folder}/{name}".lstrip("/"), elf, root, programs) for folder in (*own, *folders[elf.machine])
            )
        ]
    return missing


def _elf(entry: Entry) -> Elf | None:
    executable = entry.mode & 0o111 or ".so" in posixpath.basename(entry.path)
    if entry.kind is not Kind.FILE or entry.source is None or not executable:
        return None
    with entry.source() as file:
        if file.read(4) != MAGIC:
            return None
        file.seek(0)
        return read_elf(file)


def _expand(folder: str, path: str, machine: int) -> str:
    """Replace ld.so(8)'s tokens; `$LIB` is the multiarch folder in Debian's glibc."""
    library = f"lib/{TRIPLETS[machine]}" if machine in TRIPLETS else "lib"
    for name, value in (("ORIGIN", "/" + posixpath.dirname(path)), ("LIB", library)):
        folder = folder.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return posixpath.normpath(folder)


def _fits(path: str, elf: Elf, root: Root, programs: dict[str, Elf]) -> bool:
    entry = root.find(path)
    found = programs.get(entry.path) if entry is not None else None
    return found is not None and (found.machine, found.bits) == (elf.machine, elf.bits)
