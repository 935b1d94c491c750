"""The lock: the name, size and hash of every byte that a build may use.

A lock is a pure function of the spec and of what the signed registries said when it was written; a build only reads it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.platforms import Platform
from builder.store.artifact import Artifact, Sha256

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]

FORMAT = 2
"""Version of everything between locked bytes and digest: tar, codec parameters, synthesised files, config. A kbuild
that cannot reproduce the format that a lock names refuses it."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Index(_Table):
    """A signed InRelease that Debian artifacts were resolved from."""

    registry: Literal["debian", "debian-security"]
    suite: str
    path: str
    sha256: Sha256
    size: int
    date: str
    """The file's own `Date`, as `YYYY-MM-DDTHH:MM:SSZ`; the snapshot archive is asked for this moment."""


class Codec(_Table):
    """How layer blobs are compressed; see `builder.layers.codec`."""

    name: Literal["zstd"] = "zstd"
    version: str
    level: int


CODEC = Codec(version="1.5.7", level=3)
"""What new locks name; the packer refuses any other."""


class Built(_Table):
    """What the lock's first build gave; later builds of the same sources must give it again."""

    sources: Digest
    """Digest over the kernel's own files (code, native sources, local weights) and those that kbuild adds."""
    index: Digest
    platforms: dict[Platform, Digest]


class Nixpkgs(_Table):
    """The tree of one revision of nixpkgs, out of which the Nix backend takes the compiler."""

    rev: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    nar_hash: Annotated[str, Field(pattern=r"^sha256-[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    """SHA-256 of the tree's Nix archive, as flakes write it."""
    size: Annotated[int, Field(ge=1)]
    """Bytes of that archive."""


class Lock(_Table):
    """One lock file, in the order in which it is written."""

    version: Literal[1] = 1
    spec: Digest
    format: int
    epoch: Annotated[int, Field(ge=315532800)]
    """Seconds since 1970: the newest `Date` among the indexes. Layer times are clamped to it; `created` is it."""
    codec: Codec
    image: Built | None = None
    nixpkgs: Nixpkgs | None = None
    index: tuple[Index, ...]
    artifact: tuple[Artifact, ...]
