from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import LockError
from builder.machine import Machine, from_environment
from builder.store.apt import apt_bases, deb822_uris, one_line_uris
from builder.store.registries import debian_bases, join, snapshot_moments, sources
from builder.store.transfer import Wanted

MACHINE = Machine(store=Path("/nowhere"), jobs=1, offline=False)

# The examples of sources.list(5)
ONE_LINE = """\
deb http://deb.example.org/debian bookworm main contrib non-free non-free-firmware
deb http://security.example.org/debian-security bookworm-security main
deb [ arch=amd64,armel signed-by=/usr/share/keyrings/x.gpg ] https://m.example.org/debian/ bookworm main # why not
# deb http://off.example.org/debian bookworm main
deb-src http://src.example.org/debian bookworm main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb file:/home/apt/debian ./
deb
deb [ broken http://broken.example.org/debian bookworm
  deb   http://spaces.example.org/debian   stable main
"""

DEB822 = """\
# a comment first
Types: deb deb-src
URIs: http://deb.example.org/debian
 https://other.example.org/debian
# a comment inside
Suites: bookworm bookworm-updates
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm

types: deb
uris: http://security.example.org/debian-security
Suites: bookworm-security
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
\t
Types: deb-src
URIs: http://src.example.org/debian
Suites: bookworm
"""


def test_one_line_format() -> None:
    assert list(one_line_uris(ONE_LINE)) == [
        "http://deb.example.org/debian",
        "http://security.example.org/debian-security",
        "https://m.example.org/debian/",
        "cdrom:[Debian",
        "file:/home/apt/debian",
        "http://spaces.example.org/debian",
    ]


def test_deb822_format() -> None:
    assert list(deb822_uris(DEB822)) == [
        "http://deb.example.org/debian",
        "https://other.example.org/debian",
        "http://security.example.org/debian-security",
    ]


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    parts = tmp_path / "apt" / "sources.list.d"
    parts.mkdir(parents=True)
    (tmp_path / "apt" / "sources.list").write_text(ONE_LINE)
    (parts / "debian.sources").write_text(DEB822)
    (parts / "other.list").write_text("deb https://packages.example.org/apt stable main\n")
    (parts / "ignored.save").write_text("deb http://saved.example.org/debian stable main\n")
    (parts / "tor.list").write_text("deb tor+http://x.example.org/debian stable main\n")
    (parts / "bytes.list").write_bytes(b"\xff\xfe deb \xff\n")
    return tmp_path / "apt"


def test_apt_sources_are_taken_by_their_last_segment(apt: Path) -> None:
    assert apt_bases("debian", apt) == (
        "http://deb.example.org/debian",
        "https://m.example.org/debian",
        "file:/home/apt/debian",
        "http://spaces.example.org/debian",
        "https://other.example.org/debian",
    )
    assert apt_bases("debian-security", apt) == ("http://security.example.org/debian-security",)
    assert apt_bases("debian", apt / "none") == ()


def test_without_a_security_archive_the_main_ones_sibling_is_asked(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://deb.example.org/debian trixie main\n")
    machine = from_environment({"HOME": "/home/me"})
    bases = debian_bases("debian-security", machine, "2026-11-20T23:11:12Z", apt=tmp_path)
    assert bases[0] == "http://deb.example.org/debian-security"
    assert all("snapshot" in base for base in bases[1:])


def test_bases_come_in_order_each_once(apt: Path) -> None:
    machine = Machine(Path("/n"), 1, False, debian_mirror="https://other.example.org/debian/")
    bases = debian_bases("debian", machine, "2026-11-20T23:11:12Z", apt=apt)
    assert bases[:2] == ("https://other.example.org/debian", "http://deb.example.org/debian")
    assert len(bases) == 7
    assert bases[-2:] == (
        "http://snapshot.debian.org/archive/debian/20261120T231112Z",
        "http://snapshot.debian.org/archive/debian/20261121T231112Z",
    )
    assert debian_bases("debian-security", machine, None, apt=apt) == ("http://security.example.org/debian-security",)
    assert debian_bases("debian-security", machine, "2026-02-28T23:00:00Z", apt=apt)[-1].endswith("/20260301T230000Z")


@pytest.mark.parametrize("date", ["", "2026-11-20", "2026-11-20T23:11:12", "../../x", "2026-13-01T00:00:00Z"])
def test_a_date_that_is_none(date: str) -> None:
    with pytest.raises(LockError, match="date"):
        snapshot_moments(date)


@pytest.mark.parametrize(
    ("base", "path", "whole"),
    [
        (
            "http://m.example.org/debian",
            "pool/main/g/gcc/libstdc++6_14.2.0-19_amd64.deb",
            "http://m.example.org/debian/pool/main/g/gcc/libstdc%2B%2B6_14.2.0-19_amd64.deb",
        ),
        ("http://m.example.org/debian", "pool/a_1~rc1_all.deb", "http://m.example.org/debian/pool/a_1~rc1_all.deb"),
        ("http://m.example.org/debian", "pool/a%3a1.deb", "http://m.example.org/debian/pool/a%253a1.deb"),
        ("file:/srv/debian", "pool/a+b.deb", "file:/srv/debian/pool/a%2Bb.deb"),
        ("/srv/debian", "pool/a+b.deb", "/srv/debian/pool/a+b.deb"),
    ],
)
def test_joining(base: str, path: str, whole: str) -> None:
    assert join(base, path) == whole


def test_each_registry_has_its_sources(apt: Path) -> None:
    def item(registry: str, path: str, letter: str) -> Wanted:
        return Wanted("x", "1", letter * 64, 1, registry, path)  # type: ignore[arg-type]

    got = sources(
        [
            item("debian", "pool/a.deb", "a"),
            item("debian-security", "pool/b.deb", "b"),
            item("url", "https://example.org/weights.bin", "c"),
            item("local", "weights.bin", "d"),
        ],
        MACHINE,
        snapshots={"debian": "2026-11-20T23:11:12Z"},
        environ={},
        apt=apt,
    )
    assert got["a" * 64][0] == "http://deb.example.org/debian/pool/a.deb"
    assert got["a" * 64][-1] == "http://snapshot.debian.org/archive/debian/20261121T231112Z/pool/a.deb"
    assert got["b" * 64] == ("http://security.example.org/debian-security/pool/b.deb",)
    assert got["c" * 64] == ("https://example.org/weights.bin",)
    assert "d" * 64 not in got
