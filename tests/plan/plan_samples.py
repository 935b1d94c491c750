"""Small hand-made specs, locks and sources, and the plan of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from builder.lock.model import CODEC, Codec, Index, Lock, Nixpkgs
from builder.plan.make import make
from builder.plan.model import PlacedFile, Plan
from builder.plan.numerics import Numerics
from builder.plan.runtime import Runtime
from builder.plan.sources import SourceFile, Sources
from builder.platforms import Platform
from builder.spec.identity import canonical
from builder.spec.load import loads
from builder.spec.model import Spec
from builder.store.artifact import Artifact, Member

AMD64: Platform = "linux/amd64"
ARM64: Platform = "linux/arm64"
BOTH: tuple[Platform, ...] = (AMD64, ARM64)
EPOCH = 1_789_199_741

TEXT = """\
schema = 1

[kernel]
name = "tiny"
version = "1.0.0"
description = "a tiny one"
license = "Apache-2.0"
entry = "model:forward"

[compiler]
flags = ["-O2", "-ffp-contract=off"]

[native.op]
sources = ["op.cc"]
flags = ["-DX=1"]
headers = ["jaxlib/include"]

[weights.net]
source = "file:net.safetensors"

[inputs.x]
dtype = "float32"
shape = ["n"]

[outputs.y]
dtype = "float32"
shape = ["n"]
"""


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def artifact(kind: str, name: str, content: object = "", **fields: object) -> Artifact:
    values = {
        "kind": kind, "name": name, "version": "1.0", "architecture": "all", "registry": "pypi",
        "path": f"{name}/{name}-1.0-py3-none-any.whl", "sha256": sha(f"{kind} {name} {content}"), "size": 1000,
        "roles": ("image",), "platforms": BOTH,
    }  # fmt: skip
    return Artifact(**values | fields)


def deb(name: str, content: object = "", *, platform: Platform = AMD64, **fields: object) -> Artifact:
    architecture = platform.removeprefix("linux/")
    values = {
        "architecture": architecture, "platforms": (platform,), "registry": "debian",
        "path": f"pool/main/{name[0]}/{name}/{name}_1.0_{architecture}.deb",
    }  # fmt: skip
    return artifact("deb", name, f"{content} {architecture}", **values | fields)


def wheel(name: str, content: object = "", **fields: object) -> Artifact:
    return artifact("wheel", name, content, **fields)


def weights(name: str, content: object = "", **fields: object) -> Artifact:
    values = {"registry": "local", "path": f"{name}.safetensors", "version": ""}
    return artifact("weights", name, content, **values | fields)


def member(path: str, content: object = "") -> Member:
    return Member(path=path, sha256=sha(content), size=3)


ARTIFACTS: tuple[Artifact, ...] = (
    *(deb(name, platform=platform) for name in ("libc6", "python3.13-minimal", "python3") for platform in BOTH),
    *(deb("g++-14", platform=platform, roles=("toolchain",)) for platform in BOTH),
    *(deb("qemu-user-static", platform=platform, roles=("tools",)) for platform in BOTH),
    weights("net"),
    wheel("absl-py"),
    wheel("jax", version="0.10.2"),
    wheel("jaxlib", size=80 << 20, version="0.10.2"),
    wheel("numpy", size=20 << 20),
)

INDEX = Index(
    registry="debian", suite="trixie", path="dists/trixie/InRelease", sha256=sha("index"), size=1,
    date="2026-09-12T07:55:41Z",
)  # fmt: skip


def source(path: str, content: object = "") -> SourceFile:
    return SourceFile(path, sha(f"{path} {content}"), 10)


def placed(path: str, content: object = "") -> PlacedFile:
    return PlacedFile(path, sha(f"{path} {content}"), 10)


@dataclass(frozen=True)
class Case:
    """Everything that a plan is made from; `but` gives the same with something else."""

    text: str = TEXT
    artifacts: tuple[Artifact, ...] = ARTIFACTS
    code: tuple[SourceFile, ...] = (source("model.py"), source("data.json"))
    native: Mapping[str, tuple[SourceFile, ...]] = field(default_factory=lambda: {"op": (source("op.cc"),)})
    runtime: tuple[PlacedFile, ...] = (placed("opt/kbuild/kernels/runtime/__main__.py"),)
    libraries: Numerics = field(default_factory=dict)
    epoch: int = EPOCH
    format: int = 1
    codec: Codec = CODEC
    nixpkgs: Nixpkgs | None = None

    def but(self, **changes: object) -> Case:
        return replace(self, **changes)

    def replacing(self, new: Artifact) -> Case:
        """The artifact of the same kind, name and platforms has other bytes."""
        same = (new.kind, new.name, new.platforms)
        assert any((item.kind, item.name, item.platforms) == same for item in self.artifacts)
        kept = [new if (item.kind, item.name, item.platforms) == same else item for item in self.artifacts]
        return self.but(artifacts=tuple(kept))

    def adding(self, *new: Artifact) -> Case:
        return self.but(artifacts=(*self.artifacts, *new))

    def writing(self, old: str, new: str) -> Case:
        assert old in self.text
        return self.but(text=self.text.replace(old, new, 1))

    @property
    def spec(self) -> Spec:
        return loads(self.text, "spec.toml")

    @property
    def lock(self) -> Lock:
        return Lock(
            spec=f"sha256:{sha(self.text)}", format=self.format, epoch=self.epoch, codec=self.codec,
            index=(INDEX,), artifact=self.artifacts, nixpkgs=self.nixpkgs,
        )  # fmt: skip

    @property
    def sources(self) -> Sources:
        return Sources(self.code, dict(self.native), (source("net.safetensors"),))

    def documents(self) -> dict[Platform, tuple[PlacedFile, ...]]:
        identity = PlacedFile("opt/kernel/spec.json", hashlib.sha256(canonical(self.spec)).hexdigest(), 10)
        return {platform: (identity, placed("opt/kernel/environment.json", platform)) for platform in BOTH}

    def plan(self) -> Plan:
        return make(self.spec, self.lock, self.sources, Runtime(self.runtime, self.documents(), self.libraries))

    def layer_keys(self, platform: Platform = AMD64) -> dict[str, str]:
        """Each layer's key by its name, in order."""
        (found,) = [item for item in self.plan().platforms if item.platform == platform]
        return {layer.name: layer.key() for layer in found.layers}


SAMPLE = Case()


def changed(before: Case, after: Case, platform: Platform = AMD64) -> set[str]:
    """Names of the layers of `after` that a store which has those of `before` lacks."""
    have = set(before.layer_keys(platform).values())
    return {name for name, key in after.layer_keys(platform).items() if key not in have}
