"""Compile Python sources to bytecode: `python3 compile_bytecode.py SOURCES.tar OUTPUT`, inside an action.

This file is never imported: it is an input of the action that `builder.backends.bytecode` describes and runs in the
image's own interpreter, on the standard library alone. SOURCES.tar is a canonical tar (docs/layer-format.md); below
OUTPUT comes `a/b/__pycache__/c.cpython-313.pyc` for each of its `a/b/c.py` that compiles. The others are left out.

Bytecode depends on what the interpreter has interned before (cpython#129724): the same file compiled after another
one, or by a process that has imported one module more, can give other bytes. So every folder is compiled by a fork of
one interpreter that has done nothing else, in order of its file names, and this file imports as little as it can. (A
fork for every file costs twice the processor time, 12.5 s against 6.6 s for 3182 files, most of it page faults.)
"""

import gc
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

UNCHECKED = (1).to_bytes(4, "little")
"""PEP 552: hash-based, and the hash is not compared when the module is imported; an image does not change."""

BLOCK = 512


def members(path: str) -> list[tuple[str, int, int]]:
    """Name, offset and size of every file in a canonical tar."""
    found, at, name = [], 0, ""
    with open(path, "rb") as tar:  # noqa: PTH123 - pathlib would be another import
        while any(header := tar.read(BLOCK)):
            size = int(header[124:135], 8)
            start, kind = at + BLOCK, header[156:157]
            if kind == b"x":
                name = pax_path(tar.read(size))
            else:
                if kind == b"0":
                    found.append((name or header[:100].rstrip(b"\0").decode(), start, size))
                name = ""
            at = start + (size + BLOCK - 1) // BLOCK * BLOCK
            tar.seek(at)
    return found


def pax_path(records: bytes) -> str:
    """The `path` of PAX records, each `<length> <key>=<value>` and a line feed."""
    while records:
        length = int(records.partition(b" ")[0])
        key, _, value = records[:length].partition(b" ")[2][:-1].partition(b"=")
        if key == b"path":
            return value.decode()
        records = records[length:]
    return ""


def compile_folder(tar: str, files: list[tuple[str, int, int]], output: str) -> None:
    """Compile the files of one folder."""
    with open(tar, "rb", buffering=0) as stream:  # noqa: PTH123
        for name, start, size in files:
            source = os.pread(stream.fileno(), size, start)
            if len(source) != size:
                raise EOFError(name)
            try:
                code = compile(source, "/" + name, "exec", dont_inherit=True, optimize=0)
            except (SyntaxError, ValueError, RecursionError, OverflowError):
                continue  # templates and files for other Pythons are part of many packages
            target = output + "/" + cache_from_source(name)
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
            with open(target, "wb") as out:  # noqa: PTH123
                out.write(MAGIC_NUMBER + UNCHECKED + source_hash(source) + marshal.dumps(code))


def main(tar: str, output: str) -> int:
    """Compile everything, the largest folders first, as many at once as there are cores."""
    folders: dict[str, list[tuple[str, int, int]]] = {}
    for member in sorted(members(tar)):
        folders.setdefault(member[0].rpartition("/")[0], []).append(member)
    waiting = sorted(folders.values(), key=lambda files: sum(size for _, _, size in files))
    cores, running, failed = len(os.sched_getaffinity(0)), 0, False
    gc.collect()
    gc.freeze()
    gc.disable()
    while waiting or running:
        if waiting and running < cores:
            files = waiting.pop()
            if os.fork() == 0:
                compile_folder(tar, files, output)
                os._exit(0)
            running += 1
        else:
            failed |= os.wait()[1] != 0
            running -= 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
