from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from debian_archive import NOW, Mirror, index, release_text, serve, signed, suite_files
from pysequoia import Cert, Tsk

from builder.errors import FetchError, IntegrityError, ResolveError
from builder.lock.debian.archive import Archive
from builder.lock.debian.solver import resolve
from builder.progress import Silent
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.client import Client

PATIENCE = Patience(connect=1, read=0.4, window=0.4, attempts=2, first_wait=0.01)
MAIN = {"amd64": "a 1; Depends: b\nb 1", "arm64": "a 1; Depends: c\nc 1"}
UPDATES = {"amd64": "b 2", "arm64": "c 2"}
SECURITY = {"amd64": "b 3\nb 1", "arm64": ""}

Make = Callable[..., Archive]


@pytest.fixture
def main_files(key: Tsk) -> dict[str, bytes]:
    return suite_files(key, MAIN)


@pytest.fixture
def all_files(key: Tsk, main_files: dict[str, bytes]) -> dict[str, bytes]:
    return (
        main_files
        | suite_files(key, UPDATES, codename="trixie-updates", suite="stable-updates")
        | suite_files(
            key,
            SECURITY,
            codename="trixie-security",
            suite="stable-security",
            valid_until="Sat, 26 Sep 2026 00:00:00 UTC",
        )
    )


@pytest.fixture
def mirror(all_files: dict[str, bytes]) -> Iterator[Mirror]:
    with serve(all_files) as running:
        yield running


@pytest.fixture
def archive(store: Store, certs: tuple[Cert, ...]) -> Make:
    def make(
        *urls: str, now: datetime | None = NOW, believe: Sequence[Cert] = certs, security: Sequence[str] | None = None
    ) -> Archive:
        return Archive(
            lambda registry: urls if registry == "debian" or security is None else security,
            Client(PATIENCE, {}),
            store,
            Silent(),
            now,
            PATIENCE,
            lambda: believe,
        )

    return make


def test_a_release_with_its_updates(mirror: Mirror, archive: Make) -> None:
    universes, indexes = archive(mirror.url).universes("trixie", updates=True, architectures=["amd64", "arm64"])
    assert [str(package) for package in resolve(["a"], universes["amd64"], implicit=())] == ["a 1", "b 3"]
    assert [str(package) for package in resolve(["a"], universes["arm64"], implicit=())] == ["a 1", "c 2"]
    assert {package.version: package.registry for package in universes["amd64"].versions("b")} == {
        "3": "debian-security",
        "2": "debian",
        "1": "debian",
    }
    assert [(item.registry, item.suite, item.path) for item in indexes] == [
        ("debian", "trixie", "dists/trixie/InRelease"),
        ("debian", "trixie-updates", "dists/trixie-updates/InRelease"),
        ("debian-security", "trixie-security", "dists/trixie-security/InRelease"),
    ]
    raw = mirror.files["dists/trixie/InRelease"]
    assert (indexes[0].sha256, indexes[0].size) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert indexes[0].date == "2026-09-12T07:55:41Z"


def test_each_inrelease_is_read_once_for_all_architectures(mirror: Mirror, archive: Make) -> None:
    archive(mirror.url).universes("trixie", updates=True, architectures=["amd64", "arm64"])
    assert sorted(path for path in mirror.asked if path.endswith("InRelease")) == [
        "dists/trixie-security/InRelease",
        "dists/trixie-updates/InRelease",
        "dists/trixie/InRelease",
    ]


def test_without_updates_no_other_suite_is_asked_for(mirror: Mirror, archive: Make) -> None:
    universes, indexes = archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
    assert [item.suite for item in indexes] == ["trixie"]
    assert [package.version for package in universes["amd64"].versions("b")] == ["1"]
    assert not any("updates" in path or "security" in path for path in mirror.asked)


def test_a_suite_name_becomes_its_codename(mirror: Mirror, archive: Make) -> None:
    mirror.files["dists/stable/InRelease"] = mirror.files["dists/trixie/InRelease"]
    _, indexes = archive(mirror.url).universes("stable", updates=True, architectures=["amd64"])
    assert [item.suite for item in indexes] == ["trixie", "trixie-updates", "trixie-security"]
    assert indexes[0].path == "dists/trixie/InRelease"


def test_indexes_are_kept_by_hash(mirror: Mirror, archive: Make) -> None:
    archive(mirror.url).universes("trixie", updates=True, architectures=["amd64"])
    mirror.asked.clear()
    universes, _ = archive(mirror.url).universes("trixie", updates=True, architectures=["amd64"])
    assert all(path.endswith("InRelease") for path in mirror.asked)
    assert universes["amd64"].versions("a")


def test_a_damaged_kept_index_is_fetched_again(mirror: Mirror, archive: Make, store: Store) -> None:
    reader = archive(mirror.url)
    reader.universes("trixie", updates=False, architectures=["amd64"])
    blob = store.path(hashlib.sha256(mirror.files["dists/trixie/main/binary-amd64/Packages.xz"]).hexdigest())
    os.chmod(blob, 0o644)  # noqa: PTH101
    blob.write_bytes(b"rotten")
    again = Archive(reader.bases, reader.client, Store(store.root), Silent(), NOW, PATIENCE, reader.certs)
    universes, _ = again.universes("trixie", updates=False, architectures=["amd64"])
    assert universes["amd64"].versions("a")


def test_by_hash_first_and_the_plain_path_where_there_is_none(mirror: Mirror, archive: Make, store: Store) -> None:
    archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
    assert any("/by-hash/SHA256/" in path for path in mirror.asked)
    assert not any(path.endswith("Packages.xz") for path in mirror.asked)


def test_a_mirror_without_by_hash(main_files: dict[str, bytes], archive: Make) -> None:
    with serve({path: data for path, data in main_files.items() if "by-hash" not in path}) as plain:
        universes, _ = archive(plain.url).universes("trixie", updates=False, architectures=["amd64"])
        assert universes["amd64"].versions("a")
        assert plain.asked[-1] == "dists/trixie/main/binary-amd64/Packages.xz"


def test_gzip_where_there_is_no_xz(key: Tsk, archive: Make) -> None:
    whole = index("a 1")
    packed = gzip.compress(whole)
    text = release_text({"main/binary-amd64/Packages.gz": packed}, by_hash=False)
    with serve(
        {"dists/trixie/InRelease": signed(text, key), "dists/trixie/main/binary-amd64/Packages.gz": packed}
    ) as old:
        universes, _ = archive(old.url).universes("trixie", updates=False, architectures=["amd64"])
    assert universes["amd64"].versions("a")


def test_a_server_that_is_busy_at_first(mirror: Mirror, archive: Make) -> None:
    mirror.broken["dists/trixie/InRelease"] = 1
    universes, _ = archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
    assert universes["amd64"].versions("a")


# --- mirrors that fail ------------------------------------------------------------------------------------------------


def spoil_inrelease(mirror: Mirror, key: Tsk, other: Tsk) -> Iterator[tuple[str, type[Exception], str]]:
    path = "dists/trixie/InRelease"
    good = mirror.files[path]
    mirror.files[path] = b"<html>Welcome to the hotel</html>"
    yield "garbage", IntegrityError, "not signed"
    mirror.files[path] = good.replace(b"Suite: stable", b"Suite: stab1e")
    yield "tampered", IntegrityError, "no good signature"
    mirror.files[path] = signed(
        release_text({}, valid_until="Sat, 19 Sep 2026 00:00:00 UTC") + f" {'a' * 64} 1 x\n", key
    )
    yield "old", IntegrityError, "valid until"
    mirror.files[path] = signed(release_text({}) + f" {'a' * 64} 1 x\n", other)
    yield "signed by a stranger", IntegrityError, "no good signature"
    mirror.files[path] = mirror.files["dists/trixie-updates/InRelease"]
    yield "of another suite", IntegrityError, "not of trixie"
    mirror.files[path] = bytes(5 << 20)
    yield "too large", IntegrityError, "more than"
    mirror.files[path] = good
    mirror.stalled.add(path)
    yield "stalling", FetchError, "stalled"
    mirror.stalled.clear()
    mirror.broken[path] = 99
    yield "broken", FetchError, "503"
    mirror.broken.clear()
    del mirror.files[path]
    yield "without the file", ResolveError, "no such file"


def test_a_bad_mirror_is_an_error_alone_and_a_detour_beside_a_good_one(
    all_files: dict[str, bytes], mirror: Mirror, key: Tsk, other_key: Tsk, archive: Make
) -> None:
    with serve(dict(all_files)) as good:
        for what, kind, says in spoil_inrelease(mirror, key, other_key):
            with pytest.raises(kind, match=says) as caught:
                archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
            assert mirror.url in str(caught.value), what
            assert caught.value.hint, what  # type: ignore[attr-defined]
            universes, _ = archive(mirror.url, good.url).universes("trixie", updates=False, architectures=["amd64"])
            assert universes["amd64"].versions("a"), what


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), IntegrityError, "SHA-256"),
        (lambda data: data + b"x", IntegrityError, "more than"),
        (lambda data: data[:-1], IntegrityError, "promises"),
        (lambda _data: lzma.compress(bytes(1 << 20)), IntegrityError, "promises|more than"),
        (lambda _data: None, ResolveError, "no such file"),
    ],
)
def test_wrong_packages(  # noqa: PLR0917
    spoil: Callable[[bytes], bytes | None],
    kind: type[Exception],
    says: str,
    main_files: dict[str, bytes],
    mirror: Mirror,
    archive: Make,
) -> None:
    for path in [path for path in mirror.files if path.startswith("dists/trixie/main/binary-amd64/")]:
        spoiled = spoil(mirror.files.pop(path))
        if spoiled is not None:
            mirror.files[path] = spoiled
    with pytest.raises(kind, match=says):
        archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
    with serve(main_files) as good:
        universes, _ = archive(mirror.url, good.url).universes("trixie", updates=False, architectures=["amd64"])
    assert universes["amd64"].versions("a")


def test_a_signed_bomb(key: Tsk, archive: Make) -> None:
    bomb, whole = lzma.compress(bytes(8 << 20)), b"small"
    files = {"main/binary-amd64/Packages": whole, "main/binary-amd64/Packages.xz": bomb}
    served = {f"dists/trixie/{path}": data for path, data in files.items()}
    served["dists/trixie/InRelease"] = signed(release_text(files), key)
    with serve(served) as mirror, pytest.raises(IntegrityError, match="more or less"):
        archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])


def test_a_mirror_that_stalls_costs_its_patience_and_no_more(mirror: Mirror, archive: Make) -> None:
    mirror.stalled.add("dists/trixie/InRelease")
    begun = time.monotonic()
    with pytest.raises(FetchError):
        archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])
    assert time.monotonic() - begun < 50, "less than the server takes"


def test_no_connection_at_all(archive: Make) -> None:
    with pytest.raises(FetchError) as caught:
        archive("http://127.0.0.1:9/debian").universes("trixie", updates=False, architectures=["amd64"])
    assert caught.value.exit_code == 3


def test_no_mirror_is_known(archive: Make) -> None:
    with pytest.raises(FetchError, match="no mirror is known") as caught:
        archive().universes("trixie", updates=False, architectures=["amd64"])
    assert "KBUILD_DEBIAN_MIRROR" in (caught.value.hint or "")


def test_credentials_of_a_mirror_are_not_told(archive: Make) -> None:
    with pytest.raises(FetchError) as caught:
        archive("http://me:secret@127.0.0.1:9/debian").universes("trixie", updates=False, architectures=["amd64"])
    assert "secret" not in caught.value.diagnostics()


def test_a_release_without_updates_says_what_to_set(main_files: dict[str, bytes], archive: Make) -> None:
    with serve(main_files) as mirror:
        with pytest.raises(ResolveError, match="trixie-updates") as caught:
            archive(mirror.url).universes("trixie", updates=True, architectures=["amd64"])
        assert "os.updates = false" in (caught.value.hint or "")
        archive(mirror.url).universes("trixie", updates=False, architectures=["amd64"])


def test_an_unknown_release(mirror: Mirror, archive: Make) -> None:
    with pytest.raises(ResolveError, match="potato") as caught:
        archive(mirror.url).universes("potato", updates=True, architectures=["amd64"])
    assert "os.release" in (caught.value.hint or "")


def test_an_architecture_that_the_release_lacks(mirror: Mirror, archive: Make) -> None:
    with pytest.raises(ResolveError, match="no packages for riscv64, but for all, amd64, arm64"):
        archive(mirror.url).universes("trixie", updates=False, architectures=["riscv64"])


def test_an_archive_of_the_past(mirror: Mirror, archive: Make) -> None:
    later = datetime(2030, 1, 1, tzinfo=NOW.tzinfo)
    with pytest.raises(IntegrityError, match="valid until"):
        archive(mirror.url, now=later).universes("trixie", updates=True, architectures=["amd64"])
    _, indexes = archive(mirror.url, now=None).universes("trixie", updates=True, architectures=["amd64"])
    assert len(indexes) == 3


def test_a_mirror_on_this_machine(tmp_path: Path, main_files: dict[str, bytes], archive: Make) -> None:
    for path, data in main_files.items():
        file = tmp_path / "mirror" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    universes, _ = archive(f"file://{tmp_path}/mirror").universes("trixie", updates=False, architectures=["amd64"])
    assert universes["amd64"].versions("a")
