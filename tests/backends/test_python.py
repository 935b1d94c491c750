"""Compiling bytecode with Debian's own Python."""

from __future__ import annotations

import io
from functools import partial

import pytest
from small_roots import Real

from builder.backends.bytecode import bytecode_action
from builder.layers.bytecode import SCRIPT, bytecode_entries, python_sources, uncompiled
from builder.layers.deb import read_deb
from builder.layers.entry import Entry, Kind
from builder.layers.root import root_entries
from builder.layers.tar import write_tar
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

EPOCH = 1_700_000_000


def test_the_action_as_data(tmp_path):
    script, sources = "1" * 64, "2" * 64
    found = bytecode_action("base", platform="linux/amd64", interpreter=(), script=script, sources=sources)
    assert found.argv == (
        "/usr/bin/python3", "-S", "-s", "-P", "-B", "-W", "ignore",
        "/in/compile_bytecode.py", "/in/sources.tar", "/out",
    )  # fmt: skip
    assert found.env == (("LC_ALL", "C.UTF-8"), ("PYTHONHASHSEED", "0"))
    assert found.epoch == 0
    assert {item.path: item.sha256 for item in found.inputs} == {
        "/in/compile_bytecode.py": script,
        "/in/sources.tar": sources,
    }


def python_of(real: Real) -> str:
    names = (item.name for item in real.image)
    name = next(name for name in names if name.startswith("python3.") and name.endswith("-minimal"))
    return name.removeprefix("python").removesuffix("-minimal")


def run(real: Real, entries: list[Entry], store: Store) -> list[Entry]:
    sources = python_sources(entries, python=python_of(real))
    with store.writer() as writer:
        write_tar(sources, writer.write)
        tar = writer.commit()
    action = bytecode_action(
        "base",
        platform=host_platform(),
        interpreter=real.image,
        script=store.add(SCRIPT.read_bytes()),
        sources=tar,
    )
    output = real.backend(store).run(action, Silent())
    return bytecode_entries(store.verified(output), sources, epoch=EPOCH)


@pytest.mark.network
@pytest.mark.sandbox
def test_the_images_own_library(real, tmp_path):
    """Every module of the interpreter compiles, and Python takes what came out."""
    store = real.store
    debs = [read_deb(store.verified(item.sha256, item.size), item) for item in real.image]
    entries = root_entries(debs, epoch=EPOCH)
    sources = python_sources(entries, python=python_of(real))
    found = run(real, entries, store)
    assert uncompiled(sources, found) == []
    files = [entry for entry in found if entry.kind is Kind.FILE]
    assert len(files) > 400
    assert {entry.source().read()[4:8] for entry in files[:50]} == {b"\1\0\0\0"}


@pytest.mark.network
@pytest.mark.sandbox
def test_one_changed_folder_changes_no_other(real):
    def entry(path: str, data: bytes) -> Entry:
        return Entry(f"opt/kernel/{path}", Kind.FILE, 0o644, 5, size=len(data), source=partial(io.BytesIO, data))

    def bytecode(*entries: Entry) -> dict[str, bytes]:
        found = run(real, list(entries), real.store)
        return {item.path: item.source().read() for item in found if item.kind is Kind.FILE}

    kept = entry("a/x.py", b"NAMES = ['alpha', 'beta', 'alpha']\ndef alpha(beta): return beta.alpha\n")
    one = bytecode(kept, entry("b/y.py", b"alpha = beta = 1\n"))
    two = bytecode(kept, entry("b/y.py", b"gamma = 'alpha beta'\n"), entry("b/z.py", b"import a.x\n"))
    path = next(path for path in one if "/a/" in path)
    assert one[path] == two[path]
