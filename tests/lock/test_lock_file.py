from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lock_samples import LOCKS, SAMPLE, SAMPLE_TEXT, deb, lock

from builder.errors import EnvironmentFault, LockError
from builder.lock import file
from builder.lock.file import VERSION
from builder.lock.model import FORMAT, Lock


def test_the_golden_text_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    file.write(path, SAMPLE)
    assert path.read_text() == SAMPLE_TEXT
    assert file.read(path) == SAMPLE


def test_order_of_discovery_does_not_show() -> None:
    backwards = SAMPLE.model_copy(update={"artifact": SAMPLE.artifact[::-1]})
    assert file.dumps(backwards) == SAMPLE_TEXT


@settings(max_examples=40)
@given(LOCKS)
@example(SAMPLE)
def test_round_trip(value: Lock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.lock"
        file.write(path, value)
        again = file.read(path)
        assert again == value
        assert file.dumps(again) == path.read_text("utf-8")


def test_a_windows_checkout_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    path.write_bytes(SAMPLE_TEXT.replace("\n", "\r\n").encode())
    assert file.read(path) == SAMPLE


@given(st.integers(0, len(SAMPLE_TEXT) - 1))
def test_a_file_cut_off_anywhere_is_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.lock"
        path.write_text(SAMPLE_TEXT[:length])
        with pytest.raises(LockError) as caught:
            file.read(path)
        assert "kbuild lock" in (caught.value.hint or "")


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b"a = " + b"[" * 100_000)
@example(b"a = " + b"9" * 10_000)
@example(b"a." * 2000 + b"a = 1")
@example(b"\xef\xbb\xbf" + SAMPLE_TEXT.encode())
@example(b"")
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.lock"
        path.write_bytes(data)
        with pytest.raises(LockError):
            file.read(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("size = 1012", 'size = "1012"', "artifact.0.size"),
        ("size = 1012", "size = 1012.0", "artifact.0.size"),
        ("size = 1012", "size = -1", "artifact.0.size"),
        ("size = 1012", "size = true", "artifact.0.size"),
        ('name = "libc6"', "name = 2026-01-01", "artifact.0.name"),
        ('roles = ["image", "toolchain"]', 'roles = ["image", "kitchen"]', "artifact.0.roles"),
        ('roles = ["image", "toolchain"]', 'roles = "image"', "artifact.0.roles"),
        ('roles = ["image", "toolchain"]', 'roles = ["toolchain", "image"]', "sorted"),
        ('roles = ["image", "toolchain"]', "roles = []", "not empty"),
        ('platforms = ["linux/amd64"]', 'platforms = ["linux/amd64", "linux/amd64"]', "sorted"),
        ('kind = "deb"', 'kind = "rpm"', "artifact.0.kind"),
        ('kind = "deb"\n', 'kind = "deb"\nhost = "evil.example.org"\n', "artifact.0.host"),
        ('kind = "deb"\n', 'kind = "deb"\nkind = "deb"\n', "not TOML"),
        ("size = 1012\n", "", "artifact.0.size"),
        ("level = 3", "", "codec.level"),
        ('sha256 = "', 'sha256 = "A', "sha256"),
        ("epoch = 1789199741", "epoch = 0", "epoch"),
        ("epoch = 1789199741", "epoch = 99999999999", "epoch"),
        ('"linux/amd64" = ', '"windows/amd64" = ', "image.platforms"),
        ("# end: 4 artifacts", "# end: 5 artifacts", "4 artifacts, not 5"),
        ("# end: 4 artifacts\n", "# end: 4 artifacts\nx = 1\n", "malformed"),
    ],
)
def test_hand_edits_are_refused_with_their_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "spec.lock"
    path.write_text(SAMPLE_TEXT.replace(old, new, 1))
    with pytest.raises(LockError) as caught:
        file.read(path)
    assert told in caught.value.message
    assert str(path) in (caught.value.where or "")
    assert "kbuild lock" in (caught.value.hint or "")


def test_an_error_in_a_stanza_gives_its_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    path.write_text(SAMPLE_TEXT.replace("size = 3014", "size = []"))
    with pytest.raises(LockError) as caught:
        file.read(path)
    line = SAMPLE_TEXT.splitlines().index('kind = "weights"')  # the header is one line above, lines count from 1
    assert caught.value.where == f"{path}:{line}"


def test_a_lost_stanza_is_noticed(tmp_path: Path) -> None:
    stanzas = SAMPLE_TEXT.split("[[artifact]]\n")
    path = tmp_path / "spec.lock"
    path.write_text("[[artifact]]\n".join([*stanzas[:1], *stanzas[2:]]))
    with pytest.raises(LockError, match="not whole"):
        file.read(path)


def test_stanzas_out_of_order_and_twice_are_refused(tmp_path: Path) -> None:
    head, first, second, *rest = SAMPLE_TEXT.split("[[artifact]]\n")
    path = tmp_path / "spec.lock"
    path.write_text("[[artifact]]\n".join([head, second, first, *rest]))
    with pytest.raises(LockError, match="sorted place"):
        file.read(path)
    text = "[[artifact]]\n".join([head, first, first, second, *rest])
    path.write_text(text.replace("# end: 4", "# end: 5"))
    with pytest.raises(LockError, match="twice"):
        file.read(path)


@pytest.mark.parametrize(("key", "known"), [("version", VERSION), ("format", FORMAT)])
def test_a_newer_lock_is_called_newer_even_with_fields_that_this_kbuild_does_not_know(
    tmp_path: Path, key: str, known: int
) -> None:
    path = tmp_path / "spec.lock"
    path.write_text(SAMPLE_TEXT.replace(f"{key} = {known}\n", f"{key} = {known + 1}\nfuture = [1]\n"))
    with pytest.raises(LockError, match=f"has {key} {known + 1}; this kbuild knows {key} {known}") as caught:
        file.read(path)
    assert "newer kbuild" in (caught.value.hint or "")


def test_a_file_beyond_any_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    with path.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(LockError, match="larger than 16 MiB"):
        file.read(path)


def test_what_is_no_file_is_no_lock(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no lock"):
        file.read(tmp_path / "spec.lock")
    with pytest.raises(LockError, match="not a regular file"):
        file.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LockError, match="not a regular file"):
        file.read(tmp_path / "pipe")


def test_writing_ignores_the_umask_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    before = os.umask(0o077)
    try:
        file.write(path, SAMPLE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [item.name for item in tmp_path.iterdir()] == ["spec.lock"]


def test_writing_the_same_again_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    file.write(path, SAMPLE)
    before = path.stat()
    file.write(path, SAMPLE)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_reader_never_sees_half_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    locks = [SAMPLE, lock([deb(f"package{number:03}", number=number + 20) for number in range(300)])]
    file.write(path, locks[0])
    done = threading.Event()

    def rewrite() -> None:
        for turn in range(20):
            file.write(path, locks[turn % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        assert file.read(path) in locks
    writer.join()


def test_a_lock_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    with pytest.raises(ValueError, match="may read back"):
        file.write(path, lock([deb("libc6", path="../libc6.deb")]))
    assert not path.exists()


def test_a_folder_that_does_not_exist_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault):
        file.write(tmp_path / "file" / "spec.lock", SAMPLE)
