"""One reader for a build: packages come in the order asked for, each read at most once while anybody holds it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from debs import CONTROL, END, artifact, deb, member

import builder.layers.packages
from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.entry import Entry
from builder.layers.packages import PackageReader
from builder.store.artifact import Artifact
from builder.store.blobs import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the packages in the order in which they were really read."""
    seen: list[str] = []
    real = builder.layers.packages.read_deb

    def counted(path: Path, item: Artifact) -> object:
        seen.append(item.name)
        return real(path, item)

    monkeypatch.setattr(builder.layers.packages, "read_deb", counted)
    return seen


def packages(store: Store, count: int) -> list[Artifact]:
    """Packages of growing size, `demo0` the smallest."""
    found = []
    for number in range(count):
        fields = CONTROL | {"Package": f"demo{number}"}
        data = deb(member("./file", str(number).encode() * 1000 * (number + 1)) + END, control=fields, suffix="")
        store.add(data)
        found.append(artifact(data, fields))
    return found


def content(entry: Entry) -> bytes:
    assert entry.source is not None
    with entry.source() as file:
        return file.read()


@pytest.mark.parametrize("jobs", [1, 4])
def test_reads_several_at_once_in_their_order(store: Store, jobs: int) -> None:
    asked = packages(store, 20)
    asked = [*asked[10:], *asked[:10]]
    found = PackageReader(store, jobs).read(asked)
    assert [package.name for package in found] == [item.name for item in asked]
    for package in found:
        number = int(package.name.removeprefix("demo"))
        assert content(package.entries[0]) == str(number).encode() * 1000 * (number + 1)


def test_nothing_to_read(store: Store) -> None:
    assert PackageReader(store, 2).read([]) == []


def test_the_largest_is_read_first(store: Store, readings: list[str]) -> None:
    PackageReader(store, 1).read(packages(store, 5))
    assert readings == ["demo4", "demo3", "demo2", "demo1", "demo0"]


def test_a_package_is_shared_while_it_is_held_and_read_again_after(store: Store, readings: list[str]) -> None:
    reader = PackageReader(store, 2)
    asked = packages(store, 2)
    first = reader.read(asked)
    again = reader.read(asked[::-1])
    assert again[0] is first[1]
    assert again[1] is first[0]
    assert len(readings) == 2
    kept = first[0]
    del first, again
    gc.collect()
    third = reader.read(asked)
    assert third[0] is kept
    assert len(readings) == 3, "the one that nobody held was read again"
    assert content(third[1].entries[0]) == b"1" * 2000


def test_the_same_package_twice_in_one_list(store: Store, readings: list[str]) -> None:
    (one,) = packages(store, 1)
    first, second = PackageReader(store, 4).read([one, one])
    assert first is second
    assert readings == ["demo0"]


def test_threads_that_want_the_same_packages_read_them_once(store: Store, readings: list[str]) -> None:
    reader, asked = PackageReader(store, 2), packages(store, 6)
    start = threading.Barrier(8)

    def read(order: Sequence[Artifact]) -> list[object]:
        start.wait()
        return list(reader.read(order))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, [asked, asked[::-1]] * 4))
    assert sorted(readings) == [item.name for item in asked]
    assert {id(deb) for debs in found for deb in debs} == {id(deb) for deb in found[0]}


def test_a_package_whose_bytes_changed_is_refused(store: Store) -> None:
    asked = packages(store, 8)
    blob = store.blob_path(asked[5].sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"!<arch>\n" + bytes(asked[5].size - 8))
    with pytest.raises(IntegrityError, match=asked[5].sha256):
        PackageReader(Store(store.root), 4).read(asked)


def test_a_malformed_package_is_refused_every_time(store: Store) -> None:
    asked = packages(store, 4)
    asked[2] = artifact(b"no package", CONTROL | {"Package": "broken"})
    store.add(b"no package")
    reader = PackageReader(store, 4)
    for _ in range(2):  # the first failure leaves no lock behind
        with pytest.raises(IntegrityError, match="magic"):
            reader.read(asked)
    assert [deb.name for deb in reader.read(asked[:2])] == ["demo0", "demo1"]


def test_a_package_that_is_not_there(store: Store) -> None:
    with pytest.raises(EnvironmentFault, match="not in the store"):
        PackageReader(store, 2).read([artifact(b"absent")])
