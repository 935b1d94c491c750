"""What lay.py writes, and what it refuses."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
import trees
from laying import TEMPLATES, lay, written

SHA = "sha256digest=" + "0" * 64
META = "uid=0 gid=0 time=1.0"
DIR = f"type=dir mode=0755 {META}"
LINK = f"type=link mode=0777 {META}"
EMPTY = (
    f"type=file mode=0644 {META} size=0 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)


def mine(mode: int = 0o644, **more) -> dict:
    """Metadata that any user may set."""
    return {"mode": mode, "uid": os.geteuid(), "gid": os.getegid(), **more}


def sample() -> list:
    return [
        trees.folder("bin", **mine(0o700, mtime=11)),
        trees.file("bin/tool", b"#!/bin/sh\n", **mine(0o755, mtime=12)),
        trees.hardlink("bin/tool-2", "bin/tool"),
        trees.symlink("bin/to", "/etc/passwd", mtime=13, **{k: v for k, v in mine().items() if k != "mode"}),
        trees.folder("locked", **mine(0o555, mtime=14)),
        trees.file("locked/ä b", b"x" * 3000, **mine(0o400, mtime=15)),
        trees.file("locked/empty", b"", **mine(0o600, mtime=16)),
        trees.folder("tmp", **mine(0o1777, mtime=17)),
    ]


def test_a_tree_on_disk(tmp_path: Path) -> None:
    path = written(sample(), tmp_path / "from")
    said = lay("tree", path, tmp_path / "out", "--from", tmp_path / "from")
    assert (said.code, said.stderr) == (0, "")
    out = tmp_path / "out"
    status = (out / "bin/tool").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_nlink) == (0o755, 12 * 10**9, 2)
    assert (out / "bin/to").readlink() == Path("/etc/passwd")
    assert (out / "bin/to").lstat().st_mtime_ns == 13 * 10**9
    assert (out / "locked/ä b").read_bytes() == b"x" * 3000
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in ("bin", "locked", "tmp")] == [0o700, 0o555, 0o1777]
    assert (out / "locked").stat().st_mtime_ns == 14 * 10**9
    assert lay("check", path, out).code == 0
    assert lay("tree", path, tmp_path / "two", "--from", tmp_path / "from", "--expect", said.stdout.strip()).code == 0


@pytest.mark.root
def test_owners_set_user_id_and_attributes(tmp_path: Path) -> None:
    entries = [
        trees.folder("d", uid=7, gid=8),
        trees.file("d/su", b"s", mode=0o4755, uid=1000, gid=42),
        trees.file("d/sg", b"g", mode=0o2755, uid=0, gid=42),
        trees.file("d/cap", b"c", xattrs=(("security.capability", bytes.fromhex("0100000200040000" + "00" * 12)),)),
        trees.symlink("d/link", "su", uid=5, gid=6),
    ]
    path = written(entries, tmp_path / "from")
    said = lay("tree", path, tmp_path / "out", "--from", tmp_path / "from")
    assert (said.code, said.stderr) == (0, "")
    found = {item.name: item.lstat() for item in (tmp_path / "out/d").iterdir()}
    assert (found["su"].st_mode, found["su"].st_uid, found["su"].st_gid) == (0o104755, 1000, 42)
    assert (found["sg"].st_mode, found["sg"].st_gid) == (0o102755, 42)
    assert (found["link"].st_uid, found["link"].st_gid) == (5, 6)
    assert os.getxattr(tmp_path / "out/d/cap", "security.capability").startswith(b"\x01")
    assert lay("check", path, tmp_path / "out").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may set every owner")
def test_owners_that_only_root_may_set(tmp_path: Path) -> None:
    path = written([trees.file("a", b"a", uid=0, gid=0)], tmp_path / "from")
    said = lay("tree", path, tmp_path / "one", "--from", tmp_path / "from")
    assert (said.code, "Operation not permitted" in said.stderr) == (1, True)


def test_without_owners(tmp_path: Path) -> None:
    entries = [trees.file("su", b"s", mode=0o4755, uid=12345, gid=54321)]
    path = written(entries, tmp_path / "from")
    assert lay("tree", path, tmp_path / "out", "--from", tmp_path / "from", "--no-owner").code == 0
    assert (tmp_path / "out/su").stat().st_mode == 0o100755
    assert (tmp_path / "out/su").stat().st_uid == os.geteuid()
    assert lay("check", path, tmp_path / "out", "--no-owner").code == 0
    assert "owner" in lay("check", path, tmp_path / "out").stdout


def test_the_callers_umask_has_no_say(tmp_path: Path) -> None:
    path = written(sample(), tmp_path / "from")
    before = os.umask(0o077)
    try:
        assert lay("tree", path, tmp_path / "out", "--from", tmp_path / "from").code == 0
    finally:
        os.umask(before)
    assert lay("check", path, tmp_path / "out").code == 0


def test_contents_from_several_places(tmp_path: Path) -> None:
    path = written([trees.file("a", b"a", **mine()), trees.file("b", b"b", **mine())], tmp_path / "from")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "from/files/1").rename(elsewhere)
    words = ["tar", path, tmp_path / "out.tar", "--from", tmp_path / "from"]
    assert lay(*words).code == 1
    assert lay(*words, "--at", f"files/1={elsewhere}").code == 0


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda out: (out / "bin/tool").write_bytes(b"#!/bin/sg\n"), "bin/tool: has the SHA-256"),
        (lambda out: (out / "bin/tool").write_bytes(b"#!"), "bin/tool: 2 bytes, not 10"),
        (lambda out: (out / "bin/tool").chmod(0o777), "bin/tool: mode 0777, not 0755"),
        (lambda out: os.utime(out / "bin", (1, 1)), "bin: time 1.0, not 11"),
        (lambda out: (out / "bin/to").unlink(), "bin/to: missing"),
        (lambda out: _relink(out / "bin/to", "/etc/shadow"), "leads to /etc/shadow, not to /etc/passwd"),
        (lambda out: (out / "bin/extra").touch(), "bin/extra: not in the mtree file"),
        (lambda out: _split(out / "bin/tool-2"), "bin/tool-2: is not the same file as bin/tool"),
        (lambda out: _relink(out / "bin/tool", "tool-2"), "bin/tool: is no file"),
    ],
)
def test_check_sees(tmp_path: Path, spoil, what: str) -> None:
    path = written(sample(), tmp_path / "from")
    out = tmp_path / "out"
    assert lay("tree", path, out, "--from", tmp_path / "from").code == 0
    spoil(out)
    said = lay("check", path, out)
    assert said.code == 1
    assert what in said.stdout
    assert f"differences from {path}" in said.stderr


def _relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _split(path: Path) -> None:
    data, status = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def refused(tmp_path: Path, *lines: str, verb: str = "tar") -> str:
    """What the program says of an mtree file; nothing may be there afterwards."""
    (tmp_path / "from").mkdir(exist_ok=True)
    path = tmp_path / "bad.mtree"
    path.write_bytes(b"#mtree v2.0\n" + b"".join(line.encode() + b"\n" for line in lines))
    said = lay(verb, path, tmp_path / "out", "--from", tmp_path / "from")
    assert said.code == 1
    assert said.stdout == ""
    assert len(said.stderr.splitlines()) == 1
    if verb == "tar":
        assert not (tmp_path / "out").exists()
    return said.stderr


@pytest.mark.parametrize(
    "name",
    ["./../x", "./a/../../x", "./..", "./.", "./", "./a//b", ".//etc", "./a/", "/etc/x", "../x", "x", "./a\\000b",
     "./" + "n" * 256, "./" + "/".join(["nn"] * 1400)],
)  # fmt: skip
def test_paths_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    assert "bad.mtree: line 2" in refused(tmp_path, f"{name} {DIR}")


@pytest.mark.parametrize("contents", ["../secret", "/etc/passwd", "a/../../secret", "", ".", "files//x"])
def test_contents_that_lead_elsewhere(tmp_path: Path, contents: str) -> None:
    (tmp_path / "secret").write_text("s")
    line = f"./a type=file mode=0644 {META} size=1 {SHA} contents={contents}"
    assert "bad.mtree: line 2" in refused(tmp_path, line)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([f"./l {LINK} link=/tmp", f"./l/x {DIR}"], "is not below a folder"),
        ([f"./f {EMPTY}", f"./f/x {DIR}"], "is not below a folder"),
        ([f"./a/b {DIR}"], "is not below a folder"),
        ([f"./a {DIR}", f"./a {DIR}"], "out of order, or there twice"),
        ([f"./b {DIR}", f"./a {DIR}"], "out of order"),
        ([f"./a {DIR}", f"./a-b {DIR}", f"./a/b {DIR}"], "out of order"),
        ([f"./h {EMPTY} hardlink=../../etc/passwd"], "the path"),
        ([f"./h {EMPTY} hardlink=nothing"], "a hard link to no file above it"),
        ([f"./d {DIR}", f"./h {EMPTY} hardlink=d"], "a hard link to no file above it"),
        ([f"./f {EMPTY}", f"./h {EMPTY.replace('0644', '4755')} hardlink=f"], "other metadata"),
        ([f"./a {DIR} flags=uchg"], "'flags' is unknown here"),
        ([f"./a {DIR} contents=x"], "'contents' is unknown here"),
        ([f"./a {DIR} mode=0755"], "there twice"),
        ([f"./a {DIR} optional"], "no keyword with a value"),
        (["/set type=dir uid=0", f"./a {DIR}"], "does not begin with './'"),
        ([f"./a type=block mode=0600 {META}"], "none of dir, file and link"),
        ([f"./a type=hardlink mode=0600 {META}"], "none of dir, file and link"),
        ([f"./a mode=0600 {META}"], "none of dir, file and link"),
        ([f"./a type=dir {META}"], "'mode' is missing"),
        ([f"./a type=dir mode=010000 {META}"], "mode=010000"),
        ([f"./a type=dir mode=-1 {META}"], "mode=-1"),
        (["./a type=dir mode=0755 uid=4294967295 gid=0 time=1.0"], "uid=4294967295"),
        (["./a type=dir mode=0755 uid=0 gid=0 time=1.5"], "time=1.5"),
        (["./a type=dir mode=0755 uid=0 gid=0 time=-1.0"], "time=-1.0"),
        ([f"./l type=link mode=0755 {META} link=x"], "mode is not 0777"),
        ([f"./l {LINK} link="], "empty or too long"),
        ([f"./f type=file mode=0644 {META} size=3 {SHA}"], "needs contents="),
        ([f"./f {EMPTY} contents=x"], "needs contents= unless"),
        ([f"./f type=file mode=0644 {META} size=1 sha256digest=abc contents=x"], "hex"),
        ([f"./f type=file mode=0644 {META} size=1 sha256digest={'G' * 64} contents=x"], "hex"),
        ([f"./a\\8 {DIR}"], "escape"),
        ([f"./a\\777 {DIR}"], "escape"),
        ([f"./f {EMPTY} xattr.user.a="], "hex"),
        ([f"./\\377 {DIR}"], "is not UTF-8"),
        ([f"./l {LINK} link=\\377"], "is not UTF-8"),
    ],
)  # fmt: skip
def test_lines_that_are_refused(tmp_path: Path, lines: list[str], what: str) -> None:
    assert what in refused(tmp_path, *lines)


def line_for(size: int, sha: str = SHA, contents: str = "files/x") -> str:
    return f"./a type=file mode=0644 {META} size={size} {sha} contents={contents}"


def test_contents_that_are_not_as_promised(tmp_path: Path) -> None:
    files = tmp_path / "from/files"
    files.mkdir(parents=True)
    assert "cannot be read: files/x: No such file" in refused(tmp_path, line_for(3))
    (files / "x").write_bytes(b"abc")
    assert "has the SHA-256 ba7816bf" in refused(tmp_path, line_for(3))
    assert "has more than 2 bytes" in refused(tmp_path, line_for(2))
    assert "has less than 4 bytes" in refused(tmp_path, line_for(4))


def test_contents_behind_links_and_pipes(tmp_path: Path) -> None:
    files = tmp_path / "from/files"
    files.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"abc")
    (files / "x").symlink_to(tmp_path / "secret")
    assert "Too many levels of symbolic links" in refused(tmp_path, line_for(3))
    (files / "x").unlink()
    os.mkfifo(files / "x")
    assert "is no regular file" in refused(tmp_path, line_for(3))
    (files / "y").symlink_to(tmp_path)
    assert "is a link or a file where a folder is needed" in refused(
        tmp_path, line_for(3, contents="files/y/secret")
    )  # fmt: skip


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = written(sample(), tmp_path / "from")
    (tmp_path / "out").mkdir()
    (tmp_path / "out.tar").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "out.tar")
    for verb, target in (("tree", "out"), ("tar", "out.tar"), ("tar", "link"), ("tree", "link")):
        said = lay(verb, path, tmp_path / target, "--from", tmp_path / "from")
        assert (said.code, said.stderr) == (1, f"lay.py: {tmp_path / target}: File exists\n")
    assert (tmp_path / "out.tar").read_text() == "mine"


def test_another_digest_than_expected(tmp_path: Path) -> None:
    path = written(sample(), tmp_path / "from")
    wrong = f"sha256:{'0' * 64}"
    said = lay("tar", path, tmp_path / "out.tar", "--from", tmp_path / "from", "--expect", wrong)
    assert said.code == 1
    assert f"not {wrong}" in said.stderr
    assert not (tmp_path / "out.tar").exists()


def test_a_gigantic_size_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "from/files").mkdir(parents=True)
    (tmp_path / "from/files/x").write_bytes(b"abc")
    assert "less than 1125899906842624 bytes" in refused(tmp_path, line_for(2**50))


def test_it_stands_alone() -> None:
    """No import but of the standard library, and none that Debian's python3-minimal lacks."""
    text = (TEMPLATES / "lay.py").read_text()
    imports = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    minimal = {
        "__future__",
        "argparse",
        "collections",
        "contextlib",
        "dataclasses",
        "hashlib",
        "os",
        "stat",
        "sys",
        "typing",
    }
    assert imports <= minimal
    assert imports - {"__future__"} <= sys.stdlib_module_names
