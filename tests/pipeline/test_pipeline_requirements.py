"""The spec that an image carries, read without unpacking the image."""

from __future__ import annotations

import hashlib

import pytest

from builder.errors import IntegrityError, UsageError
from builder.layers import codec
from builder.layers.pack import pack
from builder.layers.tree import file_entries
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble
from builder.pipeline.requirements import SPEC, spec_of
from builder.spec.identity import canonical, identity
from builder.spec.model import Spec
from builder.store.blobs import Store

EPOCH = 1_789_199_741
ASKED = Spec.model_validate({
    "schema": 1,
    "kernel": {"name": "k", "version": "1.0.0", "entry": "model:f"},
    "hardware": {"memory": "3GiB", "features": {"amd64": ["sha"]}},
    "inputs": {"x": {"dtype": "float32"}},
    "outputs": {"y": {"dtype": "float32"}},
})  # fmt: skip


def image(store: Store, files: dict[str, bytes], label: str) -> Image:
    base = pack("base", file_entries({"etc/motd": b"hello"}, epoch=EPOCH), store, codec.CODEC)
    top = pack("kernel", file_entries(files, epoch=EPOCH), store, codec.CODEC)
    programs = pack("aot", file_entries({"opt/kernel/aot/0.xla": b"code"}, epoch=EPOCH), store, codec.CODEC)
    config = ImageConfig(EPOCH, {"PATH": "/usr/bin"}, {"org.kbuild.spec": label})
    return assemble(store, {"linux/amd64": PlatformImage((base, top, programs), config)}, {})


def test_an_image_says_what_it_was_built_from(store: Store) -> None:
    built = image(store, {SPEC: canonical(ASKED), "opt/kernel/model.py": b"x = 1\n"}, identity(ASKED))
    assert spec_of(store, built.digest) == ASKED
    assert spec_of(store, built.manifests["linux/amd64"].digest[7:19]) == ASKED


@pytest.mark.parametrize(
    ("files", "label", "reason"),
    [
        ({"opt/kernel/model.py": b""}, identity(ASKED), "holds no spec"),
        ({SPEC: canonical(ASKED)}, "sha256:" + "0" * 64, "not the one that its label names"),
        ({SPEC: b"{}"}, f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "not one that this kbuild reads"),
        ({SPEC: b"\xff"}, f"sha256:{hashlib.sha256(bytes([255])).hexdigest()}", "not one that this kbuild reads"),
        ({SPEC: b" " * (2 << 20)}, identity(ASKED), "holds no spec"),
    ],
)
def test_an_image_that_does_not_is_one_error(store: Store, files: dict[str, bytes], label: str, reason: str) -> None:
    built = image(store, files, label)
    with pytest.raises(IntegrityError, match=reason) as caught:
        spec_of(store, built.digest)
    assert caught.value.where == built.digest


def test_an_image_that_is_not_there(store: Store) -> None:
    with pytest.raises(UsageError, match="no image begins with"):
        spec_of(store, "abcdef")


def test_an_image_of_something_else(store: Store) -> None:
    base = pack("base", file_entries({"etc/motd": b"hello"}, epoch=EPOCH), store, codec.CODEC)
    other = assemble(store, {"linux/amd64": PlatformImage((base,), ImageConfig(EPOCH, {"PATH": "/usr/bin"}, {}))}, {})
    with pytest.raises(IntegrityError, match="holds no kernel"):
        spec_of(store, other.digest)
