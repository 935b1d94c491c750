"""mtree text, by the program that reads it: it shares no code with what writes it."""

from __future__ import annotations

import hashlib
import io
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from laying import lay, written

from builder.layers.entry import Entry
from builder.layers.tar import write_tar
from builder.render.mtree import Item, escaped, mtree

_numbers = itertools.count()


def packed(entries: list[Entry]) -> bytes:
    tar = io.BytesIO()
    write_tar(entries, tar.write)
    return tar.getvalue()


def test_one_line_for_each_entry() -> None:
    entries = [
        trees.folder("usr", mtime=5),
        trees.file("usr/a b#", b"hi", mode=0o4755, mtime=7, uid=1, gid=2),
        trees.symlink("usr/l", "../x=y", mtime=9),
    ]
    zeros = "00" * 32
    items = [Item(entries[0]), Item(entries[1], zeros, "ü"), Item(entries[2])]
    assert mtree(items, comments=["of a test"]).splitlines() == [
        "#mtree v2.0",
        "# of a test",
        "./usr type=dir mode=0755 uid=0 gid=0 time=5.0",
        f"./usr/a\\040b\\043 type=file mode=4755 uid=1 gid=2 time=7.0 size=2 sha256digest={zeros} contents=\\303\\274",
        "./usr/l type=link mode=0777 uid=0 gid=0 time=9.0 link=../x\\075y",
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plain/name-1.0+b2~c_d:e,f@g%h!", "plain/name-1.0+b2~c_d:e,f@g%h!"),
        (" \t\n\\#=*?[", r"\040\011\012\134\043\075\052\077\133"),
        ("\x7f\x01", r"\177\001"),
        ("€", r"\342\202\254"),
    ],
)
def test_escapes(text: str, word: str) -> None:
    assert escaped(text) == word


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_escapes_are_undone(lay_module, text: str) -> None:
    word = escaped(text)
    assert word.isascii()
    assert not set(word) & set(" \t\n#=")
    assert lay_module.unescaped(word.encode()) == text.encode()


@settings(max_examples=150, deadline=None)
@given(trees.trees())
def test_any_tree_comes_back_as_the_same_tar(lay_module, tmp_path_factory, entries: list[Entry]) -> None:
    folder = tmp_path_factory.getbasetemp() / f"tree-{next(_numbers)}"
    try:
        read = lay_module.read_mtree(str(written(entries, folder)))
        tar = io.BytesIO()
        digest = lay_module.walk(
            read, lay_module.Source(str(folder), {}), lambda _, data: lay_module.exhaust(data), tar.write
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert tar.getvalue() == packed(entries)
    assert digest == f"sha256:{hashlib.sha256(packed(entries)).hexdigest()}"


def test_every_rule_of_the_format(tmp_path: Path) -> None:
    mtree_file = written(trees.fixed_tree(), tmp_path / "from")
    said = lay("tar", mtree_file, tmp_path / "out.tar", "--from", tmp_path / "from")
    assert (said.code, said.stderr) == (0, "")
    expected = packed(trees.fixed_tree())
    assert (tmp_path / "out.tar").read_bytes() == expected
    assert said.stdout == f"sha256:{hashlib.sha256(expected).hexdigest()}\n"


def test_libarchive_reads_it_too(tmp_path: Path) -> None:
    """The keywords are mtree's own, so other readers of the format find the same tree."""
    if shutil.which("bsdtar") is None:
        pytest.skip("not installed: bsdtar")
    entries = [
        trees.folder("d", mode=0o750, mtime=100),
        trees.file("d/ä #=x", b"content", mode=0o640, mtime=200, uid=3, gid=4),
        trees.symlink("d/to", "ä #", mtime=300),
    ]
    path = written(entries, tmp_path / "from")
    done = subprocess.run(
        ["bsdtar", "--format", "ustar", "-cf", "-", f"@{path.name}"],
        cwd=path.parent, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True,
    )  # fmt: skip
    listed = subprocess.run(
        ["tar", "--numeric-owner", "--utc", "--full-time", "-tvf", "-"],
        input=done.stdout, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    assert [line.split()[:2] for line in listed.splitlines()] == [
        ["drwxr-x---", "0/0"],
        ["lrwxrwxrwx", "0/0"],
        ["-rw-r-----", "3/4"],
    ]
    assert "1970-01-01 00:03:20" in listed
