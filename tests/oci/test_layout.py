from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from facts import EPOCH

from builder.errors import EnvironmentFault, IntegrityError, UsageError
from builder.oci import layout
from builder.oci.image import Image, bare
from builder.oci.layout import export_layout
from builder.oci.referrer import attach
from builder.store.blobs import Store


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_is_an_oci_layout(store: Store, image: Image, tmp_path: Path) -> None:
    export_layout(store, image.digest, tmp_path / "out")
    found = files(tmp_path / "out")
    assert json.loads(found.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found.pop("index.json"))
    assert index["manifests"] == [
        {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": image.digest,
            "size": image.size,
            "annotations": {"org.opencontainers.image.ref.name": "1.0.0"},
        }
    ]
    assert sorted(found) == sorted(f"blobs/sha256/{blob}" for blob in image.blobs())
    for name, data in found.items():
        assert hashlib.sha256(data).hexdigest() == name.removeprefix("blobs/sha256/")


def test_one_platform_can_be_exported_alone(store: Store, image: Image, tmp_path: Path) -> None:
    manifest = image.manifests["linux/arm64"]
    export_layout(store, manifest.digest, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    assert [item["digest"] for item in index["manifests"]] == [manifest.digest]
    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == len(manifest.blobs())


def test_a_tar_holds_the_same_and_is_the_same_each_time(store: Store, image: Image, tmp_path: Path) -> None:
    export_layout(store, image.digest, tmp_path / "out")
    before = os.umask(0o077)
    try:
        export_layout(store, image.digest, tmp_path / "a.tar")
    finally:
        os.umask(before)
    export_layout(store, bare(image.digest)[:12], tmp_path / "b.tar")
    export_layout(store, image.digest, tmp_path / "b.tar")
    data = (tmp_path / "a.tar").read_bytes()
    assert data == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert {member.mtime for member in archive} == {EPOCH}
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert files(tmp_path / "unpacked") == files(tmp_path / "out")


def test_modes_do_not_depend_on_the_umask(store: Store, image: Image, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        export_layout(store, image.digest, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_dir()}
    assert modes == {0o755}
    assert (tmp_path / "out" / "index.json").stat().st_mode & 0o777 == 0o644


def test_what_is_exported_shares_nothing_with_the_store(store: Store, image: Image, tmp_path: Path) -> None:
    export_layout(store, image.digest, tmp_path / "out")
    for path in (tmp_path / "out" / "blobs" / "sha256").iterdir():
        path.write_bytes(b"changed")
    for blob in image.blobs():
        Store(store.root).verified(blob)


def test_an_occupied_or_impossible_target_is_left_alone(store: Store, image: Image, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    export_layout(store, image.digest, target)  # an empty folder is taken
    before = files(target)
    for bad in (target, tmp_path / "no" / "where", tmp_path / "no" / "where.tar"):
        with pytest.raises(UsageError):
            export_layout(store, image.digest, bad)
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(UsageError, match="in the way"):
        export_layout(store, image.digest, tmp_path / "folder.tar")
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError):
        export_layout(store, image.digest, tmp_path / "file")
    assert files(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.tar", "out", "store"]


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_a_corrupt_blob_leaves_nothing_behind(store: Store, image: Image, tmp_path: Path, name: str) -> None:
    path = store.path(bare(image.manifests["linux/amd64"].image.layers[0].digest))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="corrupt"):
        export_layout(Store(store.root), image.digest, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_a_failure_half_way_leaves_nothing_behind(
    store: Store, image: Image, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = layout.layout_entries

    def short(*arguments):
        *entries, last = real(*arguments)
        return [*entries, replace(last, source=broken)]

    def broken():
        raise EnvironmentFault("the disk went away")

    monkeypatch.setattr(layout, "layout_entries", short)
    with pytest.raises(EnvironmentFault, match="the disk went away"):
        export_layout(store, image.digest, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_referrers_are_listed_when_asked_for(store: Store, image: Image, tmp_path: Path) -> None:
    referrer = attach(store, image, "application/vnd.cyclonedx+json", b"{}", {})
    export_layout(store, image.digest, tmp_path / "out", referrers=[referrer])
    found = files(tmp_path / "out")
    listed = json.loads(found["index.json"])["manifests"]
    assert [item["digest"] for item in listed[:2]] == [image.digest, referrer.descriptor.digest]
    assert listed[1]["artifactType"] == "application/vnd.cyclonedx+json"
    tag = listed[2]["annotations"]["org.opencontainers.image.ref.name"]
    assert tag == f"sha256-{bare(image.digest)}"
    fallback = json.loads(found[f"blobs/sha256/{bare(listed[2]['digest'])}"])
    assert fallback["manifests"] == [listed[1]]
    assert all(f"blobs/sha256/{blob}" in found for blob in referrer.blobs())


# --- other people's tools

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="needs umoci")


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.oci_tools
@needs_skopeo
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_skopeo_inspects_it(store: Store, image: Image, tmp_path: Path, kind: str) -> None:
    target = tmp_path / ("out" if kind == "oci" else "out.tar")
    export_layout(store, image.digest, target)
    for architecture, platform in (("amd64", "linux/amd64"), ("arm64", "linux/arm64")):
        told = json.loads(run("skopeo", f"--override-arch={architecture}", "inspect", f"{kind}:{target}"))
        manifest = image.manifests[platform]
        assert told["Digest"] == image.digest
        assert told["Architecture"] == architecture
        assert told["Layers"] == [layer.digest for layer in manifest.image.layers]
        assert told["Created"] == "2023-11-14T22:13:20Z"
        assert told["Env"] == ["A=b=c", "PATH=/usr/bin"]


@pytest.mark.oci_tools
@needs_skopeo
def test_skopeo_copies_it_without_changing_a_byte(store: Store, image: Image, tmp_path: Path) -> None:
    export_layout(store, image.digest, tmp_path / "out")
    run("skopeo", "copy", "--all", f"oci:{tmp_path / 'out'}", f"oci:{tmp_path / 'copy'}:x")
    assert files(tmp_path / "copy" / "blobs") == files(tmp_path / "out" / "blobs")
    run("skopeo", "copy", f"oci:{tmp_path / 'out'}:1.0.0", f"dir:{tmp_path / 'dir'}")


@pytest.mark.oci_tools
@needs_skopeo
@needs_umoci
def test_umoci_unpacks_it(store: Store, image: Image, tmp_path: Path) -> None:
    """umoci before 0.5 reads neither zstd nor an index, so skopeo makes it a copy of one platform as gzip."""
    export_layout(store, image.manifests["linux/amd64"].digest, tmp_path / "out")
    recode = ("--dest-compress", "--dest-compress-format=gzip")
    run("skopeo", "copy", *recode, f"oci:{tmp_path / 'out'}", f"oci:{tmp_path / 'copy'}:x")
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'copy'}:x", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    python = root / "usr" / "bin" / "python3"
    assert python.read_bytes() == b"linux/amd64" * 1000
    assert python.stat().st_mtime == EPOCH
    assert python.stat().st_mode & 0o7777 == 0o755
    assert (root / "usr" / "bin" / "python").stat().st_ino == python.stat().st_ino
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (root / "usr" / ("n" * 110)).read_bytes() == b"1"
    assert (root / "opt" / "kernel" / "model.py").read_bytes() == b"x = 1\n"


@pytest.mark.oci_tools
@pytest.mark.root
@pytest.mark.skipif(shutil.which("podman") is None or os.getuid() != 0, reason="needs podman and root")
def test_podman_stores_it(store: Store, image: Image, tmp_path: Path) -> None:
    export_layout(store, image.digest, tmp_path / "out")
    with tempfile.TemporaryDirectory(prefix="p") as short:  # podman takes 50 characters at most
        podman = ("podman", "--root", f"{short}/p", "--runroot", f"{short}/r", "--storage-driver", "vfs")
        told = run(*podman, "pull", "-q", f"oci:{tmp_path / 'out'}").strip()
        assert told == bare(image.manifests["linux/amd64"].config_digest)
        mounted = Path(run(*podman, "image", "mount", told).strip())
        assert (mounted / "usr" / "bin" / "python3").read_bytes() == b"linux/amd64" * 1000
        assert (mounted / "opt" / "kernel" / "model.py").read_bytes() == b"x = 1\n"
        run(*podman, "image", "umount", told)
