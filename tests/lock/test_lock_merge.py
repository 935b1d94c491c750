from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lock_samples import AMD64, ARM64, deb, wheel

from builder.lock.merge import merged
from builder.store.artifact import Artifact

NEEDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["image", "toolchain", "tools"]),
        st.sampled_from([AMD64, ARM64]),
    ),
    max_size=12,
)


def found(needs: list[tuple[str, str, str]]) -> list[Artifact]:
    return [
        deb(name, architecture="all", number=ord(name), roles=(role,), platforms=(platform,))
        for name, role, platform in needs
    ]


def claims(artifacts: tuple[Artifact, ...]) -> list[tuple[str, str, str]]:
    return [(item.name, role, platform) for item in artifacts for role in item.roles for platform in item.platforms]


def test_equal_artifacts_become_one() -> None:
    needs = [("a", role, platform) for role in ("toolchain", "image") for platform in (ARM64, AMD64)]
    assert merged(found(needs)) == (
        deb("a", architecture="all", number=ord("a"), roles=("image", "toolchain"), platforms=(AMD64, ARM64)),
    )


def test_a_stanza_never_says_too_much() -> None:
    first, second = merged(found([("a", "image", AMD64), ("a", "toolchain", AMD64), ("a", "toolchain", ARM64)]))
    assert (first.roles, first.platforms) == (("image", "toolchain"), (AMD64,))
    assert (second.roles, second.platforms) == (("toolchain",), (ARM64,))


def test_different_bytes_stay_apart() -> None:
    assert len(merged([wheel("x", number=1, platforms=(AMD64,)), wheel("x", number=2, platforms=(ARM64,))])) == 2


@given(NEEDS)
def test_merging_keeps_exactly_what_was_found_in_any_order(needs: list[tuple[str, str, str]]) -> None:
    result = merged(found(needs))
    assert sorted(claims(result)) == sorted(set(needs))
    assert merged(found(needs[::-1])) == result
    assert merged(result) == result
