"""A pinned nixpkgs: fetched by revision, known by its tree."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import http.server
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.errors import EnvironmentFault, FetchError, IntegrityError
from builder.lock import nixpkgs
from builder.lock.model import Nixpkgs
from builder.lock.nar import Span, bare, read_nar, walk
from builder.machine import Machine
from builder.progress import Silent
from builder.store.blobs import Store

REV = "0123456789abcdef0123456789abcdef01234567"

Pack = Callable[..., bytes]


def member(name: str, data: bytes = b"", *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = "", **more):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(data), mode, kind, target
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


FOLDER = f"nixpkgs-{REV}"
TREE = (
    member(FOLDER, mode=0o755, kind=tarfile.DIRTYPE),
    member(f"{FOLDER}/pkgs", mode=0o755, kind=tarfile.DIRTYPE),
    member(f"{FOLDER}/pkgs/build.sh", b"#!/bin/sh\n", mode=0o755),
    member(f"{FOLDER}/default.nix", b"{ ... }: { }\n"),
    member(f"{FOLDER}/link", kind=tarfile.SYMTYPE, target="pkgs/build.sh"),
)


def tarball(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, **more: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, **more) as tar:
        for info, data in members or TREE:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / f"{REV}.tar.gz").write_bytes(gzip.compress(tarball()))
    return tmp_path / "mirror"


def machine(store: Store, mirror: Path | str, *, offline: bool = False) -> Machine:
    return Machine(store.root, 2, offline, nixpkgs_mirror=str(mirror))


def locked(store: Store, mirror: Path | str, previous: Nixpkgs | None = None, *, offline: bool = False) -> Nixpkgs:
    given = machine(store, mirror, offline=offline)
    return nixpkgs.locked(REV, previous, machine=given, store=store, progress=Silent())


def test_the_lock_gets_the_hash_of_the_tree_and_the_store_its_archive(store, mirror):
    found = locked(store, mirror)
    assert found.rev == REV
    path = store.verified(bare(found.nar_hash), found.size)
    with path.open("rb") as stream:
        tree = dict(walk(read_nar(stream)))
    data = path.read_bytes()
    assert sorted(tree) == [b"default.nix", b"link", b"pkgs", b"pkgs/build.sh"]
    script = tree[b"pkgs/build.sh"]
    assert isinstance(script, Span)
    assert (script.executable, data[script.start :][: script.size]) == (True, b"#!/bin/sh\n")
    assert tree[b"link"] == b"pkgs/build.sh"
    assert not [path for path in store.root.iterdir() if path.is_file()], "nothing is left lying about"


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(tarball()),
        tarball(form=tarfile.GNU_FORMAT),
        tarball(pax_headers={"comment": REV}),  # what `git archive` writes first of all
        tarball(*reversed(TREE)),
        tarball(*(member(f"other/{info.name.partition('/')[2]}", data, mode=info.mode, kind=info.type,
                         target=info.linkname, mtime=7, uid=5) for info, data in TREE[1:])),
    ],
    ids=["xz", "gnu", "comment", "order", "name and metadata"],
)  # fmt: skip
def test_the_hash_is_the_trees_whatever_its_tarball(store, mirror, data, tmp_path):
    expected = locked(store, mirror)
    (mirror / f"{REV}.tar.gz").write_bytes(data)
    assert locked(Store(tmp_path / "other"), mirror) == expected


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(mirror: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(mirror))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_every_kind_of_address(store, mirror, served, tmp_path):
    expected = locked(store, mirror)
    for number, address in enumerate((f"file://{mirror}", f"{mirror}/", served, f"{served}/")):
        assert locked(Store(tmp_path / str(number)), address) == expected


def test_a_locked_revision_is_not_asked_for_again(store, mirror):
    first = locked(store, mirror)
    assert locked(store, "/nowhere", first) == first
    assert locked(store, "/nowhere", first, offline=True) == first
    with pytest.raises(FetchError, match="/nowhere/"):
        locked(store, "/nowhere", first.model_copy(update={"rev": "f" * 40}))


def test_what_is_not_to_be_had_is_one_error(store, mirror, served):
    (mirror / f"{REV}.tar.gz").unlink()
    for address in (str(mirror), served):
        with pytest.raises(FetchError) as caught:
            locked(store, address)
        assert "KBUILD_NIXPKGS_MIRROR" in caught.value.hint
    with pytest.raises(EnvironmentFault, match="offline, and nixpkgs"):
        locked(store, mirror, offline=True)


def test_another_tree_than_the_locked_one_is_refused(store, mirror, tmp_path):
    found = locked(store, mirror)
    given = machine(store, mirror)
    fetched = functools.partial(nixpkgs.bring, found, machine=given, progress=Silent())
    assert fetched(store=store) == bare(found.nar_hash)
    fresh = Store(tmp_path / "fresh")
    assert fetched(store=fresh) == bare(found.nar_hash)
    assert fresh.verified(bare(found.nar_hash), found.size)
    changed = [*TREE[:3], member(f"{FOLDER}/default.nix", b"{ ... }: { x = 1; }\n"), TREE[4]]
    (mirror / f"{REV}.tar.gz").write_bytes(tarball(*changed))
    with pytest.raises(IntegrityError, match="holds another tree than the lock names: its narHash is sha256-"):
        fetched(store=Store(tmp_path / "spoilt"))
    assert fetched(store=fresh) == bare(found.nar_hash), "what is there is not asked for"
    offline = dataclasses.replace(given, offline=True)
    with pytest.raises(EnvironmentFault, match="offline"):
        nixpkgs.bring(found, machine=offline, store=Store(tmp_path / "empty"), progress=Silent())


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ([member("top/../x", b"")], "is not a plain path"),
        ([member("/top/x", b"")], "is not a plain path"),
        ([member("top/./x", b"")], "is not a plain path"),
        ([member("top/x", b""), member("top/x", b"")], "stands twice"),
        ([member("top/x", b""), member("top/x", kind=tarfile.DIRTYPE)], "stands twice"),
        (
            [member("top/x", kind=tarfile.SYMTYPE, target="/"), member("top/x/y", b"")],
            "below something that is no folder",
        ),
        ([member("top/x", b""), member("top/y", kind=tarfile.LNKTYPE, target="top/x")], "neither a file, a folder nor"),
        ([member("top/x", kind=tarfile.FIFOTYPE)], "neither a file, a folder nor"),
        ([member("top/x", b""), member("second/x", b"")], "does not hold one folder"),
        ([member("x", b"")], "does not hold one folder"),
    ],
)
def test_a_tarball_that_is_no_tree_is_refused(store, mirror, members, what):
    (mirror / f"{REV}.tar.gz").write_bytes(tarball(*members))
    with pytest.raises(IntegrityError, match=what):
        locked(store, mirror)


NO_TARBALLS = {
    "empty": b"",
    "a page": b"<html>",
    "cut short": gzip.compress(tarball())[:-200],
    "a tarball cut short": gzip.compress(tarball()[:1200]),
    "nothing, compressed": gzip.compress(b""),
    "one member's half": gzip.compress(tarball()[:1024]),
    "other headers": gzip.compress(tarball().replace(b"ustar", b"usual", 3)),
    "a spoilt header": gzip.compress(tarball()[:1024] + b"x" * 512 + tarball()[1536:]),
}


@pytest.mark.parametrize("data", NO_TARBALLS.values(), ids=NO_TARBALLS)
def test_what_is_no_tarball_is_refused(store, mirror, data):
    (mirror / f"{REV}.tar.gz").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"is not a whole tarball|does not hold one folder"):
        locked(store, mirror)


def test_bounds(store, mirror, monkeypatch):
    monkeypatch.setattr(nixpkgs, "MOST", 4)
    with pytest.raises(IntegrityError, match="holds more than any nixpkgs does"):
        locked(store, mirror)
    monkeypatch.setattr(nixpkgs, "MOST", 100)
    monkeypatch.setattr(nixpkgs, "LARGEST", 20)
    with pytest.raises(IntegrityError, match=r"holds more than any nixpkgs does|larger than any is"):
        locked(store, mirror)
