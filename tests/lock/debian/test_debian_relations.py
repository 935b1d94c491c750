from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.lock.debian.relations import Relation, parse_groups, parse_list


def test_a_real_field() -> None:
    field = "libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0, perl:any,\n python3 (<< 3.14~)"
    assert parse_groups(field, "amd64") == (
        (Relation("libc6", "", ">=", "2.34"),),
        (Relation("debconf", "", ">=", "0.5"), Relation("debconf-2.0")),
        (Relation("perl", "any"),),
        (Relation("python3", "", "<<", "3.14~"),),
    )


def test_an_empty_field_and_a_trailing_comma() -> None:
    assert parse_groups("", "amd64") == ()
    assert parse_groups("a, ", "amd64") == ((Relation("a"),),)


def test_old_single_signs_mean_or_equal() -> None:
    assert parse_groups("a (< 1), b (> 2)", "amd64") == (
        (Relation("a", "", "<=", "1"),),
        (Relation("b", "", ">=", "2"),),
    )


def test_spaces_do_not_matter() -> None:
    assert parse_groups(" a(>=1) ,b  ( = 2 ) ", "amd64") == parse_groups("a (>= 1), b (= 2)", "amd64")


@pytest.mark.parametrize(
    ("restriction", "kept"),
    [
        ("amd64", True),
        ("arm64", False),
        ("i386 amd64", True),
        ("!amd64", False),
        ("!i386", True),
        ("any", True),
        ("linux-any", True),
        ("!linux-any", False),
        ("any-amd64", True),
    ],
)
def test_architecture_restrictions(restriction: str, *, kept: bool) -> None:
    assert parse_groups(f"a [{restriction}] | b [hurd-i386]", "amd64") == (((Relation("a"),),) if kept else ())


@pytest.mark.parametrize(
    "field",
    [
        "a (>= )",
        "a (1.0)",
        "a (>= 1.0",
        "a b",
        "| a",
        "a |",
        "a (~ 1)",
        "a (>= 1 2)",
        "a [amd64 !i386]",
        "a [ ]",
        "é",
        "a <!nocheck>",
        "-a",
        "a:",
    ],
)
def test_malformed(field: str) -> None:
    with pytest.raises(ValueError, match=r"not a|relation"):
        parse_groups(field, "amd64")


def test_no_alternatives_in_a_list() -> None:
    assert parse_list("a (= 1), b", "amd64") == (Relation("a", "", "=", "1"), Relation("b"))
    with pytest.raises(ValueError, match="alternatives"):
        parse_list("a | b", "amd64")


def test_a_versioned_relation_needs_a_version() -> None:
    assert not Relation("a", "", ">=", "1").admits(None)
    assert Relation("a").admits(None)
    assert Relation("a", "", ">=", "1").admits("1.5")
    assert not Relation("a", "", "=", "1").admits("1.5")


_RELATION = st.builds(
    Relation,
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,8}", fullmatch=True),
    st.sampled_from(["", "any", "native", "amd64"]),
)
_VERSIONED = st.builds(
    lambda plain, operator, version: Relation(plain.name, plain.qualifier, operator, version),
    _RELATION,
    st.sampled_from(["<<", "<=", "=", ">=", ">>"]),
    st.from_regex(r"[0-9][a-z0-9.~+]{0,6}", fullmatch=True),
)


@given(st.lists(st.lists(st.one_of(_RELATION, _VERSIONED), min_size=1, max_size=4), max_size=5))
def test_what_is_spelled_is_read_back(groups: list[list[Relation]]) -> None:
    field = ", ".join(" | ".join(map(str, group)) for group in groups)
    assert parse_groups(field, "amd64") == tuple(map(tuple, groups))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        groups = parse_groups(text, "amd64")
    except ValueError:
        return
    assert parse_groups(", ".join(" | ".join(map(str, group)) for group in groups), "amd64") == groups
