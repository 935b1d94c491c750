"""What accompanies an image: its lock from the start, its bill of materials once somebody takes it out."""

from __future__ import annotations

import json

import pytest

import builder.pipeline.attachments
from builder.errors import EnvironmentFault, IntegrityError
from builder.layers import codec
from builder.layers.pack import pack
from builder.layers.tree import file_entries
from builder.lock.model import FORMAT, Built, Index, Lock
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble, bare
from builder.oci.referrer import referrers
from builder.pipeline.attachments import LOCK, SBOM, attach_lock, lock_of, with_sbom
from builder.store import collect
from builder.store.artifact import Artifact
from builder.store.blobs import Store

EPOCH = 1_789_199_741


def index(registry: str, suite: str) -> Index:
    return Index(registry=registry, suite=suite, path=f"dists/{suite}/InRelease", sha256=f"{1:064x}", size=1,
                 date="2026-09-12T07:55:41Z")  # fmt: skip


LOCKED = Lock(
    spec=f"sha256:{9:064x}",
    format=FORMAT,
    epoch=EPOCH,
    codec=codec.CODEC,
    index=(index("debian", "trixie"),),
    artifact=(
        Artifact(
            kind="deb", name="libc6", version="2.41-12", architecture="amd64", registry="debian",
            path="pool/main/g/glibc/libc6_2.41-12_amd64.deb", sha256=f"{2:064x}", size=5, roles=("image",),
            platforms=("linux/amd64",),
        ),
    ),
)  # fmt: skip


@pytest.fixture
def image(store: Store) -> Image:
    layer = pack("kernel", file_entries({"opt/kernel/model.py": b"x = 1\n"}, epoch=EPOCH), store, codec.CODEC)
    config = ImageConfig(EPOCH, {"PATH": "/usr/bin"}, {})
    return assemble(store, {"linux/amd64": PlatformImage((layer,), config)}, {})


def kinds(store: Store, image: Image) -> list[str | None]:
    return sorted(str(item.descriptor.artifact_type) for item in referrers(store, image))


def test_the_lock_comes_back(store: Store, image: Image) -> None:
    attach_lock(store, image, LOCKED)
    assert kinds(store, image) == [LOCK]
    assert lock_of(Store(store.root), image) == LOCKED


def test_what_a_build_recorded_is_left_out(store: Store, image: Image) -> None:
    """Or the attachment would differ between the first build of a lock and the second."""
    attach_lock(store, image, LOCKED)
    before = referrers(store, image)
    built = Built(sources=f"sha256:{3:064x}", index=image.digest, platforms={})
    attach_lock(store, image, LOCKED.model_copy(update={"image": built}))
    assert referrers(store, image) == before
    assert lock_of(store, image).image is None


def test_an_image_without_its_lock(store: Store, image: Image) -> None:
    for call in (lock_of, with_sbom):
        with pytest.raises(EnvironmentFault, match="does not hold the lock") as caught:
            call(store, image)
        assert caught.value.where == image.digest


def test_a_lock_that_decayed(store: Store, image: Image) -> None:
    attach_lock(store, image, LOCKED)
    (found,) = referrers(store, image)
    blob = store.blob_path(bare(found.content[-1]))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"libc6", b"libc7"))
    with pytest.raises(IntegrityError, match="corrupt"):
        lock_of(Store(store.root), image)


def test_the_bill_of_materials_is_made_once(store: Store, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    attach_lock(store, image, LOCKED)
    made = []
    real = builder.pipeline.attachments.sbom
    monkeypatch.setattr(builder.pipeline.attachments, "sbom", lambda *given: made.append(given) or real(*given))
    first = with_sbom(store, image)
    assert kinds(store, image) == sorted([LOCK, SBOM])
    assert with_sbom(store, image) == first
    assert len(made) == 1
    (bill,) = [item for item in first if item.descriptor.artifact_type == SBOM]
    document = json.loads(store.verified(bare(bill.content[-1])).read_bytes())
    assert [item["name"] for item in document["components"]] == ["libc6"]


def test_the_same_everywhere(store: Store, image: Image, tmp_path) -> None:
    other = Store(tmp_path / "other")
    config = image.manifests["linux/amd64"].image.config
    layer = pack("kernel", file_entries({"opt/kernel/model.py": b"x = 1\n"}, epoch=EPOCH), other, codec.CODEC)
    again = assemble(other, {"linux/amd64": PlatformImage((layer,), config)}, {})
    assert again == image
    for each, of in ((store, image), (other, again)):
        attach_lock(each, of, LOCKED)
    assert with_sbom(store, image) == with_sbom(other, again)


def test_a_sweep_keeps_what_is_attached_to_a_kept_image(store: Store, image: Image) -> None:
    attach_lock(store, image, LOCKED)
    found = with_sbom(store, image)
    collect.collect(store, older_than=0)
    for item in found:
        assert all(store.has(blob) for blob in item.blobs())
    assert lock_of(store, image) == LOCKED
