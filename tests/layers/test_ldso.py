"""The linker's cache, byte for byte against the real ldconfig."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from disk import symlinks, write_out
from elves import AARCH64, X86_64, libc, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import file, folder, symlink

from builder.layers.elf import read_elf
from builder.layers.entry import Entry, Kind
from builder.layers.ldso import CACHE, Library, cache_bytes, compare_names, link_libraries, string_table
from builder.layers.rootfs import Root

EPOCH = 1_700_000_000
LIB = "usr/lib/x86_64-linux-gnu"
LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin")


def host_glibc() -> bytes | None:
    """The version of the host's glibc if it is Debian's, whose built-in folders are known."""
    if LDCONFIG is None:
        return None
    run = subprocess.run([LDCONFIG, "--version"], capture_output=True, check=False)
    match = re.match(rb"ldconfig \(Debian GLIBC ([^)]*)\) [0-9]", run.stdout)
    return match[1] if match and Path("/usr/lib/x86_64-linux-gnu").is_dir() else None


VERSION = host_glibc()
real = pytest.mark.skipif(VERSION is None, reason="the host's ldconfig is not Debian's for x86-64")


def base(version: bytes = b"2.41-12") -> list[Entry]:
    return [
        symlink("lib", "usr/lib"),
        file("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n\n"),
        file("etc/ld.so.conf.d/libc.conf", b"# libc default configuration\n/usr/local/lib\n"),
        file("etc/ld.so.conf.d/x86.conf", b"/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n"),
        file(f"{LIB}/libc.so.6", libc(version)),
    ]


def ours(entries: list[Entry]) -> tuple[bytes, dict[str, str]]:
    root = Root(entries, EPOCH)
    link_libraries(root)
    links = {entry.path: entry.target for entry in root.entries() if entry.kind is Kind.SYMLINK}
    data = root.read(CACHE)
    assert data is not None
    return data, links


def theirs(entries: list[Entry]) -> tuple[bytes, dict[str, str]]:
    assert LDCONFIG is not None
    with tempfile.TemporaryDirectory() as scratch:
        root = write_out(entries, Path(scratch))
        subprocess.run([LDCONFIG, "-r", root], check=True, capture_output=True)
        return (root / CACHE).read_bytes(), symlinks(root)


CASES = {
    "nothing else": [],
    "versions of one library": [
        file(f"{LIB}/libf.so.1.2", shared("libf.so.1")),
        file(f"{LIB}/libf.so.1.10", shared("libf.so.1")),
        file(f"{LIB}/libf.so.1.9.z", shared("libf.so.1")),
    ],
    "development links": [
        file(f"{LIB}/libf.so.1.2", shared("libf.so.1")),
        symlink(f"{LIB}/libf.so", "libf.so.1.2"),
        file(f"{LIB}/libreal.so.9", shared("libg.so.2")),
        symlink(f"{LIB}/libg.so", "libreal.so.9"),
        symlink(f"{LIB}/libother.so.1", "libreal.so.9"),
    ],
    "no SONAME": [file(f"{LIB}/libplain.so", shared()), file(f"{LIB}/liborder.so.3", shared())],
    "links by alternatives": [
        file("opt/blas/libblas.so.3", shared("libblas.so.3")),
        symlink(f"{LIB}/libblas.so.3", "/opt/blas/libblas.so.3"),
    ],
    "a link that is in the way": [
        file(f"{LIB}/libf.so.1.2", shared("libf.so.1")),
        file(f"{LIB}/libf.so.1.1", shared("libf.so.1")),
        symlink(f"{LIB}/libf.so.1", "libf.so.1.1"),
    ],
    "what is no library": [
        file(f"{LIB}/libscript.so", b"/* GNU ld script */\nGROUP ( libc.so.6 )\n" * 10),
        file(f"{LIB}/libcut.so.1", shared("libcut.so.1")[:120]),
        file(f"{LIB}/libexe.so.1", shared("libexe.so.1", kind=2)),
        file(f"{LIB}/libarm.so.1", shared("libarm.so.1", machine=AARCH64)),
        file(f"{LIB}/notlib.so.1", shared("notlib.so.1")),
        file(f"{LIB}/libx.so.1-gdb.py", b"import gdb\n" * 100),
        file(f"{LIB}/libstatic.a", b"!<arch>\n"),
        file(f"{LIB}/libempty.so.1", b""),
        symlink(f"{LIB}/libdangling.so", "nowhere"),
        folder(f"{LIB}/libfolder.so.1"),
    ],
    "several folders": [
        file("etc/ld.so.conf.d/demo.conf", b"/opt/one\t# first\n/opt/two/\n/nowhere\n\nrelative\n"),
        file("opt/one/libf.so.1", shared("libf.so.1")),
        file("opt/two/libf.so.1", shared("libf.so.1")),
        file("usr/local/lib/libf.so.1", shared("libf.so.1")),
        file("usr/lib/libf.so.1", shared("libf.so.1")),
        file(f"{LIB}/libf.so.1", shared("libf.so.1")),
        file(f"{LIB}/private/libp.so.1", shared("libp.so.1")),
    ],
    "hwcaps": [
        file(f"{LIB}/libf.so.1.2", shared("libf.so.1")),
        *(
            file(f"{LIB}/glibc-hwcaps/x86-64-v{level}/libf.so.1.2", shared("libf.so.1", level=level - 1))
            for level in (4, 2, 3)
        ),
        file("usr/local/lib/glibc-hwcaps/x86-64-v3/libh.so.1", shared("libh.so.1")),
        folder(f"{LIB}/glibc-hwcaps/empty"),
    ],
    "suffixes that are shared": [
        file(f"{LIB}/{name}", shared(name)) for name in ("libba.so.1", "liba.so.1", "libcliba.so.1", "libz.so")
    ],
    "the dynamic linker": [
        file(f"{LIB}/ld-linux-x86-64.so.2", shared("ld-linux-x86-64.so.2")),
        symlink("lib64", "usr/lib64"),
        symlink("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    ],
}


@real
@pytest.mark.parametrize("name", sorted(CASES))
def test_equals_the_real_one(name: str) -> None:
    assert VERSION is not None
    entries = base(VERSION) + CASES[name]
    data, links = ours(entries)
    expected, made = theirs(entries)
    assert data == expected
    assert links == made


stems = st.text("ab1.", min_size=1, max_size=4)
sonames = st.builds("lib{}.so{}".format, stems, st.sampled_from(["", ".1", ".2", ".10", ".1.2"]))


@real
@settings(max_examples=40, deadline=None)
@given(
    libraries=st.dictionaries(
        st.tuples(st.sampled_from([LIB, "usr/lib", "usr/local/lib", f"{LIB}/glibc-hwcaps/x86-64-v2"]), sonames),
        sonames | st.just(""),
        max_size=12,
    )
)
def test_equals_the_real_one_whatever_the_names(libraries: dict[tuple[str, str], str]) -> None:
    assert VERSION is not None
    entries = base(VERSION) + [file(f"{where}/{name}", shared(soname)) for (where, name), soname in libraries.items()]
    assert ours(entries)[0] == theirs(entries)[0]


def test_the_order_of_the_entries_does_not_matter() -> None:
    entries = base() + CASES["hwcaps"] + CASES["several folders"]
    assert ours(entries) == ours(entries[::-1])


def test_nothing_without_glibc() -> None:
    root = Root([file(f"{LIB}/libf.so.1", shared("libf.so.1"))], EPOCH)
    link_libraries(root)
    assert root.at(CACHE) is None


def test_a_configuration_where_libc_bin_is_missing() -> None:
    root = Root([file(f"{LIB}/libc.so.6", libc())], EPOCH)
    link_libraries(root)
    assert root.read("etc/ld.so.conf") == b"include /etc/ld.so.conf.d/*.conf\n\n"
    assert root.is_folder("etc/ld.so.conf.d")
    data = root.read(CACHE)
    assert data is not None
    assert data.endswith(b"ldconfig (Debian GLIBC 2.41-12) stable release version 2.41")
    assert b"\0/usr/lib/x86_64-linux-gnu/libc.so.6\0" in data  # without the root's link there is no /lib


def test_arm64_libraries_have_their_own_flags() -> None:
    lib = "usr/lib/aarch64-linux-gnu"
    data, _ = ours(
        [
            symlink("lib", "usr/lib"),
            file(f"{lib}/libc.so.6", libc(machine=AARCH64)),
            file(f"{lib}/libx86.so.1", shared("libx86.so.1", machine=X86_64)),
        ]
    )
    assert data[20:24] == b"\1\0\0\0"
    assert data[48:52] == b"\3\x0a\0\0"


def test_includes_that_never_end() -> None:
    entries = [*base(), file("etc/ld.so.conf.d/loop.conf", b"include /etc/ld.so.conf\ninclude *.conf\n")]
    data, _ = ours(entries)
    assert b"libc.so.6" in data


def test_a_soname_that_is_a_path_makes_no_link() -> None:
    root = Root([*base(), file(f"{LIB}/libevil.so.1", shared("../../../etc/passwd"))], EPOCH)
    before = {entry.path for entry in root.entries()}
    link_libraries(root)
    assert {entry.path for entry in root.entries()} - before == {CACHE}


@given(st.binary(max_size=300))
def test_elf_garbage_is_no_library(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for prefix in (b"", b"\x7fELF\2\1\1", shared("libf.so.1")[:64], shared("libf.so.1", ["libc.so.6"])[:100]):
        read_elf(io.BytesIO(prefix + data))


@given(data=st.data())
def test_damaged_elf_files_end_in_an_answer(data: st.DataObject) -> None:
    raw = bytearray(shared("libf.so.1", ["libc.so.6"], runpath="$ORIGIN", level=2, interpreter="/lib64/ld.so"))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_elf(io.BytesIO(raw))


def test_elf_facts() -> None:
    raw = shared("libf.so.1", ["liba.so", "libb.so"], runpath="$ORIGIN:/x", level=2, interpreter="/lib64/ld.so")
    elf = read_elf(io.BytesIO(raw))
    assert elf is not None
    assert (elf.machine, elf.bits, elf.type, elf.soname) == (62, 64, 3, "libf.so.1")
    assert (elf.needed, elf.search) == (("liba.so", "libb.so"), ("$ORIGIN", "/x"))
    assert (elf.interpreter, elf.isa_level) == ("/lib64/ld.so", 2)


@given(st.lists(st.text("ab.12", max_size=6), min_size=3, max_size=3))
def test_names_are_ordered(names: list[str]) -> None:
    one, two, three = names
    assert (compare_names(one, two) > 0) == (compare_names(two, one) < 0)
    if compare_names(one, two) <= 0 and compare_names(two, three) <= 0:
        assert compare_names(one, three) <= 0


@given(st.sets(st.text("abé/.", min_size=1, max_size=8), min_size=1, max_size=12))
def test_every_string_is_where_the_table_says(texts: set[str]) -> None:
    table, offsets = string_table(texts)
    assert offsets.keys() == texts
    for text, offset in offsets.items():
        assert table[offset : table.index(b"\0", offset)] == text.encode()
    assert len(table) <= sum(len(text.encode()) + 1 for text in texts)


def test_an_empty_cache() -> None:
    data = cache_bytes([], b"ldconfig")
    assert data[20:24] == bytes(4)
    one = cache_bytes([Library("libf.so.1", "/lib/libf.so.1", 0x303)], b"ldconfig")
    assert one.count(b"libf.so.1") == 1
