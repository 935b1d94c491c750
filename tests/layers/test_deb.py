from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import debs
import pytest
from debs import COMPRESS, CONTROL, END, ar, artifact, deb, folder, hard, header, link, long, member, pad, pax
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers import spool
from builder.layers.deb import read_deb
from builder.layers.entry import Entry, Kind

PLAIN = folder(".") + folder("usr") + member("./usr/file", b"content", mode=0o755) + END


def content(entry: Entry) -> bytes:
    assert entry.source is not None
    with entry.source() as file:
        return file.read()


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
@pytest.mark.parametrize("control_suffix", sorted(set(COMPRESS) - {".bz2"}))
def test_reads_every_compression(tmp_path: Path, suffix: str, control_suffix: str) -> None:
    package = debs.read(tmp_path, deb(PLAIN, suffix=suffix, control_suffix=control_suffix, files={"md5sums": b"x"}))
    assert (package.name, package.version, package.architecture) == ("demo", "1:2.0-3", "amd64")
    assert [(entry.path, entry.kind, entry.mode) for entry in package.entries] == [
        ("usr", Kind.DIRECTORY, 0o755),
        ("usr/file", Kind.FILE, 0o755),
    ]
    assert content(package.entries[1]) == b"content"
    assert package.control["Description"] == "a demonstration\n of nothing\n .\n at all"
    assert dict(package.files) == {"md5sums": b"x"}


def test_scripts_and_configuration_files(tmp_path: Path) -> None:
    files = {"postinst": b"#!/bin/sh\n", "conffiles": b"/etc/demo.conf\nremove-on-upgrade /etc/old\n", "shlibs": b""}
    package = debs.read(tmp_path, deb(PLAIN, files=files))
    assert package.scripts == {"postinst": b"#!/bin/sh\n"}
    assert package.conffiles == ("/etc/demo.conf",)


def test_links_long_names_numbers_and_capabilities(tmp_path: Path) -> None:
    name = "./" + "/".join(["d" * 90] * 3) + "/file"
    other = "x" * 180
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    large = header("./huge", uid=0, gid=0, mtime=0)
    binary = b"\x80" + (1_700_000_000).to_bytes(11, "big")
    large = large[:136] + binary + large[148:]
    large = large[:148] + b"%06o\0 " % (sum(large[:148]) + 256 + sum(large[156:])) + large[156:]
    data = (
        long(name.encode())
        + member(name[:100], b"long")
        + long(other.encode(), b"K")
        + link("sym", other[:100])
        + member("./origin", b"shared")
        + hard("again", "./origin")
        + pax(path=b"./caf\xc3\xa9", SCHILY__xattr__security__capability=capability, mtime=b"1600000001.75", uid=b"7")
        + member("./cafe", b"pax", magic=b"ustar\00000")
        + member("posix", b"", magic=b"ustar\00000", prefix=b"./deep")
        + large
        + END
    )
    entries = {entry.path: entry for entry in debs.read(tmp_path, deb(data)).entries}
    assert content(entries[name[2:]]) == b"long"
    assert entries["sym"].target == other
    assert (entries["again"].kind, entries["again"].target) == (Kind.HARDLINK, "origin")
    assert entries["café"].xattrs == (("security.capability", capability),)
    assert (entries["café"].mtime, entries["café"].uid) == (1_600_000_001, 7)
    assert "deep/posix" in entries
    assert entries["huge"].mtime == 1_700_000_000


HOSTILE = {
    "a character device": header("./dev", flag=b"3"),
    "a block device": header("./dev", flag=b"4"),
    "a FIFO": header("./pipe", flag=b"6"),
    "a contiguous file": header("./odd", flag=b"7"),
    "a sparse file": header("./holes", flag=b"S"),
    "a global PAX header": header("./global", flag=b"g"),
    "an unknown type": header("./what", flag=b"Z"),
    "a parent": member("./../outside", b"x"),
    "a parent inside": member("./usr/../../outside", b"x"),
    "an absolute path": member("/etc/passwd", b"x"),
    "an empty part": member("./usr//file", b"x"),
    "no path": member("./", b"x"),
    "a dot inside": member("./usr/./file", b"x"),
    "a file with a slash at its end": member("./file/", b"x"),
    "a name that is not UTF-8": member(b"./\xff", b"x"),
    "a newline": member("./two\nlines", b"x"),
    "a control character": member("./bell\a", b"x"),
    "a part that is too long": long(b"./" + b"x" * 256) + member("./x", b"x"),
    "a path that is too long": long(b"./" + b"x/" * 2500 + b"x") + member("./x", b"x"),
    "a duplicate": member("./file", b"1") + member("./file", b"1"),
    "a duplicate under another spelling": member("./file", b"1") + member("file", b"1"),
    "a duplicate directory": folder("usr") + folder("usr"),
    "a file that is also a directory": member("./x", b"1") + folder("x"),
    "a write through a symlink": link("lib", "/etc") + member("./lib/passwd", b"x"),
    "a write through a later symlink": member("./lib/passwd", b"x") + link("lib", "/etc"),
    "a write below a symlink and a folder": link("lib", "/etc") + member("./lib/deep/passwd", b"x"),
    "a write below a file": member("./lib", b"") + member("./lib/passwd", b"x"),
    "a hard link out of the tree": hard("shadow", "/etc/shadow"),
    "a hard link through a parent": hard("shadow", "../etc/shadow"),
    "a hard link to nothing": hard("again", "./missing"),
    "a hard link to a later file": hard("again", "./file") + member("./file", b"x"),
    "a hard link to a symlink": link("sym", "/etc/shadow") + hard("again", "./sym"),
    "a hard link to a folder": folder("usr") + hard("again", "./usr"),
    "a hard link to itself": hard("again", "./again"),
    "a hard link with content": header("./file") + header("./again", flag=b"1", link="./file", size=512) + bytes(512),
    "a symlink without a target": link("sym", ""),
    "a symlink with a newline": link("sym", "a\nb"),
    "a folder with content": header("./usr/", flag=b"5", size=512) + bytes(512),
    "a wrong checksum": header("./file", checksum=1),
    "a number that is none": header("./file").replace(b"0000644\0", b"00006x4\0"),
    "a negative number": header("./file").replace(b"00000000000\0", b"\xff" * 12, 1),
    "a file beyond the end": header("./file", size=1 << 30),
    "a size beyond all": header("./file", size=0o77777777777),
    "a huge extension": header("././@LongLink", flag=b"L", size=1 << 20) + bytes(1 << 20),
    "huge PAX records": header("x", flag=b"x", size=1 << 17) + bytes(1 << 17),
    "a PAX record for sparse files": pax(GNU__sparse__major=b"1") + member("./file", b"x"),
    "a PAX record for SELinux": pax(SCHILY__xattr__security__selinux=b"x") + member("./file", b"x"),
    "a malformed PAX record": member("x", b"99 path=x\n", flag=b"x") + member("./file", b"x"),
    "a PAX record that is too short": member("x", b"3 path=x\n", flag=b"x") + member("./file", b"x"),
    "a PAX path with NUL": pax(path=b"./a\0b") + member("./file", b"x"),
    "a PAX path that is absolute": pax(path=b"/etc/passwd") + member("./file", b"x"),
    "a PAX size that lies": pax(size=b"99999999") + member("./file", b"x"),
    "a PAX size that is none": pax(size=b"-1") + member("./file", b"x"),
    "two names": long(b"./one") + long(b"./two") + member("./file", b"x"),
    "capabilities on a symlink": pax(SCHILY__xattr__security__capability=b"x") + link("sym", "x"),
    "an extension without an entry": long(b"./one"),
    "a root that is a file": member(".", b"x"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        debs.read(tmp_path, deb(folder(".") + HOSTILE[name] + END))
    assert caught.value.exit_code == 4
    assert "demo.deb" in caught.value.diagnostics()


def test_a_control_file_may_not_be_a_link(tmp_path: Path) -> None:
    control = member("./control", debs.stanza(CONTROL)) + link("postinst", "/etc/shadow") + END
    data = ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", PLAIN))
    with pytest.raises(IntegrityError, match="not a plain control file"):
        debs.read(tmp_path, data)


GOOD = deb(PLAIN)
MEMBERS = [("debian-binary", b"2.0\n"), ("control.tar", member("./control", debs.stanza(CONTROL)) + END)]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "magic"),
        (b"PK\3\4" + GOOD, "magic"),
        (b"!<arch>\n", "none"),
        (GOOD + b"\n", "trailing"),
        (GOOD + ar(("data.tar", PLAIN))[8:], "more than three"),
        (ar(*MEMBERS), "not debian-binary, control.tar and data.tar"),
        (ar(*MEMBERS[::-1], ("data.tar", PLAIN)), "not debian-binary, control.tar and data.tar"),
        (ar(MEMBERS[0], ("data.tar", PLAIN), MEMBERS[1]), "not debian-binary, control.tar and data.tar"),
        (ar(*MEMBERS, MEMBERS[1]), "two members"),
        (ar(*MEMBERS, ("data.tar.lzma", PLAIN)), "compression .lzma"),
        (ar(*MEMBERS, ("data.zip", PLAIN)), "unknown member"),
        (ar(("debian-binary", b"3.0\n"), MEMBERS[1], ("data.tar", PLAIN)), "only 2.x"),
        (ar(*MEMBERS, ("data.tar.xz", b"this is not xz")), "damaged"),
        (ar(*MEMBERS, ("data.tar.gz", b"this is not gzip")), "damaged"),
        (ar(*MEMBERS, ("data.tar.zst", b"this is not zstd")), "damaged"),
        (ar(*MEMBERS, ("data.tar.bz2", b"this is not bzip2")), "damaged"),
        (ar(*MEMBERS, ("data.tar", PLAIN[:-1024])), "truncated"),
        (ar(*MEMBERS, ("data.tar", PLAIN[:-512])), "end mark"),
        (ar(*MEMBERS, ("data.tar", PLAIN + b"more")), "bytes follow"),
        (ar(*MEMBERS, ("data.tar", b"")), "truncated"),
        (GOOD.replace(b"`\n", b"!\n", 1), "ar header"),
        (GOOD[:8] + GOOD[8:68].replace(b"4         `", b"-4        `") + GOOD[68:], "ar header"),
    ],
)
def test_refuses_containers(tmp_path: Path, data: bytes, match: str) -> None:
    with pytest.raises(IntegrityError, match=match):
        debs.read(tmp_path, data)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".bz2"])
def test_refuses_what_is_cut_off_or_followed_by_more(tmp_path: Path, suffix: str) -> None:
    whole = COMPRESS[suffix](PLAIN)
    for data in (whole[:-1], whole[: len(whole) // 2], whole + b"x", whole + whole, whole + bytes(4096)):
        with pytest.raises(IntegrityError):
            debs.read(tmp_path, ar(*MEMBERS, (f"data.tar{suffix}", data)))


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_refuses_every_truncation(tmp_path: Path, cut: int) -> None:
    with pytest.raises(IntegrityError):
        debs.read(tmp_path, GOOD[:cut])


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".bz2"])
def test_refuses_bombs(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_RATIO_FREE", 1 << 20)
    bomb = member("./zeros", bytes(96 << 20)) + END
    with pytest.raises(IntegrityError, match="bomb"):
        debs.read(tmp_path, ar(*MEMBERS, (f"data.tar{suffix}", COMPRESS[suffix](bomb))))


def test_refuses_a_control_archive_that_grows_without_end(tmp_path: Path) -> None:
    control = COMPRESS[".xz"](member("./control", debs.stanza(CONTROL)) + member("./big", bytes(65 << 20)) + END)
    with pytest.raises(IntegrityError, match="bomb"):
        debs.read(tmp_path, ar(MEMBERS[0], ("control.tar.xz", control), ("data.tar", PLAIN)))


def test_refuses_dictionaries_that_eat_the_memory(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 29}]
    try:
        huge = lzma.compress(PLAIN, filters=filters)
    except MemoryError:
        pytest.skip("too little memory to make the attack")
    with pytest.raises(IntegrityError, match="damaged"):
        debs.read(tmp_path, ar(*MEMBERS, ("data.tar.xz", huge)))


@pytest.mark.parametrize("field", ["Package", "Version", "Architecture"])
def test_refuses_another_package_than_the_locked(tmp_path: Path, field: str) -> None:
    with pytest.raises(IntegrityError, match=f"the lock says {field}"):
        debs.read(tmp_path, deb(PLAIN, control=CONTROL | {field: "other"}), CONTROL)


@pytest.mark.parametrize(
    "control",
    [
        b"",
        b"Package demo\n",
        b" continued\n",
        b"Package: demo\npackage: demo\n",
        b"Package: demo\n\nPackage: other\n",
        b"Package: \xff\n",
        b"#: comment\n",
    ],
)
def test_refuses_malformed_control_files(tmp_path: Path, control: bytes) -> None:
    data = ar(MEMBERS[0], ("control.tar", member("./control", control) + END), ("data.tar", PLAIN))
    with pytest.raises(IntegrityError):
        debs.read(tmp_path, data)


def test_a_blob_that_cannot_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault):
        read_deb(tmp_path / "missing.deb", artifact(b""))


def test_a_full_disk_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
    with pytest.raises(EnvironmentFault, match="No space left"):
        debs.read(tmp_path, deb(member("./large", bytes(5 << 20)) + END, suffix=""))


def test_large_packages_are_read_from_a_file_that_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(spool.tempfile, "tempdir", str(scratch))
    large = bytes(range(256)) * (6 << 12)
    package = debs.read(tmp_path, deb(member("./large", large) + member("./small", b"small") + END, suffix=".gz"))
    assert list(scratch.iterdir()) == []
    assert [content(entry) for entry in package.entries] == [large, b"small"]
    assert package.entries[0].source is not None
    with package.entries[0].source() as one, package.entries[0].source() as two:
        assert (one.read(5), two.read(3), one.read(2)) == (large[:5], large[:3], large[5:7])
        assert two.seek(-4, io.SEEK_END) == len(large) - 4
        assert two.read() == large[-4:]
        assert two.read(1) == b""
        buffer = bytearray(10)
        one.seek(250)
        assert one.readinto(buffer) == 10  # type: ignore[attr-defined]
        assert bytes(buffer) == large[250:260]


paths = st.lists(st.text("abc-.é", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")), max_size=3)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    files=st.dictionaries(paths.filter(bool).map("/".join), st.binary(max_size=2000), max_size=12),
    dialect=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]),
    suffix=st.sampled_from(sorted(COMPRESS)),
)
def test_agrees_with_tarfile(tmp_path: Path, files: dict[str, bytes], dialect: int, suffix: str) -> None:
    files = {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=dialect) as archive:
        for path, data in files.items():
            info = tarfile.TarInfo("./" + path)
            info.size, info.mode, info.mtime = len(data), 0o640, 1_500_000_000
            archive.addfile(info, io.BytesIO(data))
    package = debs.read(tmp_path, deb(out.getvalue(), suffix=suffix))
    assert {entry.path: content(entry) for entry in package.entries} == files
    assert {(entry.mode, entry.mtime) for entry in package.entries} <= {(0o640, 1_500_000_000)}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_never_escapes_as_a_foreign_error(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["", ".gz", ".xz", ".zst"]))
    raw = bytearray(deb(PLAIN + pad(b""), suffix=suffix, control_suffix=suffix, files={"conffiles": b"/etc/x\n"}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(IntegrityError):
        debs.read(tmp_path, bytes(raw))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="not installed: dpkg-deb")
@pytest.mark.parametrize("compression", ["gzip", "xz", "none"])
def test_reads_what_dpkg_deb_builds(tmp_path: Path, compression: str) -> None:
    source = tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_bytes(debs.stanza(CONTROL))
    (source / "usr/share/demo").mkdir(parents=True)
    (source / "usr/share/demo/text").write_text("text")
    (source / "usr/share/demo/again").hardlink_to(source / "usr/share/demo/text")
    (source / "usr/share/demo/link").symlink_to("text")
    path = tmp_path / "built.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", f"-Z{compression}", "-b", source, path], check=True)
    package = read_deb(path, artifact(path.read_bytes()))
    found = {entry.path.rpartition("/")[2]: entry.kind for entry in package.entries if entry.kind is not Kind.DIRECTORY}
    assert sorted(found) == ["again", "link", "text"]
    assert found["link"] is Kind.SYMLINK
    assert {found["again"], found["text"]} == {Kind.FILE, Kind.HARDLINK}
