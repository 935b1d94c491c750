from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import EnvironmentFault, IntegrityError, KbuildError
from builder.store.atomic import remove_tree
from builder.store.blobs import Store, hash_file
from builder.store.records import dump_record, parse_record

# FIPS 180-2, appendix B
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leftovers(store: Store) -> list[str]:
    folder = store.root / "tmp"
    return names(folder) if folder.exists() else []


def test_published_vectors_are_the_names_of_blobs(store: Store) -> None:
    assert store.add(b"abc") == ABC
    assert store.add(b"") == EMPTY
    assert store.path(ABC).read_bytes() == b"abc"
    assert hash_file(store.path(ABC)) == (ABC, 3)


def test_creating_a_store_and_asking_it_creates_no_blob_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "store")
    assert not (tmp_path / "deep").exists()
    assert not store.has(ABC)
    assert store.recall("layers", "x") is None


@given(chunks=st.lists(st.binary(max_size=300), max_size=20))
def test_whatever_the_chunks_the_blob_is_their_concatenation(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "chunks")
    with store.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        digest = writer.commit()
    whole = b"".join(chunks)
    assert digest == sha256(whole)
    assert writer.size == len(whole)
    with store.open(digest) as file:
        assert file.read() == whole
    assert leftovers(store) == []


def test_blobs_are_0444_whatever_the_umask(store: Store) -> None:
    before = os.umask(0o777)
    try:
        digest = store.add(b"private?")
        store.remember("kind", "key", {"a": 1})
        tree = store.directory("kind", "key", lambda path: (path / "f").write_bytes(b"x") and None)
        with store.lock("name"):
            pass
    finally:
        os.umask(before)
    assert store.path(digest).stat().st_mode & 0o7777 == 0o444
    assert tree.stat().st_mode & 0o7777 == 0o755
    for folder in [store.root, store.root / "blobs", store.root / "tmp", store.root / "locks", tree.parent]:
        assert folder.stat().st_mode & 0o700 == 0o700, folder
    for file in [*(store.root / "locks").glob("*.lock"), store.record_path("kind", "key")]:
        assert file.stat().st_mode & 0o600 == 0o600, file


def test_an_abandoned_writer_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.writer() as writer:
            writer.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.writer() as writer:
        writer.write(b"never committed")
    assert leftovers(store) == []
    assert not (store.root / "blobs").exists()


def test_commit_refuses_bytes_of_another_hash(store: Store) -> None:
    with store.writer() as writer:
        writer.write(b"abd")
        with pytest.raises(IntegrityError, match=f"expected .*{ABC}, got {sha256(b'abd')}"):
            writer.commit(expect=ABC)
    assert leftovers(store) == []
    assert not store.has(sha256(b"abd"))


def test_adding_twice_is_one_blob(store: Store) -> None:
    assert store.add(b"same") == store.add(b"same")
    with store.writer() as writer:
        writer.write(b"same")
        writer.commit()
    assert len(list((store.root / "blobs" / "sha256").iterdir())) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "abc", ABC.upper(), ABC + "\n", ""])
def test_a_name_that_is_no_hash_never_becomes_a_path(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.has(name)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\n", "x" * 201, "ü"])
def test_a_kind_or_key_that_is_no_name_never_becomes_a_path(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        store.remember(name, "key", {})
    with pytest.raises(ValueError, match="not a name"):
        store.directory("kind", name, lambda _: None)
    with pytest.raises(ValueError, match="not a name"), store.lock(name):
        pass


def test_what_is_missing_is_said_to_be_missing(store: Store) -> None:
    with pytest.raises(EnvironmentFault, match="not in the store") as caught:
        store.path(ABC)
    assert caught.value.exit_code == 3
    assert caught.value.hint


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_corrupt_blob_goes_to_quarantine_and_can_be_made_again(store: Store) -> None:
    digest = store.add(b"precious")
    damage(store.path(digest), b"perverse")
    fresh = Store(store.root)
    with pytest.raises(IntegrityError, match="corrupt") as caught:
        fresh.verified(digest)
    assert caught.value.exit_code == 4
    assert "kbuild store verify" in (caught.value.hint or "")
    assert not fresh.has(digest)
    [aside] = (store.root / "quarantine").iterdir()
    assert aside.read_bytes() == b"perverse"
    assert fresh.add(b"precious") == digest
    assert fresh.verified(digest).read_bytes() == b"precious"


def test_a_truncated_blob_is_caught_even_in_the_process_that_wrote_it(store: Store) -> None:
    digest = store.add(b"precious")
    assert store.verified(digest)
    damage(store.path(digest), b"prec")
    with pytest.raises(IntegrityError):
        store.open(digest)


def test_adding_again_replaces_a_truncated_blob(store: Store) -> None:
    digest = store.add(b"precious")
    damage(store.path(digest), b"prec")
    store.add(b"precious")
    assert Store(store.root).verified(digest).read_bytes() == b"precious"


def test_a_blob_is_hashed_once_per_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.add(b"x" * 100)
    fresh = Store(store.root)
    fresh.verified(digest)
    monkeypatch.setattr("builder.store.blobs.hash_file", None)
    fresh.verified(digest)


def test_a_size_that_the_lock_got_wrong_is_told_and_harms_no_blob(store: Store) -> None:
    digest = store.add(b"abc")
    assert store.verified(digest, 3)
    with pytest.raises(IntegrityError, match="3 bytes, but 4"):
        store.verified(digest, 4)
    assert store.has(digest)


def test_records_come_back_as_they_were(store: Store) -> None:
    value = {"digest": "sha256:ü", "n": 1, "list": [1, None, {"deep": True}]}
    store.remember("layers", "k.1", value)
    assert store.recall("layers", "k.1") == value
    assert store.recall("layers", "other") is None
    assert store.recall("other", "k.1") is None
    store.remember("layers", "k.1", {"n": 2})
    assert Store(store.root).recall("layers", "k.1") == {"n": 2}
    assert leftovers(store) == []


def test_no_bit_flip_or_cut_in_a_record_yields_another_value(store: Store) -> None:
    value = {"digest": "0123", "n": 1}
    whole = dump_record(value)
    assert parse_record(whole) == value
    for cut in range(len(whole)):
        assert parse_record(whole[:cut]) is None
    for position in range(len(whole) * 8):
        bad = bytearray(whole)
        bad[position // 8] ^= 1 << position % 8
        assert parse_record(bytes(bad)) in (None, value)
    store.remember("layers", "k", value)
    store.record_path("layers", "k").write_bytes(whole[:-1])
    assert store.recall("layers", "k") is None


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_bytes_are_a_record_by_chance(data: bytes) -> None:
    assert parse_record(data) is None


def test_a_directory_is_made_once(store: Store) -> None:
    calls = []

    def make(path: Path) -> None:
        calls.append(path)
        (path / "file").write_bytes(b"x")

    first = store.directory("root", "key", make)
    assert Store(store.root).directory("root", "key", make) == first
    assert len(calls) == 1
    assert names(first) == ["file"]


def test_a_directory_that_fails_leaves_nothing_and_is_made_later(store: Store) -> None:
    def fail(path: Path) -> None:
        inner = path / "inner"
        inner.mkdir()
        (inner / "file").write_bytes(b"x")
        inner.chmod(0o500)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        store.directory("root", "key", fail)
    assert leftovers(store) == []
    assert store.directory("root", "key", lambda path: path.joinpath("ok").mkdir()).joinpath("ok").is_dir()


def test_a_mistake_of_the_maker_is_not_called_a_fault_of_the_machine(store: Store) -> None:
    with pytest.raises(FileExistsError):
        store.directory("root", "key", lambda path: path.mkdir())


def test_a_directory_without_its_marker_is_made_anew(store: Store) -> None:
    home = store.root / "trees" / "root" / "key"
    (home / "tree" / "half").mkdir(parents=True)
    tree = store.directory("root", "key", lambda path: path.joinpath("whole").mkdir())
    assert names(tree) == ["whole"]
    assert leftovers(store) == []


def test_read_only_trees_can_be_removed_and_links_are_not_followed(public: Path) -> None:
    public.chmod(0o777)
    outside = public / "outside"
    outside.mkdir()
    (outside / "keep").write_bytes(b"x")
    tree = public / "tree"

    def make_and_remove() -> None:
        (tree / "a" / "b").mkdir(parents=True)
        (tree / "a" / "b" / "f").write_bytes(b"x")
        (tree / "a" / "link").symlink_to(outside)
        (tree / "a" / "b").chmod(0)
        (tree / "a").chmod(0o500)
        tree.chmod(0)
        remove_tree(tree)

    mode = outside.stat().st_mode
    assert as_nobody(make_and_remove) == "None"
    assert not tree.exists()
    assert outside.stat().st_mode == mode
    assert (outside / "keep").exists()


def test_relative_and_symlinked_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = Store(Path("link/store"))
    digest = store.add(b"abc")
    monkeypatch.chdir("/")
    assert store.path(digest).is_absolute()
    assert store.open(digest).read() == b"abc"
    assert Store(tmp_path / "real" / "store").has(digest)


WRITES: dict[str, Callable[[Store], object]] = {
    "blob": lambda store: store.add(b"x" * 5000),
    "record": lambda store: store.remember("kind", "new", {"a": "x" * 5000}),
    "tree": lambda store: store.directory("kind", "new", lambda path: path.joinpath("f").write_bytes(b"x" * 5000)),
    "lock": lambda store: store.lock("new").__enter__(),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_root_that_is_a_file_is_one_clear_error(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(EnvironmentFault, match="file") as caught:
        WRITES[what](store)
    assert "KBUILD_STORE" in (caught.value.hint or "")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others can reach, as pytest's own are private."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    remove_tree(path)


def as_nobody(work: Callable[[], object]) -> str:
    """Run `work` in a process without root's rights; returns what came of it, as text."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setgid(12345)
            os.setuid(12345)
        try:
            said = str(work())
        except KbuildError as error:
            said = f"{error.exit_code} {error.diagnostics()}"
        except BaseException as error:  # noqa: BLE001
            said = f"escaped: {error!r}"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_store_that_cannot_be_written_to_can_be_read(public: Path) -> None:
    store = Store(public / "store")
    digest = store.add(b"abc")
    store.remember("kind", "key", {"a": 1})
    tree = store.directory("kind", "key", lambda path: path.joinpath("x").mkdir())
    with store.lock("warm"):
        pass
    for path in [store.root, *store.root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o555)

    fresh = Store(store.root)
    assert as_nobody(lambda: fresh.open(digest).read()) == "b'abc'"
    assert as_nobody(lambda: fresh.has(digest)) == "True"
    assert as_nobody(lambda: fresh.recall("kind", "key")) == "{'a': 1}"
    assert as_nobody(lambda: fresh.directory("kind", "key", lambda _: None)) == str(tree)
    for what, write in WRITES.items():
        said = as_nobody(lambda write=write: write(fresh))
        assert said.startswith("3 "), (what, said)
        assert "permission denied" in said
        assert str(store.root) in said
        assert "hint: set KBUILD_STORE" in said


@pytest.mark.parametrize("what", ["blob", "record", "tree"])
def test_running_out_of_space_is_one_clear_error_and_leaves_nothing(store: Store, what: str) -> None:
    digest = store.add(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(EnvironmentFault) as caught:
            WRITES[what](store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == 3
    assert str(store.root) in str(caught.value.where)
    assert leftovers(store) == []
    assert store.open(digest).read() == b"before"
    assert store.recall("kind", "new") is None


@pytest.mark.root
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=False).returncode:
        pytest.skip("this machine lets no one mount")
    try:
        store = Store(mount / "store")
        store.add(b"abc")
        with pytest.raises(EnvironmentFault, match="the disk is full") as caught:
            store.add(bytes(4 << 20))
        assert "kbuild store gc" in (caught.value.hint or "")
        assert leftovers(store) == []
        assert store.verified(ABC)
        with pytest.raises(EnvironmentFault, match="the disk is full"):
            store.directory("kind", "key", lambda path: path.joinpath("f").write_bytes(bytes(4 << 20)) and None)
        assert leftovers(store) == []
        store.session.close()
    finally:
        subprocess.run(["umount", mount], check=True)


def _contend(root: str, count: int) -> None:
    store = Store(Path(root))
    for number in range(count):
        with store.lock("counter"):
            path = store.root / "counter"
            path.write_text(str(int(path.read_text() or "0") + 1))
        store.add(b"blob %d" % number)
        store.remember("kind", f"key{number}", {"number": number})
        tree = store.directory("tree", f"key{number}", _slowly)
        if names(tree) != ["a", "b"]:
            os._exit(1)


def _slowly(path: Path) -> None:
    with (path.parents[2] / "made").open("a") as log:
        log.write("x")
    (path / "a").mkdir()
    time.sleep(0.002)
    (path / "b").mkdir()


def test_many_processes_at_once(store: Store) -> None:
    store.root.mkdir()
    (store.root / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_contend, args=(str(store.root), 15)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (store.root / "counter").read_text() == "60"
    assert (store.root / "made").read_text() == "x" * 15  # each tree was made by one process only
    for number in range(15):
        assert store.open(sha256(b"blob %d" % number)).read() == b"blob %d" % number
        assert store.recall("kind", f"key{number}") == {"number": number}
    assert leftovers(store) == []


def _write_forever(root: str, seed: int) -> None:
    generator, store = random.Random(seed), Store(Path(root))
    while True:
        data = generator.randbytes(generator.choice([10, 5000, 300_000]))
        store.add(data)
        store.remember("kind", f"k{generator.randrange(4)}", {"data": data[:2000].hex()})
        store.directory("tree", sha256(data), lambda path: _fill(path, 5))


def _fill(path: Path, count: int) -> None:
    for number in range(count):
        (path / str(number)).write_bytes(b"x" * 1000)


def test_sigkill_at_any_moment_leaves_a_right_store(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    generator = random.Random(7)
    for seed in range(40):
        worker = context.Process(target=_write_forever, args=(str(store.root), seed))
        worker.start()
        time.sleep(generator.uniform(0.005, 0.08))
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    after = Store(store.root)
    found = names(store.root / "blobs" / "sha256")
    assert found  # how many depends on the machine
    for name in found:
        assert after.verified(name).stat().st_mode & 0o777 == 0o444
    for key in names(store.root / "records" / "kind"):
        assert after.recall("kind", key) is not None  # whole, whichever writer came last
    for key in names(store.root / "trees" / "tree"):
        assert names(after.directory("tree", key, lambda path: _fill(path, 5))) == list("01234")
    with after.lock("free"):
        pass
