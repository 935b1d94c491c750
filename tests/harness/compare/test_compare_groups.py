"""Grouping by what runs gave, and comparing a group with the reference's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from compare_samples import write
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.harness.compare.groups import groups
from builder.harness.compare.model import Status
from builder.harness.compare.parted import differences
from builder.harness.verdict import HostRun, Member, Verdict, Verification
from builder.hosts.host import Conditions
from builder.progress import Silent

BOTH = ("linux/amd64", "linux/arm64")
TOGETHER = dict.fromkeys(BOTH, BOTH)


def run(host: str, outputs: dict[str, str] | None, **more: object) -> HostRun:
    facts = {"platform": "linux/amd64", "case": "one", "repeat": 1} | more
    receipt = outputs and {"result": {"outputs": {"tensors": {k: {"sha256": v} for k, v in outputs.items()}}}}
    return HostRun(
        host=host, kind="local", conditions=Conditions(), verdict=Verdict.EQUAL if outputs else Verdict.FAILED,
        receipt=receipt or None, folder=None, seconds=1.0, **facts,
    )  # fmt: skip


def test_runs_are_grouped_per_output() -> None:
    found = groups([
        run("a", {"x": "1", "y": "1"}), run("b", {"x": "2", "y": "1"}), run("c", None),
        run("d", {"x": "1", "y": "1"}), run("e", {"x": "2", "y": "3"}),
    ])  # fmt: skip
    assert [(group.output, group.sha256, [m.host for m in group.members], group.reference) for group in found] == [
        ("x", "1", ["a", "d"], True), ("x", "2", ["b", "e"], False),
        ("y", "1", ["a", "b", "d"], True), ("y", "3", ["e"], False),
    ]  # fmt: skip


def test_platforms_and_cases_are_never_mixed() -> None:
    found = groups([
        run("arm", {"x": "2"}, platform="linux/arm64"), run("a", {"x": "1"}),
        run("arm", {"x": "1"}, platform="linux/arm64", case="two"), run("a", {"x": "1"}, case="two"),
    ])  # fmt: skip
    assert [(group.platforms, group.case, len(group.members), group.reference) for group in found] == [
        (("linux/amd64",), "one", 1, True), (("linux/amd64",), "two", 1, True),
        (("linux/arm64",), "one", 1, True), (("linux/arm64",), "two", 1, True),
    ]  # fmt: skip


def test_platforms_that_are_held_to_each_other_share_groups_and_a_reference() -> None:
    found = groups(
        [run("arm", {"x": "1"}, platform="linux/arm64"), run("a", {"x": "1"}), run("b", {"x": "2"})], TOGETHER
    )
    assert [(group.platforms, [m.host for m in group.members], group.reference) for group in found] == [
        (BOTH, ["arm", "a"], True), (BOTH, ["b"], False),
    ]  # fmt: skip


def test_the_first_that_delivers_is_the_reference() -> None:
    found = groups([run("dead", None), run("b", {"x": "2"}), run("a", {"x": "1"}), run("a", {"x": "1"}, repeat=2)])
    assert [(group.members, group.reference) for group in found] == [
        ((Member("b", 1),), True), ((Member("a", 1), Member("a", 2)), False),
    ]  # fmt: skip


def test_an_output_that_the_reference_lacks_has_no_reference_group() -> None:
    found = groups([run("a", {"x": "1"}), run("b", {"x": "1", "more": "1"})])
    assert [(group.output, group.reference) for group in found] == [("more", False), ("x", True)]


@given(st.lists(st.tuples(
    st.sampled_from(["linux/amd64", "linux/arm64"]), st.sampled_from(["one", "two"]),
    st.dictionaries(st.sampled_from("xyz"), st.sampled_from("123")),
), max_size=8), st.sampled_from([{}, TOGETHER]))  # fmt: skip
def test_every_run_is_in_exactly_one_group_per_output(
    facts: list[tuple[str, str, dict[str, str]]], held: dict[str, tuple[str, ...]]
) -> None:
    runs = [
        run(f"host{place}", outputs, platform=platform, case=case)
        for place, (platform, case, outputs) in enumerate(facts)
    ]
    found = groups(runs, held)
    placed = [(member.host, group.output, group.sha256) for group in found for member in group.members]
    assert sorted(placed) == sorted(
        (f"host{place}", output, sha256)
        for place, (_, _, outputs) in enumerate(facts)
        for output, sha256 in outputs.items()
    )
    assert all(group.members for group in found)
    keys = [(group.platforms, group.case, group.output, group.sha256) for group in found]
    assert len(set(keys)) == len(keys)


def verified(folder: Path, **values: dict[str, bytes]) -> Verification:
    runs = []
    for host, outputs in values.items():
        (folder / host).mkdir()
        write(folder / host / "outputs.safetensors", **{name: ("U8", [1], data) for name, data in outputs.items()})
        hashes = {name: data.hex() for name, data in outputs.items()}
        runs.append(dataclasses.replace(run(host, hashes), folder=folder / host))
    return Verification("k", "sha256:0", {}, ("one",), tuple(runs), groups(runs))


def test_one_difference_per_group_that_parts(tmp_path: Path) -> None:
    given = {"x": b"1", "y": b"1"}
    found = differences(
        verified(tmp_path, a=given, b=given | {"x": b"2"}, c=given | {"x": b"2"}, d={"x": b"3", "y": b"9"}),
        progress=Silent(),
    )
    assert [(item.tensor.name, item.a.host, item.b.host, item.tensor.largest) for item in found] == [
        ("x", "a", "b", 1), ("x", "a", "d", 2), ("y", "a", "d", 8),
    ]  # fmt: skip


def test_a_difference_between_platforms(tmp_path: Path) -> None:
    one = verified(tmp_path, a={"x": b"1"}, b={"x": b"3"})
    runs = (one.runs[0], dataclasses.replace(one.runs[1], platform="linux/arm64"))
    found = dataclasses.replace(one, runs=runs, groups=groups(runs, TOGETHER), peers=TOGETHER)
    (item,) = differences(found, progress=Silent())
    assert (item.platforms, item.a.host, item.b.host, item.tensor.largest) == (BOTH, "a", "b", 2)
    apart = dataclasses.replace(one, runs=runs, groups=groups(runs))
    assert differences(apart, progress=Silent()) == ()


def test_an_output_that_the_reference_lacks_is_a_difference(tmp_path: Path) -> None:
    found = differences(verified(tmp_path, a={"x": b"1"}, b={"x": b"1", "more": b"1"}), progress=Silent())
    assert [(item.tensor.name, item.tensor.status) for item in found] == [("more", Status.ONLY_B)]


def test_outputs_that_are_gone_are_an_error(tmp_path: Path) -> None:
    verification = verified(tmp_path, a={"x": b"1"}, b={"x": b"2"})
    (tmp_path / "b" / "outputs.safetensors").unlink()
    with pytest.raises(UsageError, match="no outputs here"):
        differences(verification, progress=Silent())
