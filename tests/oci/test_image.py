from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import rfc8785
from facts import ANNOTATIONS, EPOCH

from builder.errors import EnvironmentFault, IntegrityError, UsageError
from builder.oci.config import ImageConfig, timestamp
from builder.oci.image import Image, PlatformImage, assemble, bare, load, render, render_manifest
from builder.platforms import Platform
from builder.store.blobs import Store
from builder.store.collect import images, mark

GOLDEN = "sha256:450be90c4ed79397509aee50a9269466fe9f9781141324901ed46b2eb3bef312"

Parts = dict[Platform, PlatformImage]


def document(store: Store, digest: str) -> dict:
    with store.open(bare(digest)) as stream:
        return json.load(stream)


def test_format_1_golden(image: Image) -> None:
    """A change here is a new format: raise FORMAT in builder/lock/model.py and say so in docs/image-format.md."""
    assert image.digest == GOLDEN


def test_what_the_documents_say(store: Store, image: Image, parts: Parts) -> None:
    index = document(store, image.digest)
    assert [item["platform"] for item in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert index["annotations"] == ANNOTATIONS
    manifest = document(store, index["manifests"][1]["digest"])
    layers = parts["linux/arm64"].layers
    assert [item["digest"] for item in manifest["layers"]] == [layer.digest for layer in layers]
    assert [item["size"] for item in manifest["layers"]] == [layer.size for layer in layers]
    assert manifest["layers"][0]["annotations"] == {
        "org.kbuild.layer.name": "base",
        "org.kbuild.layer.tree": layers[0].tree_digest,
        "org.kbuild.layer.tar-size": str(layers[0].tar_size),
        "org.kbuild.layer.files": "4",
    }
    assert document(store, manifest["config"]["digest"]) == {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "created": "2023-11-14T22:13:20Z",
        "config": {
            "Entrypoint": ["/usr/bin/python3", "-m", "kernels.runtime"],
            "Env": ["A=b=c", "PATH=/usr/bin"],
            "Labels": {"org.kbuild.profile": "pinned"},
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [
            {"created": "2023-11-14T22:13:20Z", "created_by": "kbuild base"},
            {"created": "2023-11-14T22:13:20Z", "created_by": "kbuild kernel"},
        ],
    }


def test_loading_gives_what_assembling_gave(store: Store, image: Image, parts: Parts) -> None:
    assert load(store, image.digest) == image
    assert load(store, bare(image.digest)) == image
    for platform, manifest in image.manifests.items():
        alone = load(store, manifest.digest)
        assert alone.manifests == {platform: manifest}
        assert alone.digest == manifest.digest
        assert manifest.image == parts[platform]


def test_an_image_without_annotations_loads(store: Store, parts: Parts) -> None:
    image = assemble(store, parts, {})
    assert load(store, image.digest) == image


def test_nothing_but_the_parts_decides(store: Store, image: Image, parts: Parts, tmp_path: Path) -> None:
    backwards = dict(reversed(parts.items()))
    config = parts["linux/amd64"].config
    config = replace(
        config,
        environment=dict(reversed(config.environment.items())),
        labels=dict(reversed(config.labels.items())),
    )
    shuffled = {platform: replace(part, config=config) for platform, part in backwards.items()}
    assert render(shuffled, dict(reversed(ANNOTATIONS.items())))[0].digest == image.digest
    one = {"linux/amd64": parts["linux/amd64"]}
    changes = [
        {"linux/amd64": replace(one["linux/amd64"], config=replace(config, **change))}
        for change in (
            {"epoch": EPOCH + 1}, {"environment": {}}, {"labels": {}}, {"entrypoint": ("x",)}, {"working_dir": "/x"})
    ]  # fmt: skip
    changes.append({"linux/amd64": replace(one["linux/amd64"], layers=one["linux/amd64"].layers[::-1])})
    digests = {render(each, ANNOTATIONS)[0].digest for each in (one, *changes)}
    assert len(digests) == 1 + len(changes)


def test_a_prefix_is_enough_while_it_is_unique(store: Store, image: Image) -> None:
    start = bare(image.digest)[:9]
    assert load(store, start) == image
    assert load(store, f"sha256:{start}") == image
    manifest = image.manifests["linux/arm64"]
    assert load(store, manifest.digest[:17]).manifests == {"linux/arm64": manifest}
    twin = start + "f" * 55
    store.remember("images", twin, {"blobs": [], "time": 0})
    with pytest.raises(UsageError, match="ambiguous"):
        load(store, start)
    assert load(store, image.digest) == image


@pytest.mark.parametrize("digest", ["", "12345", "sha256:", "xyz", "../../etc/passwd", "md5:" + "0" * 32, "A" * 64])
def test_what_is_no_digest_is_refused(store: Store, digest: str) -> None:
    with pytest.raises(UsageError, match="is not an image digest"):
        load(store, digest)


def test_an_unknown_image_is_named(store: Store, image: Image) -> None:
    with pytest.raises(UsageError, match="no image begins with 000000"):
        load(store, "000000")
    with pytest.raises(EnvironmentFault, match="is not in the store"):
        load(store, "0" * 64)


def test_one_platform_that_is_not_there(image: Image, store: Store, parts: Parts) -> None:
    alone = assemble(store, {"linux/amd64": parts["linux/amd64"]}, ANNOTATIONS)
    with pytest.raises(UsageError, match="for linux/amd64, not for linux/arm64"):
        alone.manifest("linux/arm64")


def test_the_store_keeps_all_of_an_image_and_nothing_else(store: Store, image: Image) -> None:
    litter = store.add(b"litter")
    kept = mark(images(store), [bare(image.digest)])
    assert kept == set(image.blobs())
    assert len(kept) == 1 + 2 * 2 + 3  # index, manifests with configurations, layers of which one is shared
    assert litter not in kept


def test_an_image_needs_its_layers_in_the_store(tmp_path: Path, parts: Parts) -> None:
    empty = Store(tmp_path / "empty")
    with pytest.raises(EnvironmentFault, match="is not in the store"):
        assemble(empty, parts, ANNOTATIONS)
    assert not (empty.root / "records").exists()


def test_images_that_no_engine_takes_are_refused(parts: Parts) -> None:
    part = parts["linux/amd64"]
    for layers in ((), part.layers * 64):
        with pytest.raises(UsageError, match="1 to 127"):
            render({"linux/amd64": replace(part, layers=layers)}, {})
    with pytest.raises(UsageError, match="no platform"):
        render({}, {})


# --- documents from elsewhere


def forged(store: Store, digest: str, change) -> str:
    """The document with a change, in canonical form, in the store."""
    body = document(store, digest)
    change(body)
    return store.add(rfc8785.dumps(body))


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["manifests"].reverse(),
        lambda index: index["manifests"].append(index["manifests"][0]),
        lambda index: index["manifests"].clear(),
        lambda index: index["manifests"][0].pop("platform"),
        lambda index: index["manifests"][0]["platform"].update(architecture="riscv64"),
        lambda index: index["manifests"][0]["platform"].update(architecture="arm64", variant="v8"),
        lambda index: index["manifests"][0].update(size=1),
        lambda index: index["manifests"][0].update(mediaType="text/plain"),
        lambda index: index["manifests"][0].update(annotations={"a": "b"}),
        lambda index: index.update(annotations={}),
        lambda index: index.update(annotations={"title": "other than the manifests'"}),
        lambda index: index.update(mediaType="application/json"),
        lambda index: index.pop("mediaType"),
    ],
)
def test_forged_indexes_are_refused(store: Store, image: Image, change) -> None:
    with pytest.raises((IntegrityError, UsageError)):
        load(store, forged(store, image.digest, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["layers"].pop(),
        lambda manifest: manifest["layers"].reverse(),
        lambda manifest: manifest["layers"][0].update(mediaType="application/vnd.oci.image.layer.v1.tar+gzip"),
        lambda manifest: manifest["layers"][0].pop("annotations"),
        lambda manifest: manifest["layers"][0]["annotations"].update({"org.kbuild.layer.files": "-1"}),
        lambda manifest: manifest["layers"][0]["annotations"].update({"org.kbuild.layer.tar-size": "9" * 99}),
        lambda manifest: manifest["layers"][0]["annotations"].update({"org.kbuild.layer.tar-size": "007"}),
        lambda manifest: manifest["layers"][0]["annotations"].update({"org.kbuild.layer.name": "\x1b[2J"}),
        lambda manifest: manifest["layers"][0]["annotations"].update({"org.kbuild.layer.tree": "../x"}),
        lambda manifest: manifest["layers"][0]["annotations"].update({"more": "x"}),
        lambda manifest: manifest["config"].update(mediaType="application/json"),
        lambda manifest: manifest["config"].update(digest=manifest["layers"][0]["digest"]),
        lambda manifest: manifest.update(subject=manifest["config"]),
        lambda manifest: manifest.update(artifactType="x"),
    ],
)
def test_forged_manifests_are_refused(store: Store, image: Image, change) -> None:
    with pytest.raises(IntegrityError):
        load(store, forged(store, image.manifests["linux/amd64"].digest, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(architecture="arm64"),
        lambda config: config.update(architecture="s390x"),
        lambda config: config.update(os="windows"),
        lambda config: config.update(created="yesterday"),
        lambda config: config.update(created="2023-11-14T22:13:20+00:00"),
        lambda config: config["config"]["Env"].reverse(),
        lambda config: config["config"]["Env"].append("A=twice"),
        lambda config: config["config"].update(User="root"),
        lambda config: config["rootfs"]["diff_ids"].pop(),
        lambda config: config["rootfs"].update(type="other"),
        lambda config: config["history"].pop(),
        lambda config: config["history"][0].update(created_by="someone"),
    ],
)
def test_forged_configurations_are_refused(store: Store, image: Image, change) -> None:
    manifest = image.manifests["linux/amd64"]
    config = forged(store, manifest.config_digest, change)
    size = store.path(config).stat().st_size
    digest = forged(store, manifest.digest, lambda body: body["config"].update(digest=f"sha256:{config}", size=size))
    with pytest.raises(IntegrityError):
        load(store, digest)


def test_a_corrupt_document_is_refused(store: Store, image: Image) -> None:
    path = store.path(bare(image.manifests["linux/amd64"].digest))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"mini", b"maxi"))
    with pytest.raises(IntegrityError, match="corrupt"):
        load(Store(store.root), image.digest)


def test_a_layer_is_no_image(store: Store, image: Image, parts: Parts) -> None:
    with pytest.raises(IntegrityError):
        load(store, parts["linux/amd64"].layers[0].digest)
    with pytest.raises(IntegrityError):
        load(store, image.manifests["linux/amd64"].config_digest)
    large = store.add(bytes(5 * 2**20))
    with pytest.raises(IntegrityError, match="5242880 bytes"):
        load(store, large)


def test_times_are_rfc_3339_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    assert timestamp(1_700_000_000) == "2023-11-14T22:13:20Z"


def test_arm64_names_its_variant_and_amd64_has_none(parts: Parts) -> None:
    texts = {platform: render_manifest(platform, part, {})[1][0] for platform, part in parts.items()}
    assert b'"variant":"v8"' in texts["linux/arm64"]
    assert b"variant" not in texts["linux/amd64"]


def test_no_user_is_named() -> None:
    assert "user" not in ImageConfig.__slots__
