"""Trees on disk: what a root made of debs or layers holds, and what never happens on the way."""

from __future__ import annotations

import io
import os
import stat
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_roots import EPOCH, shell_artifact, tool_artifact

from builder.backends.roots import LayerBlob, deb_root, emulator, image_root, layer_folder, link_trees, write_tree
from builder.errors import EnvironmentFault, IntegrityError
from builder.layers.codec import CODEC
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.pack import pack
from builder.layers.packages import PackageReader
from builder.platforms import NAMES, host_platform
from builder.store.blobs import Store


def file(path: str, data: bytes = b"x", mode: int = 0o644, mtime: int = EPOCH) -> Entry:
    return Entry(path, Kind.FILE, mode, mtime, size=len(data), source=partial(io.BytesIO, data))


def folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, Kind.DIRECTORY, mode, EPOCH)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, EPOCH, target=target)


def put(target: Path, entries: list[Entry]) -> Path:
    target.mkdir(exist_ok=True)
    write_tree(target, ((entry, entry.source() if entry.source else None) for entry in ordered(entries, epoch=EPOCH)))
    return target


def layer(store: Store, *entries: Entry) -> LayerBlob:
    made = pack("test", ordered(entries, epoch=EPOCH), store, CODEC)
    return LayerBlob(made.digest.removeprefix("sha256:"), made.diff_id.removeprefix("sha256:"))


def seen(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = path.read_bytes()
    return found


def test_a_tree_is_written_as_stated(tmp_path):
    old = os.umask(0o077)
    try:
        root = put(
            tmp_path / "root",
            [
                file("a/run", b"#!", 0o4755, 1_000_000_000),
                file("a/secret", b"s", 0o000),
                Entry("b", Kind.HARDLINK, 0o644, EPOCH, target="a/data"),
                file("a/data", b"d" * 3_000_000),
                link("c", "/outside"),
                folder("sealed", 0o500),
                file("sealed/x"),
            ],
        )
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "a/run").stat().st_mode) == 0o755  # set-user-ID means nothing here
    assert (root / "a/run").stat().st_mtime == 1_000_000_000
    assert stat.S_IMODE((root / "a/secret").stat().st_mode) == 0o400
    assert (root / "a/data").stat().st_ino == (root / "b").stat().st_ino
    assert (root / "c").readlink() == Path("/outside")
    assert stat.S_IMODE((root / "sealed").stat().st_mode) == 0o700  # its owner has to be able to remove it
    assert (root / "sealed").stat().st_mtime == EPOCH


def test_nothing_is_written_through_a_symlink(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(IntegrityError):
        put(tmp_path / "one", [link("a", str(outside)), file("a/x")])
    (tmp_path / "two").mkdir()
    with pytest.raises(OSError, match="exists"):  # were the order ever not canonical, a file is still never followed
        write_tree(tmp_path / "two", [(link("a", str(outside / "x")), None), (file("a"), io.BytesIO(b"evil"))])
    assert not list(outside.iterdir())


def test_a_later_layer_covers_an_earlier_one(tmp_path, store):
    lower = [file("dir/a", b"1"), file("dir/b", b"1"), link("link", "dir"), file("file", b"1"), file("gone/x/y", b"1")]
    upper = [file("dir/b", b"2"), file("link/inside", b"2"), file("file/inside", b"2"), file("gone", b"2")]
    root = image_root(store, [layer(store, *lower), layer(store, *upper)])
    assert seen(root) == {
        "dir": None, "dir/a": b"1", "dir/b": b"2", "link": None, "link/inside": b"2",
        "file": None, "file/inside": b"2", "gone": b"2",
    }  # fmt: skip


def test_layers_are_unpacked_once_and_shared(store):
    base, one, two = layer(store, file("base", b"b")), layer(store, file("x", b"1")), layer(store, file("x", b"2"))
    first, second = image_root(store, [base, one]), image_root(store, [base, two])
    assert (first / "base").stat().st_ino == (second / "base").stat().st_ino
    assert (first / "base").stat().st_ino == (layer_folder(store, base) / "base").stat().st_ino
    assert image_root(store, [base, one]) == first


def test_a_layer_with_another_diff_id_is_refused(store):
    right = layer(store, file("x", b"unique content"))
    wrong = LayerBlob(right.sha256, "0" * 64)
    with pytest.raises(IntegrityError, match="diff ID"):
        layer_folder(store, wrong)
    with pytest.raises(IntegrityError):
        layer_folder(store, wrong)  # nothing was left that a second try would take


def test_a_blob_that_is_no_layer_is_refused(store):
    sha256 = store.add(b"not zstd")
    with pytest.raises(IntegrityError):
        layer_folder(store, LayerBlob(sha256, "1" * 64))


NAME = st.sampled_from("abc")
PATHS = st.lists(NAME, min_size=1, max_size=3).map("/".join)


@given(st.lists(st.dictionaries(PATHS, st.sampled_from(["file", "dir", "link"]), max_size=5), min_size=1, max_size=3))
def test_stacking_equals_extracting_one_after_the_other(tmp_path_factory, stacks):
    """The reference: lay each tree over the result so far, as a container engine does."""
    home = tmp_path_factory.mktemp("stack")
    expected: dict[str, object] = {}
    layers = []
    for index, stack in enumerate(stacks):
        tree: dict[str, object] = {}
        for path, kind in stack.items():
            parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
            if any(tree.get(parent) is not None for parent in parents) or path in tree:
                continue
            tree |= dict.fromkeys(parents)
            tree[path] = {"file": f"{index}".encode(), "dir": None, "link": f"to{index}"}[kind]
        entries = []
        for path, content in tree.items():
            if content is None:
                entries.append(folder(path))
                if expected.get(path, b"") is not None:
                    expected[path] = None
            else:
                entries.append(file(path, content) if isinstance(content, bytes) else link(path, str(content)))
                expected = {name: value for name, value in expected.items() if not name.startswith(f"{path}/")}
                expected[path] = content
        layers.append(put(home / f"layer{index}", entries))
    (home / "all").mkdir()
    link_trees(layers, home / "all")
    assert seen(home / "all") == expected


def test_a_root_of_debs(store):
    item = shell_artifact(store)
    root = deb_root(store, PackageReader(store, 2), [item], epoch=EPOCH)
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (root / "usr/bin/sh").stat().st_mode & 0o111
    assert (root / "etc/ld.so.cache").is_file()
    assert deb_root(store, PackageReader(store, 2), [item], epoch=EPOCH) == root
    assert max(path.lstat().st_mtime for path in root.rglob("*")) <= EPOCH


GUEST = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
QEMU = f"usr/bin/qemu-{NAMES[GUEST].qemu}"


@pytest.mark.parametrize("suffix", ["", "-static"])
def test_the_emulator_comes_out_of_its_deb(store, suffix):
    files = {QEMU + suffix: b"\x7fELF qemu" + suffix.encode(), "usr/bin/qemu-other": b"\x7fELF no"}
    tool = tool_artifact(store, files)
    found = emulator(store, [shell_artifact(store), tool], host=host_platform(), guest=GUEST)
    assert found.read_bytes() == files[QEMU + suffix]
    assert os.access(found, os.X_OK)
    assert emulator(store, [tool], host=host_platform(), guest=GUEST) == found


def test_without_an_emulator(store):
    with pytest.raises(EnvironmentFault, match="no emulator"):
        emulator(store, [shell_artifact(store)], host=host_platform(), guest=GUEST)
    with pytest.raises(EnvironmentFault, match="no emulator"):  # one for the other machine does not help
        emulator(store, [tool_artifact(store, {}, platforms=(GUEST,))], host=host_platform(), guest=GUEST)
    tool = tool_artifact(store, {QEMU: "/etc/passwd"})  # a link is no program
    with pytest.raises(IntegrityError, match="holds no qemu"):
        emulator(store, [tool], host=host_platform(), guest=GUEST)
