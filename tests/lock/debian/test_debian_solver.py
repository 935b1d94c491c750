from __future__ import annotations

import itertools
import operator
import subprocess
import sys
from collections.abc import Sequence

import pytest
from debian_archive import universe
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import ResolveError
from builder.lock.debian.packages import Package
from builder.lock.debian.relations import Relation
from builder.lock.debian.solver import IMPLICIT, resolve
from builder.lock.debian.universe import Universe


def solve(there: Universe, *roots: str) -> list[str]:
    return [str(package) for package in resolve(roots, there, implicit=())]


def names(there: Universe, *roots: str) -> str:
    return " ".join(package.name for package in resolve(roots, there, implicit=()))


def refusal(there: Universe, *roots: str) -> ResolveError:
    with pytest.raises(ResolveError) as caught:
        resolve(roots, there, implicit=())
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


# --- one rule, one universe -------------------------------------------------------------------------------------------


def test_depends_and_pre_depends_and_nothing_weaker() -> None:
    there = universe("a 1; Depends: b; Pre-Depends: c; Recommends: d; Suggests: e\nb 1\nc 1\nd 1\ne 1")
    assert names(there, "a") == "a b c"


def test_cycles_are_no_problem() -> None:
    assert names(universe("a 1; Depends: b\nb 1; Depends: c\nc 1; Depends: a"), "a") == "a b c"


def test_implicit_roots_are_there_without_being_asked_for() -> None:
    there = universe(
        """
        base-files 1; Essential: yes; Pre-Depends: awk
        base-passwd 1
        mawk 1; Provides: awk
        a 1
        dash 1; Essential: yes
        """
    )
    assert IMPLICIT == ("base-files", "base-passwd")
    assert [package.name for package in resolve(["a"], there)] == ["a", "base-files", "base-passwd", "mawk"]


def test_the_highest_version_of_all_suites() -> None:
    there = universe("a 1.9", "a 1.10", "a 1.2")
    assert solve(there, "a") == ["a 1.10"]


def test_the_same_version_comes_from_the_first_suite() -> None:
    there = universe("a 1", "a 1")
    (package,) = resolve(["a"], there, implicit=())
    assert package.suite == "one"


def test_a_pinned_version() -> None:
    there = universe("a 1; Depends: b (= 1)\nb 1", "a 2; Depends: b (= 2)\nb 2")
    assert solve(there, "a=1") == ["a 1", "b 1"]
    assert solve(there, "a") == ["a 2", "b 2"]


def test_versioned_relations() -> None:
    there = universe(
        """
        b 1
        b 2
        b 3
        a1 1; Depends: b (<< 3)
        a2 1; Depends: b (<= 2)
        a3 1; Depends: b (= 1)
        a4 1; Depends: b (>= 2), b (<< 3~)
        """
    )
    assert [solve(there, f"a{number}")[1] for number in (1, 2, 3, 4)] == ["b 2", "b 2", "b 1", "b 2"]


def test_the_first_alternative() -> None:
    assert names(universe("a 1; Depends: b | c\nb 1\nc 1"), "a") == "a b"


def test_the_first_alternative_that_there_is() -> None:
    assert names(universe("a 1; Depends: gone | b (>= 2) | c\nb 1\nc 1"), "a") == "a c"


def test_an_alternative_that_is_chosen_already_adds_nothing() -> None:
    there = universe("a 1; Depends: b | c, d\nb 1\nc 1\nd 1; Depends: e\ne 1; Depends: c")
    assert names(there, "a") == "a c d e"


def test_an_alternative_chosen_by_another_root_adds_nothing() -> None:
    assert names(universe("a 1; Depends: b | c\nb 1\nc 1"), "a", "c") == "a c"


def test_a_virtual_package() -> None:
    assert names(universe("a 1; Depends: mta\nexim 1; Provides: mta"), "a") == "a exim"


def test_the_real_package_before_a_provider() -> None:
    assert names(universe("a 1; Depends: x\naa 1; Provides: x; Priority: required\nx 1"), "a") == "a x"


def test_a_provider_before_the_next_alternative() -> None:
    assert names(universe("a 1; Depends: x | y\nz 1; Provides: x\ny 1"), "a") == "a z"


def test_providers_by_essential_then_priority_then_name() -> None:
    lines = [
        "d 1; Provides: x; Essential: yes",
        "c 1; Provides: x; Priority: required",
        "a 1; Provides: x; Priority: extra",
        "b 1; Provides: x",
    ]
    expected = ["d", "c", "b", "a"]
    for order in itertools.permutations(lines):
        remaining = list(order)
        for winner in expected:
            assert names(universe("r 1; Depends: x\n" + "\n".join(remaining)), "r") == " ".join(sorted(["r", winner]))
            remaining = [line for line in remaining if not line.startswith(winner)]


def test_versioned_provides() -> None:
    there = universe("a 1; Depends: x (>= 2)\nb 9; Provides: x\nc 1; Provides: x (= 1)\nd 1; Provides: x (= 2)")
    assert names(there, "a") == "a d"


def test_a_package_may_depend_on_what_it_provides() -> None:
    assert names(universe("a 1; Depends: x (>= 1); Provides: x (= 1)\nb 1; Provides: x (= 3)"), "a") == "a"


@pytest.mark.parametrize(
    ("qualifier", "multi_arch", "ok"),
    [
        ("any", "allowed", True),
        ("any", "foreign", False),
        ("any", "no", False),
        ("native", "no", True),
        ("amd64", "no", True),
        ("arm64", "no", False),
    ],
)
def test_architecture_qualifiers(qualifier: str, multi_arch: str, *, ok: bool) -> None:
    there = universe(f"a 1; Depends: b:{qualifier}\nb 1; Multi-Arch: {multi_arch}")
    if ok:
        assert names(there, "a") == "a b"
    else:
        assert f"b:{qualifier}" in refusal(there, "a").message


def test_architecture_restrictions() -> None:
    text = """
        a 1; Architecture: all; Depends: b [amd64], c [arm64], d [!amd64] | e
        b 1; Architecture: all
        c 1; Architecture: all
        d 1; Architecture: all
        e 1; Architecture: all
        """
    assert names(universe(text), "a") == "a b e"
    assert names(universe(text, architecture="arm64"), "a") == "a c d"


def test_all_and_the_own_architecture_only() -> None:
    there = universe("a 1; Depends: b | c\nb 1; Architecture: arm64\nc 1; Architecture: all")
    assert names(there, "a") == "a c"


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_conflicts_choose_another_alternative(field: str) -> None:
    there = universe(f"a 1; Depends: b | c, d\nb 1\nc 1\nd 1; {field}: b")
    assert names(there, "a") == "a c d"


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_conflicts_work_from_either_side(field: str) -> None:
    there = universe(f"a 1; Depends: b | c, d\nb 1; {field}: d\nc 1\nd 1")
    assert names(there, "a") == "a c d"


def test_conflicts_choose_a_lower_version() -> None:
    there = universe("a 1; Depends: b\na 1.1; Depends: b, c\nb 1\nb 2; Breaks: c\nc 1; Breaks: b (>= 2)")
    assert solve(there, "a", "c") == ["a 1.1", "b 1", "c 1"]
    assert solve(there, "b") == ["b 2"]


def test_a_versioned_conflict_spares_other_versions() -> None:
    there = universe("a 1; Breaks: b (<< 2), c (<< 2); Depends: b, c\nb 1\nb 2\nc 3")
    assert solve(there, "a") == ["a 1", "b 2", "c 3"]


def test_a_conflict_with_a_virtual_package_strikes_its_other_providers() -> None:
    there = universe(
        """
        exim 1; Provides: mta; Conflicts: mta
        postfix 1; Provides: mta; Conflicts: mta
        a 1; Depends: postfix | x, mta
        x 1
        """
    )
    assert names(there, "a") == "a postfix"
    assert names(there, "exim", "a") == "a exim x"
    assert "postfix" in refusal(there, "exim", "postfix").message


def test_a_versioned_conflict_spares_unversioned_provides() -> None:
    assert names(universe("a 1; Conflicts: x (<< 5)\nb 1; Provides: x"), "a", "b") == "a b"
    refusal(universe("a 1; Conflicts: x (<< 5)\nb 1; Provides: x (= 4)"), "a", "b")


def test_a_package_does_not_conflict_with_its_own_name() -> None:
    assert names(universe("a 1; Conflicts: a, x; Provides: x"), "a") == "a"


def test_a_conflict_that_no_one_needs_removes_nothing_and_adds_nothing() -> None:
    assert names(universe("a 1; Conflicts: b\nb 1"), "a") == "a"


def test_backtracking_through_several_decisions() -> None:
    there = universe(
        """
        root 1; Depends: p | q, r | s, t
        p 1; Depends: p2
        p2 1; Conflicts: t2
        q 1
        r 1; Conflicts: t3
        s 1
        t 1; Depends: t2, t3
        t2 1
        t3 1
        """
    )
    assert names(there, "root") == "q root s t t2 t3"


def test_a_version_given_up_leaves_nothing_behind() -> None:
    there = universe(
        "a 1; Depends: b, c\nb 2; Depends: only-for-2\nb 1\nonly-for-2 1\nc 1; Depends: d\nd 1; Depends: b (= 1)"
    )
    assert solve(there, "a") == ["a 1", "b 1", "c 1", "d 1"]


def test_a_root_that_only_one_package_provides() -> None:
    assert names(universe("mawk 1; Provides: awk"), "awk") == "mawk"


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_unknown_with_a_suggestion() -> None:
    error = refusal(universe("python3 3\npython3-numpy 1\nperl 5"), "pyton3")
    assert error.message == "there is no package pyton3"
    assert error.hint == "did you mean python3?"


def test_unknown_without_any() -> None:
    assert "did you mean" not in (refusal(universe("a 1"), "zzzzzz").hint or "")


def test_a_pinned_version_that_is_gone() -> None:
    error = refusal(universe("a 1.1", "a 1.2"), "a=1.0")
    assert error.message == "a is not there in version 1.0, but in 1.2, 1.1"
    assert "a=1.2" in (error.hint or "")


def test_a_pinned_version_of_nothing() -> None:
    assert "no package b" in refusal(universe("a 1"), "b=1.0").message


def test_a_virtual_root_with_several_providers() -> None:
    error = refusal(universe("mawk 1; Provides: awk\ngawk 1; Provides: awk"), "awk")
    assert error.message == "awk is not a package, but provided by gawk, mawk"


def test_the_chain_of_who_asked() -> None:
    there = universe("a 1; Depends: b\nb 2; Depends: c\nc 3; Depends: d (>= 5)\nd 4")
    error = refusal(there, "a")
    assert error.message == (
        "the packages do not fit together: c 3 (for b 2, for a 1) needs d (>= 5), but d is there in 4"
    )
    assert error.where == "Debian one for amd64"


def test_the_chain_through_a_choice() -> None:
    there = universe("a 1; Depends: x\nb 1; Provides: x; Depends: gone\nc 1; Provides: x; Depends: gone2")
    message = refusal(there, "a").message
    assert "b 1 (for a 1) needs gone, but there is no gone" in message
    assert "c 1 (for a 1) needs gone2, but there is no gone2" in message


def test_what_is_only_provided() -> None:
    there = universe("a 1; Depends: x (>= 2)\nb 1; Provides: x")
    assert "x is only provided by b 1" in refusal(there, "a").message


def test_two_that_exclude_each_other() -> None:
    message = refusal(universe("a 1; Conflicts: b\nb 1"), "a", "b").message
    assert "a 1 does not go with b 1" in message
    assert "the spec needs b" in message


def test_two_pins_of_one_package() -> None:
    message = refusal(universe("a 1\na 2"), "a=1", "a=2").message
    assert "a=1" in message
    assert "a=2" in message


def test_two_dependencies_that_disagree() -> None:
    there = universe("a 1; Depends: c (= 1)\nb 1; Depends: c (= 2)\nc 1\nc 2")
    message = refusal(there, "a", "b").message
    assert "a 1 needs c (= 1)" in message
    assert "b 1 needs c (= 2)" in message


# --- properties -------------------------------------------------------------------------------------------------------

_NAMES = "abcde"


@st.composite
def small_universes(draw: st.DrawFn) -> list[str]:
    """Stanzas over five names in two versions, dense enough that half of them can't be solved."""
    relation = st.builds(
        lambda name, bound: name + bound,
        st.sampled_from([*_NAMES, "v", "w"]),
        st.sampled_from(["", "", " (= 1)", " (= 2)", " (>= 2)", " (<< 2)"]),
    )
    group = st.lists(relation, min_size=1, max_size=3).map(" | ".join)
    lines = []
    for name in _NAMES:
        for version in draw(st.sampled_from([("1",), ("2",), ("1", "2")])):
            line = f"{name} {version}"
            for field, items, most in (("Depends", group, 2), ("Conflicts", relation, 1), ("Breaks", relation, 1)):
                chosen = draw(st.lists(items, max_size=most))
                line += f"; {field}: {', '.join(chosen)}" if chosen else ""
            provided = draw(st.lists(st.sampled_from(["v", "v (= 1)", "w", "w (= 2)", "a (= 2)"]), max_size=1))
            line += f"; Provides: {provided[0]}" if provided else ""
            lines.append(line)
    return lines


_COMPARE = {"<<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">>": operator.gt}


def meets(package: Package, relation: Relation) -> bool:
    """Policy 7.1 and 7.5, once more and by hand."""
    ways = [(package.name, package.version), *((item.name, item.version) for item in package.provides)]
    for name, version in ways:
        if name == relation.name:
            if relation.operator is None:
                return True
            if version is not None and _COMPARE[relation.operator](int(version), int(relation.version or 0)):
                return True
    return False


def closed(chosen: Sequence[Package]) -> bool:
    for package in chosen:
        for group in package.depends:
            if not any(meets(other, relation) for other in chosen for relation in group):
                return False
        for relation in package.conflicts:
            if any(other.name != package.name and meets(other, relation) for other in chosen):
                return False
    return True


@settings(max_examples=300, deadline=None)
@given(small_universes(), st.sets(st.sampled_from(_NAMES), min_size=1, max_size=2))
def test_an_answer_holds_and_a_refusal_is_right(lines: list[str], roots: set[str]) -> None:
    there = universe("\n".join(lines))
    every = {name: there.versions(name) for name in _NAMES}
    try:
        chosen = resolve(sorted(roots), there, implicit=())
    except ResolveError as error:
        told = error.message
        chosen = None
    if chosen is None:
        assert "\n" not in told
        for pick in itertools.product(*((None, *every[name]) for name in _NAMES)):
            world = [package for package in pick if package is not None]
            if {package.name for package in world} >= roots:
                assert not closed(world), f"{told}\nbut {[str(package) for package in world]} works"
        return
    assert {package.name for package in chosen} >= roots
    assert [package.name for package in chosen] == sorted({package.name for package in chosen})
    assert closed(chosen)


@settings(max_examples=50, deadline=None)
@given(small_universes(), st.randoms())
def test_the_order_of_stanzas_does_not_matter(lines: list[str], random: object) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def answer(order: list[str]) -> list[str] | str:
        try:
            return solve(universe("\n".join(order)), "a", "b")
        except ResolveError as error:
            return error.message

    assert answer(lines) == answer(shuffled)


def test_hash_seeds_do_not_matter() -> None:
    program = """
import sys
from debian_archive import universe
from builder.lock.debian.solver import resolve
lines = [f"p{i} 1; Depends: v{i % 7} | q{i % 5}, p{(i * 7 + 1) % 40}; Provides: v{i % 11}" for i in range(40)]
there = universe("\\n".join(lines + [f"q{i} 1; Conflicts: p{i * 3}" for i in range(5)]))
print([str(p) for p in resolve(["p3", "q4"], there, implicit=())])
"""
    paths = ":".join(path for path in sys.path if path)
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(answers) == 1
    assert "p3 1" in answers.pop()
