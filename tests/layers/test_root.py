"""Packages laid over each other, and the root that comes out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from debs import CONTROL, END, deb, folder, hard, member, package, read
from elves import AARCH64, libc, shared
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError, SpecError
from builder.layers.deb import Deb
from builder.layers.entry import Entry, Kind
from builder.layers.needed import Missing, missing_libraries
from builder.layers.order import sort_key
from builder.layers.root import root_entries
from builder.layers.rootfs import Root
from builder.layers.usrmerge import Links, follow

EPOCH = 1_700_000_000


def tree(*debs: Deb, **more) -> dict[str, Entry]:
    return {entry.path: entry for entry in root_entries(debs, epoch=EPOCH, **more)}


def text(entries: dict[str, Entry], path: str) -> bytes:
    source = entries[path].source
    assert source is not None
    with source() as file:
        return file.read()


def test_merged_usr(tmp_path: Path) -> None:
    found = tree(
        package(
            tmp_path,
            "old",
            {
                "bin/": b"",
                "bin/tool": b"#!",
                "sbin/daemon": b"#!",
                "lib/x86_64-linux-gnu/libx.so.1": b"x",
                "lib64/ld-linux.so.2": "/lib/x86_64-linux-gnu/ld.so",
                "usr/lib/x86_64-linux-gnu/": b"",
                "usr/bin/other": b"#!",
            },
        )
    )
    links = {path: entry.target for path, entry in found.items() if entry.kind is Kind.SYMLINK}
    assert links == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "sbin": "usr/sbin",
        "usr/lib64/ld-linux.so.2": "/lib/x86_64-linux-gnu/ld.so",
    }
    for path in ("usr/bin/tool", "usr/bin/other", "usr/sbin/daemon", "usr/lib/x86_64-linux-gnu/libx.so.1"):
        assert found[path].kind is Kind.FILE
    assert not any(path.startswith(("bin/", "lib/", "lib64/", "sbin/")) for path in found)


def test_no_lib64_where_nothing_is_in_it(tmp_path: Path) -> None:
    found = tree(package(tmp_path, "new", {"usr/bin/tool": b"#!"}))
    assert "lib64" not in found
    assert found["lib"].target == "usr/lib"


def test_a_package_may_ship_the_links_and_directories_below_both_names(tmp_path: Path) -> None:
    base = package(tmp_path, "base-files", {"bin": "usr/bin", "usr/bin/": b"", "usr/lib/": b""})
    both = package(tmp_path, "both", {"lib/systemd/one": b"1", "usr/lib/systemd/two": b"2"})
    assert {"usr/lib/systemd/one", "usr/lib/systemd/two"} <= tree(base, both).keys()


def test_relative_links_across_the_boundary_keep_their_meaning(tmp_path: Path) -> None:
    found = tree(
        package(
            tmp_path,
            "links",
            {
                "lib/x/a": "../../usr/share/data",  # meant /usr/share/data; from /usr/lib/x it would be /usr/usr/...
                "lib/x/b": "c",
                "lib/x/up": "../y",
                "bin/cross": "../lib/x/b",
                "usr/share/data": b"data",
            },
        )
    )
    assert found["usr/lib/x/a"].target == "/usr/share/data"
    assert found["usr/lib/x/b"].target == "c"
    assert found["usr/lib/x/up"].target == "../y"
    root = Root(found.values(), EPOCH)
    assert root.resolve("usr/lib/x/a") == "usr/share/data"
    assert root.resolve("usr/bin/cross") == "usr/lib/x/c"


def test_hard_links_move_with_their_file(tmp_path: Path) -> None:
    data = folder("bin") + member("./bin/gzip", b"#!") + hard("bin/zcat", "./bin/gzip") + END
    found = tree(read(tmp_path, deb(data)))
    assert found["usr/bin/gzip"].kind is Kind.FILE
    assert (found["usr/bin/zcat"].kind, found["usr/bin/zcat"].target) == (Kind.HARDLINK, "usr/bin/gzip")


def test_a_file_in_place_of_a_root_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="ships /lib as a file"):
        tree(package(tmp_path, "odd", {"lib": b"file"}))
    with pytest.raises(SpecError, match="ships /bin as a symlink"):
        tree(package(tmp_path, "odd", {"bin": "/opt/bin"}))


def test_a_directory_never_replaces_a_link(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/share/doc/demo": "demo-data", "usr/share/doc/demo-data/": b""})
    two = package(tmp_path, "two", {"usr/share/doc/demo/copyright": b"free"})
    for debs in ((one, two), (two, one)):
        found = tree(*debs)
        assert found["usr/share/doc/demo"].kind is Kind.SYMLINK
        assert text(found, "usr/share/doc/demo-data/copyright") == b"free"
        assert "usr/share/doc/demo/copyright" not in found


def test_links_that_move_links(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"opt/a": "b", "opt/b/": b""})
    two = package(tmp_path, "two", {"opt/a/c": "d", "opt/a/d/": b""})
    three = package(tmp_path, "three", {"opt/a/c/file": b"x"})
    assert text(tree(three, two, one), "opt/b/d/file") == b"x"


def test_a_link_to_a_file_and_a_directory_of_another_package(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/share/demo": "file", "usr/share/file": b"x"})
    two = package(tmp_path, "two", {"usr/share/demo/": b""})
    with pytest.raises(SpecError, match="one and two both ship /usr/share/file"):
        tree(one, two)


def test_links_in_circles_are_refused(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/a": "b", "usr/b": "a"})
    two = package(tmp_path, "two", {"usr/a/file": b"x"})
    with pytest.raises(IntegrityError, match="too many levels"):
        tree(one, two)


def test_conflicting_files_name_both_packages(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/bin/tool": b"#!1"})
    two = package(tmp_path, "two", {"bin/tool": b"#!2"})
    with pytest.raises(SpecError, match="the packages one and two both ship /usr/bin/tool") as caught:
        tree(one, two)
    assert caught.value.exit_code == 2
    same = package(tmp_path, "three", {"usr/bin/tool": b"#!1"})
    assert text(tree(one, same), "usr/bin/tool") == b"#!1"


@pytest.mark.parametrize(
    ("replaces", "allowed"),
    [
        ("one", True),
        ("one (<< 1:3)", True),
        ("other, one (<= 1:2.0-3)", True),
        ("one (<< 1:2.0-3)", False),
        ("one (>> 1:3)", False),
        ("ones", False),
    ],
)
def test_replaces_decides(tmp_path: Path, replaces: str, *, allowed: bool) -> None:
    one = package(tmp_path, "one", {"usr/bin/tool": b"#!1"})
    two = package(tmp_path, "two", {"usr/bin/tool": b"#!2"}, Replaces=replaces)
    for debs in ((one, two), (two, one)):
        if allowed:
            assert text(tree(*debs), "usr/bin/tool") == b"#!2"
        else:
            with pytest.raises(SpecError, match="both ship"):
                tree(*debs)


def test_mutual_replaces_decide_nothing(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/bin/tool": b"#!1"}, Replaces="two")
    two = package(tmp_path, "two", {"usr/bin/tool": b"#!2"}, Replaces="one")
    with pytest.raises(SpecError, match="both ship"):
        tree(one, two)
    broken = package(tmp_path, "two", {"usr/bin/tool": b"#!2"}, Replaces="one (?? 1)")
    with pytest.raises(IntegrityError, match="Replaces is malformed"):
        tree(one, broken)


def test_replacing_the_file_of_a_hard_link_is_refused(tmp_path: Path) -> None:
    data = folder("usr") + member("./usr/a", b"1") + hard("usr/b", "./usr/a") + END
    one = read(tmp_path, deb(data))
    two = package(tmp_path, "two", {"usr/a": "elsewhere"}, Replaces="demo")
    with pytest.raises(SpecError, match="shares the file"):
        tree(one, two)


def test_a_file_below_a_file_of_another_package(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/share/demo": b"file"})
    two = package(tmp_path, "two", {"usr/share/demo/file": b"x"})
    with pytest.raises(SpecError, match="both ship /usr/share/demo"):
        tree(one, two)
    bare = read(tmp_path, deb(member("./usr/share/demo/file", b"x") + END))
    with pytest.raises(SpecError, match="disagree whether /usr/share/demo is a folder"):
        tree(one, bare)


def test_the_same_package_twice(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"usr/a": b"1"})
    other = package(tmp_path, "one", {"usr/b": b"1"}, Version="2")
    with pytest.raises(SpecError, match="there twice"):
        tree(one, other)


def test_directories_take_the_mode_of_base_files(tmp_path: Path) -> None:
    base = read(tmp_path, deb(folder("var/tmp", mode=0o1777) + END, control=CONTROL | {"Package": "base-files"}),
                CONTROL | {"Package": "base-files"})  # fmt: skip
    other = read(tmp_path, deb(folder("var/tmp", mode=0o700, uid=7) + END))
    found = tree(other, base)
    assert (found["var/tmp"].mode, found["var/tmp"].uid) == (0o1777, 0)
    assert (found["var"].mode, found["var"].mtime) == (0o755, EPOCH)


def test_times_are_kept_and_clamped_and_modes_kept(tmp_path: Path) -> None:
    data = (
        member("./old", b"", mtime=1_000_000_000)
        + member("./new", b"", mtime=EPOCH + 1)
        + member("./su", b"", mode=0o4755, gid=8)
        + END
    )
    found = tree(read(tmp_path, deb(data)))
    assert (found["old"].mtime, found["new"].mtime) == (1_000_000_000, EPOCH)
    assert (found["su"].mode, found["su"].gid) == (0o4755, 8)
    assert {found[path].mtime for path in ("io", "var/lib/dpkg/status")} == {EPOCH}
    assert max(entry.mtime for entry in found.values()) == EPOCH


def test_mount_points(tmp_path: Path) -> None:
    found = tree(package(tmp_path, "demo", {"usr/a": b""}))
    modes = {path: found[path].mode for path in ("dev", "proc", "run", "sys", "tmp", "io", "io/in", "io/out")}
    assert modes == dict.fromkeys(modes, 0o755) | {"tmp": 0o1777}
    assert "etc/machine-id" not in found


def test_the_order_of_the_packages_does_not_matter(tmp_path: Path) -> None:
    debs = [
        package(tmp_path, f"p{number}", {f"usr/share/{number}": b"x", "usr/share/doc/": b"", f"lib/l{number}": "x"})
        for number in range(6)
    ]
    expected = [(e.path, e.kind, e.mode, e.mtime, e.size, e.target) for e in root_entries(debs, epoch=EPOCH)]
    assert [entry[0] for entry in expected] == sorted((entry[0] for entry in expected), key=sort_key)
    for seed in range(5):
        random.Random(seed).shuffle(debs)
        found = [(e.path, e.kind, e.mode, e.mtime, e.size, e.target) for e in root_entries(debs, epoch=EPOCH)]
        assert found == expected


names = st.sampled_from(["a", "b", "c", ".."])
texts = st.builds(
    lambda start, parts: start + "/".join(parts), st.sampled_from(["", "/"]), st.lists(names, min_size=1, max_size=3)
)


@given(links=st.dictionaries(st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map("/".join), texts, max_size=5),
       path=st.lists(names, min_size=1, max_size=4).map("/".join))  # fmt: skip
def test_resolving_ends_below_the_root_and_is_final(links: dict[str, str], path: str) -> None:
    try:
        end = Links(links).resolve(path)
    except IntegrityError:
        return
    assert ".." not in end.split("/")
    assert not end.startswith("/")
    assert follow(end, links.get) == end


def test_root_refuses_a_file_where_a_folder_is(tmp_path: Path) -> None:
    root = Root([Entry("etc", Kind.DIRECTORY, 0o755, 0), Entry("etc/x", Kind.DIRECTORY, 0o755, 0)], EPOCH)
    root.link("etc/x", "/run")
    assert root.resolve("etc/x") == "run"
    with pytest.raises(SpecError, match="folder"):
        root.link("etc", "/run")
    with pytest.raises(SpecError, match="folder"):
        root.write("etc", b"")


def test_missing_libraries(tmp_path: Path) -> None:
    lib = "usr/lib/x86_64-linux-gnu"
    found = tree(
        package(
            tmp_path,
            "demo",
            {
                f"{lib}/libc.so.6": libc(),
                f"{lib}/libgood.so.1": shared("libgood.so.1", ["libc.so.6"]),
                f"{lib}/demo/libprivate.so": shared("libprivate.so"),
                f"{lib}/libarm.so.1": shared("libarm.so.1", machine=AARCH64),
                "usr/bin/good": shared("", ["libgood.so.1", "libc.so.6"]),
                "usr/bin/private": shared("", ["libprivate.so"], runpath="$ORIGIN/../lib/x86_64-linux-gnu/demo"),
                "usr/bin/braces": shared("", ["libprivate.so"], runpath="/nowhere:${ORIGIN}/../$LIB/demo"),
                "usr/bin/bad": shared("", ["libgone.so.7", "libprivate.so", "libarm.so.1"]),
                "opt/lib/libopt.so": shared("libopt.so"),
                "usr/bin/opt": shared("", ["libopt.so"]),
                "etc/ld.so.conf": b"/opt/lib\n",
                "usr/bin/script": b"#!/bin/sh\n",
                "usr/share/data.so.txt": b"\x7fELF but not really",
            },
        )
    )
    assert missing_libraries(found.values()) == [
        Missing("usr/bin/bad", "libgone.so.7"),
        Missing("usr/bin/bad", "libprivate.so"),
        Missing("usr/bin/bad", "libarm.so.1"),
    ]
