from __future__ import annotations

import json

from builder.oci.image import Image, PlatformImage, assemble, bare
from builder.oci.referrer import attach, fallback, referrers
from builder.platforms import Platform
from builder.store.blobs import Store
from builder.store.collect import images, mark

KIND = "application/vnd.cyclonedx+json"


def read(store: Store, digest: str) -> dict:
    with store.open(bare(digest)) as stream:
        return json.load(stream)


def test_an_artifact_manifest_of_oci_1_1(store: Store, image: Image) -> None:
    referrer = attach(store, image, KIND, b'{"bomFormat":"CycloneDX"}', {"made": "of the lock"})
    manifest = read(store, referrer.descriptor.digest)
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": KIND,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [{"mediaType": KIND, "digest": referrer.content[1], "size": 25}],
        "subject": {
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": image.digest, "size": image.size},
        "annotations": {"made": "of the lock"},
    }  # fmt: skip
    assert read(store, referrer.content[1]) == {"bomFormat": "CycloneDX"}


def test_attaching_changes_no_image_and_is_remembered_once(
    store: Store, image: Image, parts: dict[Platform, PlatformImage]
) -> None:
    first = attach(store, image, KIND, b"1", {})
    second = attach(store, image, KIND, b"2", {})
    assert attach(store, image, KIND, b"1", {}) == first
    expected = tuple(sorted((first, second), key=lambda item: item.descriptor.digest))
    assert referrers(store, image) == expected
    assert assemble(store, parts, image.annotations) == image
    assert referrers(store, image) == expected


def test_it_is_kept_as_long_as_its_image(store: Store, image: Image) -> None:
    referrer = attach(store, image, KIND, b"1", {})
    assert mark(images(store), [bare(image.digest)]) == {*image.blobs(), *referrer.blobs()}


def test_the_fallback_tag_is_that_of_the_distribution_specification(store: Store, image: Image) -> None:
    both = [attach(store, image, KIND, data, {}) for data in (b"1", b"2")]
    tag, index = fallback(image.descriptor(), both)
    assert tag == f"sha256-{bare(image.digest)}"
    assert fallback(image.descriptor(), both[::-1]) == (tag, index)
    listed = json.loads(index)["manifests"]
    assert {item["digest"] for item in listed} == {item.descriptor.digest for item in both}
    assert {item["artifactType"] for item in listed} == {KIND}
    assert fallback(image.descriptor(), [])[1] == (
        b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
    )
