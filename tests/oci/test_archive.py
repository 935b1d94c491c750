from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import IntegrityError, UsageError
from builder.layers.unpack import open_tar, read_layer
from builder.oci.archive import export_docker, reference
from builder.oci.image import Image, PlatformImage, assemble, bare
from builder.platforms import Platform
from builder.store.blobs import Store

TITLE, VERSION = "org.opencontainers.image.title", "org.opencontainers.image.version"


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {item.name: archive.extractfile(item).read() for item in archive if item.isfile()}  # type: ignore[union-attr]


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_an_archive_is_what_docker_load_reads(store: Store, image: Image, tmp_path: Path, platform: Platform) -> None:
    export_docker(store, image.digest, platform, tmp_path / "x.tar")
    found = members(tmp_path / "x.tar")
    (summary,) = json.loads(found.pop("manifest.json"))
    manifest = image.manifests[platform]
    assert summary["RepoTags"] == ["mini:1.0.0"]
    config = found.pop(summary["Config"])
    assert summary["Config"] == f"{hashlib.sha256(config).hexdigest()}.json" == f"{bare(manifest.config_digest)}.json"
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    assert [f"sha256:{hashlib.sha256(found[name]).hexdigest()}" for name in summary["Layers"]] == diff_ids
    assert sorted(found) == sorted(summary["Layers"])
    with tarfile.open(fileobj=io.BytesIO(found[summary["Layers"][0]])) as layer:
        assert "usr/bin/python3" in layer.getnames()


def test_it_is_the_same_each_time_and_by_either_digest(store: Store, image: Image, tmp_path: Path) -> None:
    export_docker(store, image.digest, "linux/amd64", tmp_path / "a.tar")
    export_docker(store, image.manifests["linux/amd64"].digest, "linux/amd64", tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with pytest.raises(UsageError, match="not for linux/arm64"):
        export_docker(store, image.manifests["linux/amd64"].digest, "linux/arm64", tmp_path / "c.tar")
    assert not (tmp_path / "c.tar").exists()


def test_a_layer_that_stands_twice_is_stored_once(
    store: Store, parts: dict[Platform, PlatformImage], tmp_path: Path
) -> None:
    part = parts["linux/amd64"]
    twice = assemble(store, {"linux/amd64": replace(part, layers=part.layers * 2)}, {})
    export_docker(store, twice.digest, "linux/amd64", tmp_path / "x.tar")
    (summary,) = json.loads(members(tmp_path / "x.tar")["manifest.json"])
    assert len(summary["Layers"]) == 4
    assert len(set(summary["Layers"])) == 2
    assert summary["RepoTags"] is None


def test_a_layer_with_another_diff_id_is_refused(
    store: Store, parts: dict[Platform, PlatformImage], tmp_path: Path
) -> None:
    part = parts["linux/amd64"]
    wrong = replace(part.layers[0], diff_id=f"sha256:{0:064x}")
    image = assemble(store, {"linux/amd64": replace(part, layers=(wrong,))}, {})
    with pytest.raises(IntegrityError, match="not the promised"):
        export_docker(store, image.digest, "linux/amd64", tmp_path / "x.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_layers_are_read_back_checked(store: Store, parts: dict[Platform, PlatformImage]) -> None:
    layer = parts["linux/amd64"].layers[0]
    names = [entry.path for entry, _ in read_layer(store, layer)]
    assert names[:3] == ["bin", "usr", "usr/bin"]
    assert len(open_tar(store, layer).read()) == layer.tar_size
    for lie in ({"diff_id": f"sha256:{0:064x}"}, {"tar_size": layer.tar_size + 512}, {"size": layer.size + 1}):
        with pytest.raises(IntegrityError):
            list(read_layer(store, replace(layer, **lie)))


@pytest.mark.parametrize(
    ("title", "version", "expected"),
    [
        ("mini", "1.0.0", "mini:1.0.0"), ("mini", "1.0.0+cpu", "mini:1.0.0_cpu"), ("a-b_c.d", "1", "a-b_c.d:1"),
        ("a..b", "1", None), ("Mini", "1", None), ("", "1", None), ("-a", "1", None), ("a", "", None),
        ("a", "x" * 129, None), ("a/b", "1", None),
    ],
)  # fmt: skip
def test_names_that_engines_take(title: str, version: str, expected: str | None) -> None:
    assert reference({TITLE: title, VERSION: version}) == expected


@pytest.mark.oci_tools
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_reads_the_archive(store: Store, image: Image, tmp_path: Path) -> None:
    export_docker(store, image.digest, "linux/arm64", tmp_path / "x.tar")
    command = ["skopeo", "inspect", f"docker-archive:{tmp_path / 'x.tar'}:mini:1.0.0"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    layers = image.manifests["linux/arm64"].image.layers
    assert told["Layers"] == [layer.diff_id for layer in layers]
    assert told["Architecture"] == "arm64"
