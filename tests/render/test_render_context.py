"""Writing a rendered directory: whole or not at all, and never over somebody else's files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from builder.errors import EnvironmentFault, IntegrityError, UsageError
from builder.render.context import MARK, Blob, Context, write
from builder.store.blobs import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def blob(store: Store, data: bytes) -> Blob:
    return Blob(store.add(data), len(data))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def test_text_bytes_and_blobs(tmp_path: Path, store: Store) -> None:
    context = Context({"a": "ä\n", "d/e/b": b"\xff", "c": blob(store, b"blob")}, executable=frozenset({"d/e/b"}))
    before = os.umask(0o077)
    try:
        write(context, tmp_path / "out", store)
    finally:
        os.umask(before)
    found = tree(tmp_path / "out")
    assert json.loads(found.pop(MARK)) == {"files": ["a", "c", "d/e/b"], "later": []}
    assert found == {"a": "ä\n".encode(), "d/e/b": b"\xff", "c": b"blob"}
    modes = {name: stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in ("", "a", "d", "d/e", "d/e/b")}
    assert modes == {"": 0o755, "a": 0o644, "d": 0o755, "d/e": 0o755, "d/e/b": 0o755}


def test_into_an_empty_folder_and_over_its_own(tmp_path: Path, store: Store) -> None:
    (tmp_path / "out").mkdir()
    write(Context({"a": "1", "gone": "1"}, later=frozenset({"inputs/x"})), tmp_path / "out", store)
    (tmp_path / "out/inputs").mkdir()
    (tmp_path / "out/inputs/x").write_text("fetched")
    write(Context({"a": "2"}), tmp_path / "out", store)
    assert tree(tmp_path / "out").keys() == {"a", MARK}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_fetched_stays(tmp_path: Path, store: Store) -> None:
    """As long as it is still wanted; what is in it is the build's business."""
    out = tmp_path / "out"
    write(Context({"a": "1"}, later=frozenset({"inputs/x", "inputs/y", "inputs/z"})), out, store)
    (out / "inputs").mkdir()
    for name in "xy":
        (out / "inputs" / name).write_text(name)
    (out / "inputs/z").symlink_to("/etc/passwd")
    write(Context({"inputs/n": "n"}, later=frozenset({"inputs/x", "inputs/z"})), out, store)
    assert tree(out).keys() == {"inputs/n", "inputs/x", MARK}
    assert (out / "inputs/x").read_text() == "x"


@pytest.mark.parametrize("stranger", ["notes.txt", "inputs/y", "inputs/.x", "sub/a"])
def test_never_over_a_strangers_file(tmp_path: Path, store: Store, stranger: str) -> None:
    out = tmp_path / "out"
    write(Context({"a": "1"}, later=frozenset({"inputs/x"})), out, store)
    (out / stranger).parent.mkdir(exist_ok=True)
    (out / stranger).write_text("precious")
    with pytest.raises(UsageError, match=stranger):
        write(Context({"a": "2"}), out, store)
    assert (out / stranger).read_text() == "precious"
    assert (out / "a").read_text() == "1"


def test_never_over_a_folder_of_someone_else(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("mine")
    for mark in (None, b"", b"{}", b"[]", b'{"files": 1, "later": []}'):
        if mark is not None:
            (out / MARK).write_bytes(mark)
        with pytest.raises(UsageError, match=r"not a rendered directory|was not written by"):
            write(Context({"a": "2"}), out, store)
    assert (out / "a").read_text() == "mine"


def test_never_through_a_link_nor_over_a_file(tmp_path: Path, store: Store) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("mine")
    for name in ("link", "dangling", "file"):
        with pytest.raises(UsageError, match="not a rendered directory"):
            write(Context({"a": "2"}), tmp_path / name, store)
    assert list((tmp_path / "real").iterdir()) == []
    with pytest.raises(UsageError, match="there is no folder"):
        write(Context({"a": "2"}), tmp_path / "no" / "out", store)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", ""])
def test_paths_that_lead_elsewhere(tmp_path: Path, store: Store, path: str) -> None:
    with pytest.raises(IntegrityError, match="path"):
        write(Context({path: "x"}), tmp_path / "out", store)
    assert not (tmp_path / "out").exists()


def test_a_blob_that_is_not_what_it_was(tmp_path: Path, store: Store) -> None:
    """An error on the way leaves what was there, and nothing beside it."""
    write(Context({"a": "1"}), tmp_path / "out", store)
    context = Context({"a": "2", "b": blob(store, b"right")})
    path = store.blob_path(hashlib.sha256(b"right").hexdigest())
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    with pytest.raises(IntegrityError, match="corrupt"):
        write(context, tmp_path / "out", Store(tmp_path / "store"))
    assert (tmp_path / "out/a").read_text() == "1"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out", "store"]


def test_what_a_killed_one_left_is_removed(tmp_path: Path, store: Store) -> None:
    dead, alive, other = (tmp_path / name for name in (".out.kbuild-1-a", ".out.kbuild-2-b", ".outer.kbuild-3-c"))
    for folder in (dead, alive, other):
        (folder / "new").mkdir(parents=True)
    handle = os.open(alive, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        write(Context({"a": "1"}), tmp_path / "out", store)
    finally:
        os.close(handle)
    assert (dead.exists(), alive.exists(), other.exists()) == (False, True, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path, store: Store) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        write(Context({"a": "1"}), tmp_path / "closed" / "out", store)
