from __future__ import annotations

import gzip
import hashlib
import lzma
import tracemalloc

import pytest
from debian_archive import index, packages, stanza
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.lock.debian.packages import Packages, artifact, decompress
from builder.lock.debian.relations import Relation
from builder.lock.debian.release import Listed

REAL = """\
Package: base-files
Version: 13.8+deb13u7
Installed-Size: 346
Maintainer: Someone <someone@example.org>
Architecture: amd64
Replaces: base, dpkg (<= 1.15.0), miscutils
Provides: base, usr-is-merged
Pre-Depends: awk
Breaks: debian-security-support (<< 2019.04.25), initscripts (<< 2.88dsf-13.3), sendfile (<< 2.1b.20080616-5.2~)
Description: Debian base system miscellaneous files
Multi-Arch: foreign
Description-md5: 6ea2cb43b7a6e5e1f2ed5ba0a9b1a1ae
Essential: yes
Tag: role::app-data,
 suite::debian
Section: admin
Priority: required
Filename: pool/main/b/base-files/base-files_13.8+deb13u7_amd64.deb
Size: 73052
MD5sum: 8a6b0c2e1f9d3c4b5a6978877665544d
SHA256: 5e0c2a6f1a0b9c8d7e6f5a4b3c2d1e0f5e0c2a6f1a0b9c8d7e6f5a4b3c2d1e0f
"""


def listed(data: bytes) -> Listed:
    return Listed(hashlib.sha256(data).hexdigest(), len(data))


def one(text: str) -> Packages:
    return Packages(text.encode(), registry="debian", suite="trixie", architecture="amd64")


def test_a_real_stanza() -> None:
    (package,) = one(REAL).named("base-files")
    assert str(package) == "base-files 13.8+deb13u7"
    assert package.depends == ((Relation("awk"),),)
    assert package.provides == (Relation("base"), Relation("usr-is-merged"))
    assert [relation.name for relation in package.conflicts] == ["debian-security-support", "initscripts", "sendfile"]
    assert (package.essential, package.priority, package.multi_arch) == (True, "required", "foreign")
    assert (package.path, package.size) == ("pool/main/b/base-files/base-files_13.8+deb13u7_amd64.deb", 73052)


def test_as_an_artifact() -> None:
    (package,) = one(REAL).named("base-files")
    made = artifact(package, ["image", "toolchain"], ["linux/amd64"])
    assert made.model_dump(exclude_none=True) == {
        "kind": "deb",
        "name": "base-files",
        "version": "13.8+deb13u7",
        "architecture": "amd64",
        "registry": "debian",
        "path": "pool/main/b/base-files/base-files_13.8+deb13u7_amd64.deb",
        "sha256": "5e0c2a6f1a0b9c8d7e6f5a4b3c2d1e0f5e0c2a6f1a0b9c8d7e6f5a4b3c2d1e0f",
        "size": 73052,
        "roles": ("image", "toolchain"),
        "platforms": ("linux/amd64",),
    }


def test_pre_depends_come_before_depends() -> None:
    (package,) = packages("a 1; Depends: c; Pre-Depends: b").named("a")
    assert package.depends == ((Relation("b"),), (Relation("c"),))


def test_lookup_by_name_and_by_what_is_provided() -> None:
    found = packages(
        """
        mawk 1; Provides: awk
        gawk 2; Provides: gnu-awk (= 2), awk, posix-awk
        gawk 1; Provides: awk
        awkward 1
        """
    )
    assert [str(package) for package in found.providing("awk")] == ["mawk 1", "gawk 2", "gawk 1"]
    assert [str(package) for package in found.providing("posix-awk")] == ["gawk 2"]
    assert [str(package) for package in found.named("gawk")] == ["gawk 2", "gawk 1"]
    assert found.named("awk") == found.named("") == found.providing("nothing") == []
    assert found.names() >= {"mawk", "awk", "gnu-awk", "awkward"}


def test_a_folded_provides_field() -> None:
    (package,) = one(REAL.replace("base, usr", "base,\n a (= 1),\n\tc, usr")).providing("c")
    assert [relation.name for relation in package.provides] == ["base", "a", "c", "usr-is-merged"]


def test_other_architectures_do_not_count() -> None:
    found = packages("a 1; Architecture: arm64\nb 1; Architecture: all")
    assert found.named("a") == []
    assert [package.architecture for package in found.named("b")] == ["all"]


def test_an_empty_index() -> None:
    assert packages("").names() == set()


def test_only_what_is_looked_at_is_parsed() -> None:
    found = packages("good 1\nbad 1; Depends: ((((")
    assert found.named("good")
    with pytest.raises(IntegrityError, match="package bad"):
        found.named("bad")


# --- attacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Filename: pool/main/b/", "X-Filename: pool/main/b/", "no Filename"),
        ("Filename: pool/main/b/", "Filename: ../pool/main/b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool/../../etc/b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool/main/./b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool/main/.../b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: /pool/main/b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool//main/b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: http://example.org/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool\\main\\b/", "plain relative path"),
        ("Filename: pool/main/b/", "Filename: pool/main/b?/", "plain relative path"),
        ("_amd64.deb", "_amd64.tar", "plain relative path"),
        ("Size: 73052", "Size: -1", "not a number"),
        ("Size: 73052", "Size: 9999999999999999999", "not a number"),
        ("Size: 73052", "Size: \uff17\uff13", "not a number"),
        ("Size: 73052\n", "", "no Size"),
        ("SHA256: 5e", "SHA256: 5E", "not a hash"),
        ("SHA256: 5e", "SHA1: 5e", "no Sha256"),
        ("Version: 13.8", "Version: 13 8", "not a Debian version"),
        ("Version: 13.8+deb13u7\n", "Version:\n", "no Version"),
        ("Version: 13.8", "Version: 1\nVersion: 13.8", "twice"),
        ("Pre-Depends: awk", "Pre-Depends: awk (>= x", "not a relation"),
        ("Provides: base", "Provides: base | other", "alternatives"),
        ("Section: admin", "Section admin", "not a field"),
        ("Section: admin", "Section: \udcff", "decode"),
    ],
)
def test_malformed_stanzas(old: str, new: str, says: str) -> None:
    assert old in REAL
    data = REAL.replace(old, new).encode("utf-8", "surrogateescape")
    found = Packages(data, registry="debian", suite="trixie", architecture="amd64")
    with pytest.raises(IntegrityError, match=says) as caught:
        found.named("base-files")
    assert caught.value.where == "Packages of trixie for amd64"
    assert "base-files" in caught.value.message


def test_a_stanza_without_a_name() -> None:
    with pytest.raises(IntegrityError, match="stanza 2"):
        one(REAL + "\nVersion: 1\nPackage: hidden\n")


@pytest.mark.parametrize(("path", "pack"), [("Packages.xz", lzma.compress), ("Packages.gz", gzip.compress)])
def test_decompressing(path: str, pack: object) -> None:
    content = index("a 1\nb 2")
    data = pack(content)  # type: ignore[operator]
    assert decompress(data, path, listed(data), listed(content), where="here") == content
    assert decompress(data, path, listed(data), None, where="here") == content


@pytest.mark.parametrize(("path", "pack"), [("Packages.xz", lzma.compress), ("Packages.gz", gzip.compress)])
def test_decompressing_what_is_not_right(path: str, pack: object) -> None:
    content = index("a 1\nb 2")
    data = pack(content)  # type: ignore[operator]
    wrong = [
        (data + b"x", listed(data)),
        (data[:-1], listed(data)),
        (data, Listed("0" * 64, len(data))),
        (data, Listed(listed(data).sha256, len(data) + 1)),
        (b"garbage", listed(b"garbage")),
        (data[:-5], listed(data[:-5])),
        (data + b"trailing", listed(data + b"trailing")),
        (b"", listed(b"")),
    ]
    for bad, promise in wrong:
        with pytest.raises(IntegrityError):
            decompress(bad, path, promise, listed(content), where="here")
    for size in (0, len(content) - 1, len(content) + 1):
        with pytest.raises(IntegrityError):
            decompress(data, path, listed(data), Listed("0" * 64, size), where="here")


@pytest.mark.parametrize(("path", "pack"), [("Packages.xz", lzma.compress), ("Packages.gz", gzip.compress)])
def test_a_bomb_is_not_blown_up(path: str, pack: object) -> None:
    bomb = pack(bytes(64 << 20))  # type: ignore[operator]
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="more or less"):
            decompress(bomb, path, listed(bomb), Listed("0" * 64, 1000), where="here")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_asks_for_gigabytes_of_decoder() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    data = lzma.compress(b"x", format=lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(IntegrityError, match="decompressed"):
        decompress(data, "Packages.xz", listed(data), None, where="here")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_index_or_refused(data: bytes) -> None:
    for content in (data, stanza("a 1").encode() + data):
        try:
            found = Packages(content, registry="debian", suite="x", architecture="amd64")
            for name in found.names():
                found.named(name)
        except IntegrityError as error:
            assert error.where  # noqa: PT017
