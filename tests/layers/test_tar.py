from __future__ import annotations

import hashlib
import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import EPOCH, file, fixed_tree, folder, hardlink, symlink, trees

from builder.errors import IntegrityError
from builder.layers.digest import tree_digest
from builder.layers.entry import Entry, Kind
from builder.layers.order import MAX_NAME, MAX_PATH, ordered, sort_key
from builder.layers.tar import CHUNK, read_tar, tar_entries, tar_size, write_tar

GOLDEN_TAR = "304fd78f954a01199e4105389ce3c44a6f02efe87fddfdcd4bd5f6aaf2e5c488"
GOLDEN_TREE = "sha256:f758a21fed45eb7938779f0f52a68d1e1cbf45892c6d6d2eef1b9a0e7efa4367"


def tar(entries: Sequence[Entry]) -> bytes:
    out: list[bytes] = []
    write_tar(entries, out.append)
    return b"".join(out)


def untar(data: bytes) -> list[tuple[Entry, bytes]]:
    return [(entry, content.read()) for entry, content in read_tar(io.BytesIO(data))]


def contents(entries: Sequence[Entry]) -> list[tuple[Entry, bytes]]:
    return [(replace(entry, source=None), entry.source().read() if entry.source else b"") for entry in entries]


# --- vectors


def test_format_1_golden() -> None:
    """A change here is a new format: raise FORMAT in builder/lock/model.py and say so in docs/layer-format.md."""
    data = tar(fixed_tree())
    assert hashlib.sha256(data).hexdigest() == GOLDEN_TAR
    assert tree_digest(read_tar(io.BytesIO(data))) == GOLDEN_TREE


def test_a_header_is_the_table_of_the_specification() -> None:
    data = tar([file("usr.txt", b"hello", mode=0o4755, mtime=8, uid=1, gid=2)])
    assert data[:100] == b"usr.txt".ljust(100, b"\0")
    assert data[100:124] == b"0004755\x000000001\x000000002\x00"
    assert data[124:148] == b"00000000005\x0000000000010\x00"
    assert data[156:265] == b"0" + bytes(100) + b"ustar\x0000"
    assert data[265:512] == bytes(64) + b"0000000\x000000000\x00" + bytes(167)
    assert int(data[148:154], 8) == sum(data[:148]) + 8 * 32 + sum(data[156:512])
    assert data[154:156] == b"\x00 "
    assert data[512:1024] == b"hello".ljust(512, b"\0")
    assert data[1024:] == bytes(1024)


def test_pax_records_stand_only_where_ustar_cannot_say_it() -> None:
    assert len(tar([file("f" * 100, b"")])) == 512 + 1024
    assert len(tar([folder("f" * 99)])) == 512 + 1024
    data = tar([folder("f" * 100)])
    assert len(data) == 3 * 512 + 1024
    assert data[:14] == b"././@PaxHeader"
    assert data[512:1024] == b"111 path=".ljust(9) + b"f" * 100 + b"/\n" + bytes(512 - 111)


def test_the_length_of_a_pax_record_counts_its_own_digits() -> None:
    # 99 and 999 bytes without the length's own growth are where a naive count is off by one.
    for size in (*range(101, 112), *range(980, 1000)):
        name = "/".join(["d" * 200] * 4 + ["f" * (size - 804)]) if size > 900 else "f" * size
        data = tar(ordered([file(name, b"")], epoch=EPOCH))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert archive.getnames()[-1] == name


def test_the_tree_digest_is_that_of_the_specification() -> None:
    data = tar([folder("d"), file("d/f", b"abc", mode=0o4755, mtime=8, uid=1, gid=2), symlink("l", "t", mtime=9)])
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B
    text = (
        "kbuild tree 1\0"
        f"d\0d\x00755\x000\x000\0{EPOCH}\x000\0\x000\0"
        f"f\0d/f\x004755\x001\x002\x008\x003\0{abc}\x000\0"
        "l\0l\x00777\x000\x000\x009\x000\0t\x000\0"
    )
    assert tree_digest(read_tar(io.BytesIO(data))) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_order_is_by_components() -> None:
    names = ["a", "a/b", "a/b/c", "a/b-", "a-b", "a.b", "a0", "aa", "b"]
    shuffled = random.Random(1).sample(names, len(names))
    assert sorted(shuffled, key=sort_key) == names


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar(fixed_tree()))
    listed = subprocess.run(["tar", "-tf", archive, "--quoting-style=literal"], capture_output=True, check=True)
    assert not listed.stderr
    names = [entry.path + "/" * (entry.kind is Kind.DIRECTORY) for entry in ordered(fixed_tree())]
    assert listed.stdout.decode().splitlines() == names


# --- properties


@given(trees())
def test_tarfile_reads_what_is_written(tree: list[Entry]) -> None:
    expected = contents(ordered(tree))
    with tarfile.open(fileobj=io.BytesIO(tar(tree)), format=tarfile.PAX_FORMAT) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [entry.path for entry, _ in expected]
        for member, (entry, content) in zip(members, expected, strict=True):
            assert (member.mode, member.mtime, member.uid, member.gid) == (
                entry.mode, entry.mtime, entry.uid, entry.gid)  # fmt: skip
            assert (member.uname, member.gname) == ("", "")
            assert member.linkname == entry.target
            if entry.kind is Kind.FILE:
                stream = archive.extractfile(member)
                assert stream is not None
                assert stream.read() == content


@given(trees(), st.randoms(use_true_random=False))
def test_any_order_of_entries_gives_equal_bytes(tree: list[Entry], chance: random.Random) -> None:
    expected = tar(tree)
    chance.shuffle(tree)
    assert tar(tree) == expected


@given(trees())
def test_reading_gives_what_was_written(tree: list[Entry]) -> None:
    assert untar(tar(tree)) == contents(ordered(tree))


@given(trees())
def test_the_size_is_known_before(tree: list[Entry]) -> None:
    assert tar_size(tree) == len(tar(tree))


@given(trees())
def test_ordering_twice_changes_nothing(tree: list[Entry]) -> None:
    once = ordered(tree)
    assert ordered(once) == once


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_tar_is_refused_or_is_another_canonical_tar(data: st.DataObject) -> None:
    raw = bytearray(tar(data.draw(trees())))
    for _ in range(data.draw(st.integers(1, 3))):
        # Text fields, numbers, types: mostly where something stands.
        at = data.draw(st.one_of(st.integers(0, len(raw) - 1), st.integers(0, 265)))
        raw[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b"/.\x000175x ")))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw))) :]
    changed = bytes(raw)
    try:
        members = untar(changed)
    except IntegrityError:
        return
    again = [
        replace(entry, source=lambda content=content: io.BytesIO(content)) if entry.kind is Kind.FILE else entry
        for entry, content in members
    ]
    assert tar(again) == changed


@given(st.binary(max_size=2000))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        untar(data + b"\1")


def test_the_tree_digest_tells_every_change_and_nothing_else() -> None:
    def digest(entries: Sequence[Entry]) -> str:
        return tree_digest(read_tar(io.BytesIO(tar(entries))))

    tree = [folder("d"), file("d/f", b"1"), symlink("l", "x"), file("c", b"", xattrs=(("user.a", b"b"),))]
    changes = [
        [folder("d", mode=0o700), *tree[1:]],
        [tree[0], file("d/f", b"2"), *tree[2:]],
        [tree[0], file("d/g", b"1"), *tree[2:]],
        [tree[0], file("d/f", b"1", mtime=1), *tree[2:]],
        [tree[0], file("d/f", b"1", uid=1), *tree[2:]],
        [tree[0], file("d/f", b"1", gid=1), *tree[2:]],
        [*tree[:2], symlink("l", "y"), tree[3]],
        [*tree[:3], file("c", b"", xattrs=(("user.a", b"c"),))],
        [*tree[:3], file("c", b"", xattrs=(("user.b", b"b"),))],
        [*tree[:3], file("c", b"")],
        [*tree, hardlink("z", "c")],
        tree[:3],
    ]
    assert len({digest(each) for each in [tree, *changes]}) == 1 + len(changes)
    assert digest(tree[::-1]) == digest(tree)


# --- trees that are refused


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "not plain"), ("/etc/passwd", "not plain"), ("etc/", "not plain"), ("a//b", "not plain"),
        ("../x", "not plain"), ("a/../b", "not plain"), ("./a", "not plain"), ("a/.", "not plain"), ("..", "not plain"),
        ("a\0b", "NUL"), ("\udcff", "UTF-8"), ("x" * (MAX_NAME + 1), "longer than"),
        ("ä" * 128, "longer than"), ("x/" * (MAX_PATH // 2) + "xy", "bytes long"),
    ],
)  # fmt: skip
def test_paths_that_are_refused(path: str, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        ordered([file(path, b"")], epoch=EPOCH)
    if path:
        with pytest.raises(IntegrityError, match=why):
            ordered([file("ok", b""), hardlink("link", path)], epoch=EPOCH)


def test_the_longest_path_is_taken() -> None:
    path = "x/" * (MAX_PATH // 2) + "y"
    assert untar(tar(ordered([file(path, b"deep")], epoch=EPOCH)))[-1][1] == b"deep"
    name = "ä" * (MAX_NAME // 2)
    assert untar(tar([file(name, b"long")]))[0][0].path == name


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([file("a", b""), folder("a")], "'a': stated twice: as a file and as a directory"),
        ([file("a", b""), file("a/b", b"")], "'a/b': lies below 'a', which is a file"),
        ([symlink("lib", "usr/lib"), file("lib/x/y", b"")], "'lib/x/y': lies below 'lib', which is a symlink"),
        ([file("f", b""), hardlink("h", "f"), file("h/x", b"")], "which is a hardlink"),
        ([hardlink("a", "gone")], "'a': a hard link to 'gone', which is not in this tree"),
        ([folder("d"), hardlink("a", "d")], "which is a directory"),
        ([symlink("s", "x"), hardlink("a", "s")], "which is a symlink"),
        ([hardlink("a", "b"), hardlink("b", "a")], "leads back to itself"),
        ([hardlink("a", "a")], "leads back to itself"),
        ([symlink("s", "")], "target is empty"),
        ([symlink("s", "a\0b")], "NUL"),
        ([symlink("s", "x" * 4096)], "too long"),
        ([symlink("s", "\udc80")], "UTF-8"),
        ([file("f", b"", mode=0o10000)], "mode"),
        ([file("f", b"", mtime=-1)], "mtime"),
        ([file("f", b"", mtime=1.5)], "mtime"),  # type: ignore[arg-type]
        ([file("f", b"", uid=2**32 - 1)], "uid"),
        ([replace(folder("d"), size=1)], "only files have a size"),
        ([replace(file("f", b""), target="x")], "with a link target"),
        ([file("f", b"", xattrs=(("a", b"1"), ("a", b"2")))], "stated twice"),
        ([file("f", b"", xattrs=(("a=b", b"1"),))], "with the name"),
        ([file("f", b"", xattrs=(("", b"1"),))], "with the name"),
        ([file("f", b"", xattrs=(("a", b""),))], "is empty"),
        ([file("f", b"", xattrs=(("a", b"1" * 40000), ("b", b"1" * 40000)))], "more than 65536"),
        ([file("f", b""), replace(hardlink("h", "f"), xattrs=(("a", b"1"),))], "belong to its file"),
    ],
)
def test_trees_that_are_refused(entries: list[Entry], why: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        ordered(entries, epoch=EPOCH)
    assert why in caught.value.diagnostics()
    with pytest.raises(IntegrityError):
        ordered(entries[::-1], epoch=EPOCH)


def test_missing_parents_are_made_with_the_epoch_and_refused_without() -> None:
    deep = file("usr/lib/x", b"")
    made = ordered([deep, folder("usr", mode=0o700, mtime=1)], epoch=EPOCH)
    assert made == [folder("usr", mode=0o700, mtime=1), folder("usr/lib"), deep]
    with pytest.raises(IntegrityError, match="the folder 'usr/lib' is not stated"):
        write_tar([deep], lambda _: None)


def test_hard_links_are_rooted_at_the_first_path() -> None:
    origin = file("z", b"data", mode=0o755, mtime=5, uid=7, xattrs=(("user.a", b"1"),))
    first, *rest = ordered([hardlink("m", "z"), hardlink("b", "m"), origin, hardlink("c", "b")])
    assert first == replace(origin, path="b")
    assert [(link.path, link.target, link.mode, link.mtime, link.uid) for link in rest] == [
        ("c", "b", 0o755, 5, 7), ("m", "b", 0o755, 5, 7), ("z", "b", 0o755, 5, 7)]  # fmt: skip
    assert all(link.source is None and link.size == 0 and not link.xattrs for link in rest)


def test_a_long_chain_of_hard_links_takes_no_long_time() -> None:
    count = 20_000
    chain = [hardlink(f"{at:06}", f"{at + 1:06}") for at in range(count)]
    tree = ordered([*chain, file(f"{count:06}", b"end")])
    assert tree[0].kind is Kind.FILE
    assert all(entry.target == "000000" for entry in tree[1:])


@pytest.mark.parametrize(("promised", "why"), [(4, "goes on after the promised 4"), (6, "ends after 5 bytes")])
def test_a_source_of_another_size_is_refused(promised: int, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        tar([replace(file("f", b"12345"), size=promised)])


def test_sources_may_give_small_pieces_and_chunks_are_large() -> None:
    class Drip(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 1000))

    data = random.Random(3).randbytes(3 * CHUNK + 17)
    sizes: list[int] = []
    out = io.BytesIO()

    def take(chunk: bytes) -> None:
        sizes.append(len(chunk))
        out.write(chunk)

    write_tar([replace(file("f", data), source=lambda: Drip(data))], take)
    assert out.getvalue() == tar([file("f", data)])
    assert all(CHUNK <= size < 2 * CHUNK for size in sizes[:-1])


def test_sources_are_closed() -> None:
    stream = io.BytesIO(b"123")
    tar([replace(file("f", b"123"), source=lambda: stream)])
    assert stream.closed


# --- tars that are refused


def made_by_tarfile(change: Callable[[tarfile.TarFile], None], style: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as archive:
        change(archive)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in facts.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("dev", tarfile.CHRTYPE), member("dev", tarfile.BLKTYPE), member("pipe", tarfile.FIFOTYPE),
        member("old", tarfile.AREGTYPE), member("c", tarfile.CONTTYPE), member("s", tarfile.GNUTYPE_SPARSE),
        member("../x"), member("/x"), member("a/../../x"), member("x", uname="root"), member("x", uid=8**7),
        member("h", tarfile.LNKTYPE, linkname="../../etc/passwd"), member("h", tarfile.LNKTYPE, linkname="gone"),
        member("x" * 150 + "/y"), member("x" * 120),
    ],
    ids=lambda info: f"{info.type!r} {info.name[:12]}",
)  # fmt: skip
def test_hostile_members_are_refused(info: tarfile.TarInfo) -> None:
    with pytest.raises(IntegrityError):
        untar(made_by_tarfile(lambda archive: archive.addfile(info), tarfile.GNU_FORMAT))


def _checksummed(data: bytes, at: int) -> bytes:
    head = bytearray(data[at : at + 512])
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:at] + bytes(head) + data[at + 512 :]


def part(*entries: Entry) -> bytes:
    """The entries' part of a tar, to be put together in forbidden ways."""
    return tar(entries)[:-1024]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (part(file("b", b"")) + part(file("a", b"")) + bytes(1024), "out of order"),
        (part(file("a", b"1")) + part(file("a", b"2")) + bytes(1024), "stated twice"),
        (part(file("a", b"")) + tar(ordered([file("a/b", b"")], epoch=0))[512:], "not a folder"),
        (part(symlink("a", "/etc")) + tar(ordered([file("a/b", b"")], epoch=0))[512:], "not a folder"),
        (tar([file("a", b""), hardlink("b", "a")])[512:], "no file stated before"),
        (part(file("a", b"", mtime=1)) + tar([file("a", b""), hardlink("b", "a")])[512:], "other metadata"),
        (tar([file("a", b"1")])[:-1], "truncated"),
        (tar([file("a", b"1")])[:-512], "truncated"),
        (tar([file("a", b"1" * 600)])[:1000], "ends inside"),
        (b"", "truncated"),
        (tar([])[:512] + part(file("a", b"")), "zero block inside"),
        (tar([]) + b"\0", "after the end"),
        (tar([file("a", b"1")]).replace(b"1" + bytes(5), b"1\0\0\0\0x", 1), "between two"),
        (_checksummed(tar([symlink("s", "x")]).replace(b"0000777", b"0000755"), 0), "symlink with mode"),
        (_checksummed(tar([folder("d")]).replace(b"d/", b"d\0"), 0), "no slash"),
        (_checksummed(tar([file("d-", b"")]).replace(b"d-", b"d/", 1), 0), "not plain"),
        (tar([file("d", b"")]).replace(b"0000644", b"0000645", 1), "not in canonical form"),
    ],
)
def test_tars_out_of_form_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        untar(data)


def with_pax(records: bytes, entry: Entry | None = None, size: int | None = None) -> bytes:
    head = bytearray(tar([folder("f" * 100)])[:512])
    head[124:136] = b"%011o\0" % (len(records) if size is None else size)
    body = records + bytes(-len(records) % 512)
    return _checksummed(bytes(head), 0) + body + tar([entry or file("f" * 101, b"")])[1024:]


@pytest.mark.parametrize(
    "records",
    [
        b"",
        b"110 path=" + b"f" * 100 + b"\n",  # not needed: it fits
        b"111 path=" + b"f" * 101 + b"\n" + b"13 atime=123\n",
        b"13 mtime=123\n" + b"111 path=" + b"f" * 101 + b"\n",
        b"0111 path=" + b"f" * 101 + b"\n",
        b"9999999 path=" + b"f" * 101 + b"\n",
        b"111 path=" + b"f" * 101 + b"x",
        (b"111 path=" + b"f" * 101 + b"\n") * 2,
        b"-5 path=x\n", b"5\n", b"6 a=\n", b"3 =", b"\xff\xff\xff", b"13 \xff\xff\xff\xff=123\n",
        b"12 path=../\n", b"111 path=" + b"\xff" * 101 + b"\n",
        b"25 GNU.sparse.major=1\n", b"30 SCHILY.xattr.user.a=1234567",
    ],
)  # fmt: skip
def test_pax_headers_out_of_form_are_refused(records: bytes) -> None:
    with pytest.raises(IntegrityError):
        untar(with_pax(records))


def test_the_pax_helper_itself_makes_good_tars() -> None:
    records = b"111 path=" + b"f" * 101 + b"\n"
    assert untar(with_pax(records))[0][0].path == "f" * 101


def test_a_huge_pax_header_is_not_read() -> None:
    with pytest.raises(IntegrityError, match="PAX header of"):
        untar(with_pax(b"x" * 600, size=8**11 - 1))


def test_content_is_bounded(tmp_path: Path) -> None:
    data = tar([file("a", b"1" * 1000), file("b", b"2" * 1000)])
    assert len(list(read_tar(io.BytesIO(data), limit=2000))) == 2
    with pytest.raises(IntegrityError, match="more than 1999 bytes"):
        list(read_tar(io.BytesIO(data), limit=1999))
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(IntegrityError, match="more than 1999 bytes"):
        tar_entries(tmp_path / "x", limit=1999)


def test_content_that_is_left_unread_is_skipped() -> None:
    data = tar(fixed_tree())
    names = []
    for entry, content in read_tar(io.BytesIO(data)):
        content.read(3)
        names.append(entry.path)
    assert names == [entry.path for entry in ordered(fixed_tree())]


def test_indexing_a_file_gives_entries_that_can_be_packed_again(tmp_path: Path) -> None:
    data = tar(fixed_tree())
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    entries = tar_entries(path)
    assert tar(entries) == data
    assert contents(entries) == contents(ordered(fixed_tree()))
    for damage in (data[:-512], data[:700], data + b"x"):
        path.write_bytes(damage)
        with pytest.raises(IntegrityError):
            tar_entries(path)
