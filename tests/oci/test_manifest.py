from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.oci.manifest import (
    CONFIG,
    EMPTY,
    LAYER,
    MAX_DOCUMENT,
    Descriptor,
    ImageIndex,
    ImageManifest,
    PlatformTag,
    digest_of,
    dumps,
    loads,
    media_type_of,
)

NOTHING = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""The specification's empty descriptor: `{}`."""


def manifest() -> ImageManifest:
    return ImageManifest(
        config=Descriptor(media_type=CONFIG, digest=NOTHING, size=2),
        layers=(Descriptor(media_type=LAYER, digest=NOTHING, size=2, annotations={"ä": "ö"}),),
        annotations={"b": "1", "a": "2"},
    )


def test_the_bytes_are_rfc_8785() -> None:
    assert dumps(manifest()).decode() == (
        '{"annotations":{"a":"2","b":"1"},'
        f'"config":{{"digest":"{NOTHING}","mediaType":"application/vnd.oci.image.config.v1+json","size":2}},'
        f'"layers":[{{"annotations":{{"ä":"ö"}},"digest":"{NOTHING}",'
        '"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","size":2}],'
        '"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )
    assert digest_of(b"{}") == NOTHING


def test_an_index_names_platforms() -> None:
    tag = PlatformTag(architecture="arm64", os="linux", variant="v8")
    item = Descriptor(media_type=EMPTY, digest=NOTHING, size=2, platform=tag)
    index = json.loads(dumps(ImageIndex(manifests=(item,))))
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}


def test_reading_gives_what_was_written() -> None:
    data = dumps(manifest())
    assert loads(ImageManifest, data, where="x") == manifest()
    assert media_type_of(data, where="x") == "application/vnd.oci.image.manifest.v1+json"


def changed(**more: object) -> bytes:
    body = json.loads(dumps(manifest())) | more
    return json.dumps({key: value for key, value in body.items() if value is not None}, sort_keys=True,
                      separators=(",", ":"), ensure_ascii=False).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "JSON"),
        (b"[]", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b"[" * 100_000, "JSON"),
        (dumps(manifest()) + b"\n", "canonical"),
        (dumps(manifest())[:-1] + b',"schemaVersion":2}', "canonical"),
        (dumps(manifest())[:-1] + b',"urls":[]}', "urls: Extra inputs"),
        (json.dumps(json.loads(dumps(manifest()))).encode(), "canonical"),
        (changed(schemaVersion=1), "schemaVersion"),
        (changed(schemaVersion=2.0), "canonical"),
        (changed(schemaVersion="2"), "schemaVersion"),
        (changed(mediaType="application/vnd.docker.distribution.manifest.v2+json"), "mediaType"),
        (changed(layers=[]), "layers"),
        (changed(layers=[{"digest": NOTHING, "mediaType": LAYER, "size": 2}] * 128), "layers"),
        (changed(config=None), "config"),
        (changed(config={"digest": "sha256:../../etc", "mediaType": CONFIG, "size": 2}), "config.digest"),
        (changed(config={"digest": NOTHING[:-1], "mediaType": CONFIG, "size": 2}), "config.digest"),
        (changed(config={"digest": NOTHING + "\n", "mediaType": CONFIG, "size": 2}), "config.digest"),
        (changed(config={"digest": NOTHING.upper(), "mediaType": CONFIG, "size": 2}), "config.digest"),
        (changed(config={"digest": NOTHING, "mediaType": CONFIG, "size": -1}), "config.size"),
        (changed(config={"digest": NOTHING, "mediaType": CONFIG, "size": 2**53}), "config.size"),
        (changed(config={"digest": NOTHING, "mediaType": CONFIG, "size": "2"}), "config.size"),
        (changed(annotations={"a": 1}), "annotations.a"),
        (b" " * (MAX_DOCUMENT + 1), "at most"),
    ],
)
def test_what_is_not_ours_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(IntegrityError, match=why) as caught:
        loads(ImageManifest, data, where="sha256:12")
    assert caught.value.where == "sha256:12"


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        loads(ImageManifest, data, where="x")
    with pytest.raises(IntegrityError):
        media_type_of(data, where="x")
