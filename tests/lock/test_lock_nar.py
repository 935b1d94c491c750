"""Nix archives, held against Nix's own."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.lock.nar import Node, Span, bare, read_nar, sri, walk, write_nar

# Built by hand after the manual's grammar: a folder of an executable file of three bytes.
WORDS = (
    b"nix-archive-1", b"(", b"type", b"directory", b"entry", b"(", b"name", b"tool", b"node", b"(", b"type", b"regular",
    b"executable", b"", b"contents", b"#!x", b")", b")", b")",
)  # fmt: skip
SMALL = b"".join(len(word).to_bytes(8, "little") + word + bytes(-len(word) % 8) for word in WORDS)


def archive(tree: Node, contents: bytes = b"") -> bytes:
    out = io.BytesIO()
    write_nar(tree, io.BytesIO(contents), out.write)
    return out.getvalue()


def test_written_as_the_manual_has_it():
    assert archive({b"tool": Span(2, 3, executable=True)}, b"..#!x..") == SMALL


NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 47})
TREES = st.recursive(
    st.one_of(
        st.binary(min_size=1, max_size=9),
        st.builds(Span, st.integers(0, 20), st.integers(0, 40), st.booleans()),
    ),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
def test_what_is_written_is_read(tree):
    contents = bytes(range(64))
    data = archive(tree, contents)
    found = read_nar(io.BytesIO(data))

    def plain(node: Node, source: bytes) -> object:
        if isinstance(node, dict):
            return {name: plain(inner, source) for name, inner in node.items()}
        if isinstance(node, Span):
            return (source[node.start : node.start + node.size], node.executable)
        return node

    assert plain(found, data) == plain(tree, contents)
    assert archive(found, data) == data


def test_walking_names_folders_before_what_is_in_them():
    tree: Node = {b"b": {b"x": b"t"}, b"a": b"t", b"b.c": b"t"}
    assert [path for path, _ in walk(tree)] == [b"a", b"b", b"b/x", b"b.c"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"nix-archive-1", b"nix-archive-2"),
        (b"tool", b"../x"),
        (b"tool\0\0\0\0", b"tool\0\0\0x"),
        (b"regular", b"irregul"),
        (b"executable", b"exxcutable"),
        (b"contents", b"contants"),
        (b"entry", b"gentr"),
    ],
)
def test_what_is_no_archive_is_refused(old, new):
    assert SMALL.count(old) == 1
    with pytest.raises(IntegrityError, match="a Nix archive has"):
        read_nar(io.BytesIO(SMALL.replace(old, new)))


@pytest.mark.parametrize("end", range(0, len(SMALL), 5))
def test_a_cut_archive_is_refused(end):
    with pytest.raises(IntegrityError, match="ends early"):
        read_nar(io.BytesIO(SMALL[:end]))


def test_a_longer_archive_is_refused():
    with pytest.raises(IntegrityError, match="behind its end"):
        read_nar(io.BytesIO(SMALL + b"\0"))


def test_names_out_of_order_and_bottomless_trees_are_refused():
    two = archive({b"aa": b"t", b"bb": b"t"})
    with pytest.raises(IntegrityError, match="has the name b'aa'"):
        read_nar(io.BytesIO(two.replace(b"aa", b"cc").replace(b"bb", b"aa")))
    deep: Node = {}
    for _ in range(200):
        deep = {b"d": deep}
    with pytest.raises(IntegrityError, match="too many folders"):
        read_nar(io.BytesIO(archive(deep)))


def test_forms_of_a_hash():
    sha256 = hashlib.sha256(b"").hexdigest()
    assert sri(sha256) == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert bare(sri(sha256)) == sha256


@pytest.mark.nix
def test_nix_writes_the_same(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "b/empty").mkdir(parents=True)
    (tree / "a-file").write_bytes(b"12345678")
    (tree / "a").write_bytes(b"")
    (tree / "b/run").write_bytes(b"#!/bin/sh\n")
    (tree / "b/run").chmod(0o755)
    (tree / "link").symlink_to("b/nowhere")
    run = subprocess.run(
        ["nix-store", "--dump", tree], capture_output=True, check=True, env={**os.environ, "NIX_REMOTE": ""}
    )
    assert archive(read_nar(io.BytesIO(run.stdout)), run.stdout) == run.stdout
    read: Node = {
        b"a": Span(0, 0, executable=False),
        b"a-file": Span(0, 8, executable=False),
        b"b": {b"empty": {}, b"run": Span(8, 10, executable=True)},
        b"link": b"b/nowhere",
    }
    assert archive(read, b"12345678#!/bin/sh\n") == run.stdout
