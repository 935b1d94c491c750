from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import EnvironmentFault
from builder.progress import Silent
from builder.store.blobs import Store
from builder.store.collect import DAY, OLDER_THAN, GcReport, collect, images, mark, mentioned, verify
from builder.store.locks import alive


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def age(store: Store, days: float) -> None:
    """Make everything as old as if its makers had ended days ago."""
    store.session.close()
    then = time.time() - days * DAY
    for path in [*store.root.rglob("*")]:
        if not path.is_symlink():
            os.utime(path, (then, then))


def gc(store: Store, **how: float | set[str]) -> GcReport:
    """Collect as a process of its own would."""
    return collect(Store(store.root), **how)  # type: ignore[arg-type]


def image(store: Store, *contents: bytes) -> str:
    digests = [store.add(data) for data in contents]
    store.remember("images", digests[0], {"blobs": digests[1:], "time": 1})
    return digests[0]


def test_verify_finds_exactly_what_decayed(store: Store) -> None:
    good = [store.add(b"good%d" % number) for number in range(5)]
    bad = store.add(b"bad")
    store.path(bad).chmod(0o600)
    store.path(bad).write_bytes(b"bed")
    (store.root / "blobs" / "sha256" / "stray.txt").write_bytes(b"?")
    report = verify(Store(store.root), Silent())
    assert report.corrupt == (bad,)
    assert report.strays == ("stray.txt",)
    assert (report.checked, report.size) == (6, 5 * 5 + 3)
    assert not store.has(bad)
    assert verify(store, Silent()).corrupt == ()
    assert all(store.has(digest) for digest in good)


def test_verify_of_nothing(store: Store) -> None:
    assert verify(store, Silent()).checked == 0


def test_roots_are_kept_however_old_and_the_rest_goes(store: Store) -> None:
    root = image(store, b"index", b"manifest", b"layer")
    store.add(b"loose")
    store.remember("layers", "used", {"digest": "sha256:" + sha256(b"layer")})
    store.remember("layers", "unused", {"digest": "sha256:" + sha256(b"loose")})
    store.directory("root", "tree", lambda path: path.joinpath("f").write_bytes(b"12345") and None)
    age(store, 1000)
    report = gc(store)
    assert (report.blobs, report.records, report.trees) == (1, 1, 1)
    assert report.freed >= len(b"loose") + 5
    assert (report.kept, report.kept_size) == (3, len(b"indexmanifestlayer"))
    fresh = Store(store.root)
    assert blobs(store) == {sha256(b"index"), sha256(b"manifest"), sha256(b"layer")}
    assert images(fresh).keys() == {root}
    assert fresh.recall("layers", "used")
    assert fresh.recall("layers", "unused") is None
    assert list((store.root / "tmp").iterdir()) == []


def test_images_that_are_not_to_be_kept_are_forgotten(store: Store) -> None:
    first, second = image(store, b"i1", b"shared", b"a"), image(store, b"i2", b"shared", b"b")
    age(store, 1000)
    gc(store, keep={first})
    assert blobs(store) == {first, sha256(b"shared"), sha256(b"a")}
    assert images(Store(store.root)).keys() == {first}
    assert second not in images(store)


def test_what_is_young_stays(store: Store) -> None:
    store.add(b"x")
    age(store, 29)
    assert gc(store).blobs == 0
    assert gc(store, older_than=OLDER_THAN - 2 * DAY).blobs == 1


def test_use_makes_young(store: Store) -> None:
    used, unused = store.add(b"used"), store.add(b"unused")
    store.remember("kind", "used", {"a": 1})
    store.directory("kind", "used", lambda _: None)
    age(store, 1000)
    later = Store(store.root)
    later.verified(used)
    later.recall("kind", "used")
    later.directory("kind", "used", lambda _: None)
    later.session.close()
    report = gc(store)
    assert (report.blobs, report.records, report.trees) == (1, 0, 0)
    assert blobs(store) == {used}
    assert unused not in blobs(store)


def _use(root: str, digest: str, pipe: Connection) -> None:
    store = Store(Path(root))
    pipe.send(store.has(digest))
    pipe.recv()


def test_nothing_that_a_living_process_has_seen_goes_even_when_all_is_to_go(store: Store) -> None:
    used, unused = store.add(b"used"), store.add(b"unused")
    age(store, 1000)
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_use, args=(str(store.root), used, there))
    worker.start()
    assert here.recv() is True
    gc(store, older_than=-10)
    assert blobs(store) == {used}
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    gc(store, older_than=-10)
    assert used in blobs(store)  # its own session is younger than the touch
    age(store, 1)
    gc(store, older_than=0)
    assert blobs(store) == set()
    assert unused not in blobs(store)


def test_a_session_is_announced_before_any_of_its_threads_uses_anything(store: Store) -> None:
    used = [store.add(b"%d" % number) for number in range(40)]
    age(store, 1000)
    fresh = Store(store.root)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fresh.has, used))
    assert len([path for path in store.session.folder.iterdir() if alive(path)]) == 1
    gc(store, older_than=0)
    assert blobs(store) == set(used)


def _dawdle(root: str, pipe: Connection) -> None:
    store = Store(Path(root))
    with store.writer() as writer:
        writer.write(b"x" * 3_000_000)
        pipe.send("written")
        pipe.recv()
        pipe.send(writer.commit())


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    here, there = multiprocessing.Pipe()
    workers = [context.Process(target=_dawdle, args=(str(store.root), there)) for _ in range(2)]
    for worker in workers:
        worker.start()
        assert here.recv() == "written"
    assert workers[0].pid
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    then = time.time() - 100
    for path in (store.root / "tmp").iterdir():
        os.utime(path, (then, then))
    report = gc(store)
    assert report.temporaries == 1
    assert report.freed == 3_000_000 - 3_000_000 % (1 << 20) or report.freed == 3_000_000
    here.send("go on")
    assert here.recv() == sha256(b"x" * 3_000_000)
    workers[1].join()
    assert store.verified(sha256(b"x" * 3_000_000))


def test_partial_downloads_and_quarantine_age_like_all_else(store: Store) -> None:
    for folder in ("partial", "quarantine"):
        (store.root / folder).mkdir(parents=True)
        (store.root / folder / sha256(b"a")).write_bytes(b"half")
        (store.root / folder / sha256(b"b")).write_bytes(b"half")
    age(store, 31)
    for folder in ("partial", "quarantine"):
        os.utime(store.root / folder / sha256(b"b"))
    assert gc(store).temporaries == 2
    assert (store.root / "partial" / sha256(b"b")).exists()


def _build(root: str, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(12):
        time.sleep(generator.uniform(0.03, 0.06))  # long enough for what was used to have gone stale
        store = Store(Path(root))
        for number in range(6):
            data = b"%d" % number
            if not store.has(sha256(data)):
                store.add(data)
            tree = store.directory("tree", str(number), lambda path: path.joinpath("f").mkdir())
            if not (tree / "f").is_dir():
                os._exit(2)
        for number in range(6):
            if store.path(sha256(b"%d" % number)).read_bytes() != b"%d" % number:
                os._exit(3)
            if not (store.root / "trees" / "tree" / str(number) / "tree" / "f").is_dir():
                os._exit(4)
        store.session.close()


def test_sweeping_for_all_it_is_worth_never_breaks_a_running_build(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.store.locks.SLACK_NS", 20_000_000)
    monkeypatch.setattr("builder.store.collect.SLACK_NS", 20_000_000)
    store.root.mkdir()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_build, args=(str(store.root), seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    swept = 0
    while any(worker.is_alive() for worker in workers):
        report = gc(store, older_than=0)
        swept += report.blobs + report.trees
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert swept > 0


@given(st.recursive(st.none() | st.integers() | st.text(max_size=70), lambda inner: st.lists(inner, max_size=3)))
def test_only_whole_digests_are_mentions(value: object) -> None:
    assert all(len(digest) == 64 for digest in mentioned(value))


def test_mentions_are_found_wherever_they_stand() -> None:
    a, b, c = (sha256(letter) for letter in (b"a", b"b", b"c"))
    assert set(mentioned({"x": [{"y": "sha256:" + a}], b: 1, "z": c, "no": "sha512:" + a, "up": a.upper()})) == {
        a,
        b,
        c,
    }
    assert mark({"k": {"blobs": [a]}, "other": {"blobs": [b]}}, {"k", "gone"}) == {"k", a}


def test_gc_of_a_read_only_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="not a folder"):
        collect(Store(tmp_path / "file"))
