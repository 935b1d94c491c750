"""The plan: which layers an image has and what each is made of, before anything is fetched or run.

A plan is a pure function of spec, lock and the kernel's own files. Every layer has a key; equal keys mean equal bytes,
so a layer whose key the store knows is never made twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from builder.lock.model import Codec
from builder.plan.aot import Compilation
from builder.plan.compiler import Compiler
from builder.platforms import Platform
from builder.spec.model import Instructions, NativeTable
from builder.store.artifact import Artifact


class LayerKind(Enum):
    """What a layer holds, bottom of the image first: what changes least lies deepest."""

    BASE = "base"
    WHEEL = "wheel"
    WHEELS = "wheels"
    RUNTIME = "runtime"
    BYTECODE = "bytecode"
    WEIGHTS = "weights"
    NATIVE = "native"
    KERNEL = "kernel"
    AOT = "aot"


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A blob of the store and where it stands in the image."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class NativeObject:
    """One shared object to compile: its table in the spec and its sources, and what its code may hold."""

    name: str
    table: NativeTable
    flags: tuple[str, ...]
    sources: tuple[PlacedFile, ...]
    allowed: tuple[Instructions, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer to be made.

    `artifacts` are unpacked into it, `files` placed in it, `native` compiled into it. `python` is the image's Python
    ("3.13"), whose bytecode goes beside every module. `driver` compiles; which one it is depends on the machine that
    builds, but the layer does not. `allow_scripts` are maintainer scripts that may stay unrun. Of programs that are
    compiled ahead of time, `compilation` says how, `libraries` which layers of native objects they call, and `tools`
    what emulates the CPU.
    """

    name: str
    kind: LayerKind
    platform: Platform
    epoch: int
    format: int
    codec: Codec
    python: str
    artifacts: tuple[Artifact, ...] = ()
    files: tuple[PlacedFile, ...] = ()
    native: tuple[NativeObject, ...] = ()
    driver: Compiler | None = None
    interpreter: tuple[Artifact, ...] = ()
    allow_scripts: tuple[str, ...] = ()
    libraries: tuple[LayerPlan, ...] = ()
    compilation: Compilation | None = None
    tools: tuple[Artifact, ...] = ()

    @property
    def compiler(self) -> tuple[Artifact, ...]:
        """What the compiler is made of; empty if nothing is compiled."""
        return self.driver.artifacts() if self.driver else ()

    @property
    def runs(self) -> bool:
        """Whether something has to be run to make it, and so a backend."""
        return bool(self.interpreter or self.driver or self.compilation)

    def key(self) -> str:
        """Hex SHA-256 over everything that decides the layer's bytes, in RFC 8785 form."""
        import rfc8785  # noqa: PLC0415 - not needed to print a version

        body: dict[str, Any] = {
            "allow_scripts": list(self.allow_scripts),
            "artifacts": [[item.kind, item.name, item.version, item.sha256, *_placed(item)] for item in self.artifacts],
            "codec": [self.codec.name, self.codec.version, self.codec.level],
            "compiler": [item.sha256 for item in self.compiler],
            "driver": _driver(self.driver) if self.driver else [],
            "interpreter": [item.sha256 for item in self.interpreter],
            "epoch": self.epoch,
            "files": [[item.path, item.sha256] for item in self.files],
            "format": self.format,
            "kind": self.kind.value,
            "native": [
                [
                    item.name,
                    list(item.flags),
                    list(item.table.headers),
                    [[source.path, source.sha256] for source in item.sources],
                    *item.allowed,
                ]
                for item in self.native
            ],
            "platform": self.platform if self.native or self.kind is LayerKind.BASE else "",
            "python": self.python,
        }
        if self.compilation is not None:
            how = self.compilation
            body["aot"] = [how.level, how.cpu.model, how.profile, [list(pair) for pair in how.environment]]
            body["libraries"] = [layer.key() for layer in self.libraries]
            body["platform"] = self.platform
        return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def _driver(compiler: Compiler) -> list[str]:
    """What else decides how the compiler is called."""
    called = [compiler.name, compiler.version, compiler.platform, compiler.target, compiler.library, compiler.glibc]
    return [*called, compiler.nixpkgs.nar_hash, compiler.attribute] if compiler.nixpkgs else called


def _placed(item: Artifact) -> list[str]:
    """What else decides a weights layer: the file's name in the image, and what a member must hash to."""
    if item.member:
        return [item.member.path, item.member.sha256]
    return [item.path] if item.kind == "weights" else []


@dataclass(frozen=True, slots=True)
class PlatformPlan:
    """One platform's image: its layers from the bottom up, its environment and labels."""

    platform: Platform
    layers: tuple[LayerPlan, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a build is going to do."""

    name: str
    version: str
    epoch: int
    sources: str
    """Digest over what the lock does not name: the kernel's own files and those that kbuild ships."""
    platforms: tuple[PlatformPlan, ...]
    tools: tuple[Artifact, ...]
    annotations: Mapping[str, str]

    def layers(self) -> tuple[LayerPlan, ...]:
        """Every layer of every platform, each once, in order."""
        unique: dict[str, LayerPlan] = {}
        for image in self.platforms:
            for layer in image.layers:
                unique.setdefault(layer.key(), layer)
        return tuple(unique.values())
