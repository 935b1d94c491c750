from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import EPOCH, file, folder

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.tar import write_tar
from builder.layers.tree import file_entries


def tar(files: dict[str, bytes | Path], **more) -> bytes:
    out: list[bytes] = []
    write_tar(file_entries(files, epoch=EPOCH, **more), out.append)
    return b"".join(out)


def test_entries_and_their_parents() -> None:
    entries = file_entries({"opt/k/run": b"#!", "opt/k/a": b"x"}, epoch=EPOCH, executable={"opt/k/run"})
    assert [entry.path for entry in entries] == ["opt", "opt/k", "opt/k/a", "opt/k/run"]
    assert entries[:2] == [folder("opt"), folder("opt/k")]
    assert (entries[2].mode, entries[3].mode) == (0o644, 0o755)
    assert {(entry.mtime, entry.uid, entry.gid) for entry in entries} == {(EPOCH, 0, 0)}


def test_nothing_of_the_host_gets_in(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"content")
    expected = tar({"w": b"content"})
    for mode, mtime in ((0o600, 5), (0o6777, 2_000_000_000)):
        path.chmod(mode)
        os.utime(path, (mtime, mtime))
        assert tar({"w": path}) == expected
    if os.getuid() == 0:
        os.chown(path, 1000, 1000)
        assert tar({"w": path}) == expected


def test_a_symlink_on_the_host_is_the_file_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    assert tar({"w": tmp_path / "link"}) == tar({"w": b"content"})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "dangling", "pipe", "."):
        with pytest.raises(EnvironmentFault) as caught:
            file_entries({"w": tmp_path / name}, epoch=EPOCH)
        assert caught.value.where == str(tmp_path / name)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    entries = file_entries({"f": path}, epoch=EPOCH)
    for data in (b"1234", b"123456"):
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            write_tar(entries, lambda _: None)
    path.unlink()
    with pytest.raises(EnvironmentFault):
        write_tar(entries, lambda _: None)


def test_bad_paths_are_refused() -> None:
    for path in ("/abs", "../up", ""):
        with pytest.raises(IntegrityError):
            file_entries({path: b""}, epoch=EPOCH)
    with pytest.raises(IntegrityError, match="lies below 'a'"):
        file_entries({"a": b"", "a/b": b""}, epoch=EPOCH)
    assert file_entries({}, epoch=EPOCH) == []
    assert file_entries({"a": b""}, epoch=EPOCH)[0].path == file("a", b"").path
