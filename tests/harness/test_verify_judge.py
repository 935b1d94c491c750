"""Verdicts from how runs ended: pure."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.harness.judge import judge
from builder.harness.peers import STRANGERS, Peers, peers
from builder.harness.verdict import HostRun, Verdict, Verification
from builder.hosts.host import Conditions, Runnable

AMD64, ARM64 = "linux/amd64", "linux/arm64"
ALONE, EQUAL, DIFFERS = Verdict.ALONE, Verdict.EQUAL, Verdict.DIFFERS
LOST = (Verdict.FAILED, Verdict.REFUSED, Verdict.TIMED_OUT)


def run(
    host: str,
    bits: str | None = "a",
    *,
    verdict: Verdict | None = None,
    platform: Any = AMD64,
    case: str = "one",
    repeat: int = 1,
    **result: Any,
) -> HostRun:
    """A run as it comes from `perform`: delivered with these bits, or lost."""
    given = {
        "spec": "s", "kernel": {}, "seed": 1, "x64": False, "inputs": {"sha256": case}, "protocol": 1, "index": "i",
        "image": platform, "platform": platform, "profile": {}, "versions": {}, "program": f"p-{platform}",
        "outputs": {"sha256": bits, "tensors": {}},
    }  # fmt: skip
    lost = bits is None
    return HostRun(
        host=host,
        kind="local",
        platform=platform,
        conditions=Conditions(),
        case=case,
        repeat=repeat,
        verdict=verdict or (Verdict.FAILED if lost else ALONE),
        receipt=None if lost else {"result": given | result},
        folder=None,
        seconds=1,
    )


def verdicts(*runs: HostRun, peers: Peers = STRANGERS) -> list[Verdict]:
    return [item.verdict for item in judge(runs, peers)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run("a"), run("b")], [EQUAL, EQUAL]),
        ([run("a"), run("b", "x"), run("c")], [EQUAL, DIFFERS, EQUAL]),
        ([run("a"), run("b", "x"), run("c", "x")], [EQUAL, DIFFERS, DIFFERS]),
        ([run("a")], [ALONE]),
        ([run("a"), run("a", repeat=2)], [ALONE, ALONE]),
        ([run("a"), run("a", "x", repeat=2)], [ALONE, DIFFERS]),
        ([run("a"), run("b", None)], [ALONE, Verdict.FAILED]),
        ([run("a", None), run("b"), run("c", "x")], [Verdict.FAILED, EQUAL, DIFFERS]),
        ([run("a"), run("b", "x", platform=ARM64)], [ALONE, ALONE]),
        ([run("a"), run("b"), run("c", "x", platform=ARM64), run("d", platform=ARM64)], [EQUAL, EQUAL, EQUAL, DIFFERS]),
        ([run("a"), run("b"), run("a", "x", case="two"), run("b", "x", case="two")], [EQUAL] * 4),
        ([], []),
    ],
)
def test_verdicts(runs, expected):
    assert verdicts(*runs) == expected


PORTABLE = {"profile": {"name": "portable", "threads": 2, "numerics": 1}}
TOGETHER = dict.fromkeys((AMD64, ARM64), (AMD64, ARM64))


@pytest.mark.parametrize(
    ("bits", "expected"),
    [("aa", [EQUAL, EQUAL]), ("ax", [EQUAL, DIFFERS])],
)
def test_a_portable_kernel_is_compared_across_platforms(bits, expected):
    runs = [run("a", bits[0], **PORTABLE), run("b", bits[1], platform=ARM64, **PORTABLE)]
    assert verdicts(*runs, peers=TOGETHER) == expected
    assert verdicts(*runs) == [ALONE, ALONE], "the images say which are compared, not the receipts"


@pytest.mark.parametrize("profile", [{"name": "pinned"}, {"name": "portable", "numerics": 2}, {"name": "portable"}])
def test_other_numerics_are_not_compared(profile):
    runs = [run("a", **PORTABLE), run("b", platform=ARM64, profile=profile), run("c", platform=ARM64, **PORTABLE)]
    found = judge(runs, TOGETHER)
    assert [item.verdict for item in found] == [EQUAL, Verdict.FAILED, EQUAL]
    assert "other numerics" in found[1].error


def image(platform: Any, numerics: str | None) -> Runnable:
    return Runnable("k", platform, "sha256:0", (), (), {}, numerics=numerics)


@pytest.mark.parametrize(
    ("numerics", "expected"),
    [
        (("1.0", "1.0"), TOGETHER),
        ((None, None), {AMD64: (AMD64,), ARM64: (ARM64,)}),
        (("1.0", "2.0"), {AMD64: (AMD64,), ARM64: (ARM64,)}),
        (("1.0", None), {AMD64: (AMD64,), ARM64: (ARM64,)}),
    ],
)
def test_images_of_one_numeric_specification_are_held_to_each_other(numerics, expected):
    assert peers([image(ARM64, numerics[1]), image(AMD64, numerics[0])]) == expected


@pytest.mark.parametrize("lost", LOST)
def test_lost_runs_keep_their_verdict(lost):
    assert verdicts(run("a"), run("b", None, verdict=lost), run("c")) == [EQUAL, lost, EQUAL]


@pytest.mark.parametrize(
    ("name", "value"),
    [("inputs", {"sha256": "other"}), ("seed", 2), ("spec", "t"), ("profile", {"threads": 3}), ("program", "q")],
)
def test_a_run_of_something_else_has_failed_even_with_equal_outputs(name, value):
    found = judge([run("a"), run("b", **{name: value}), run("c")])
    assert [item.verdict for item in found] == [EQUAL, Verdict.FAILED, EQUAL]
    assert name in found[1].error


def test_platforms_share_inputs_but_not_programs():
    assert verdicts(run("a"), run("b"), run("c", platform=ARM64), run("d", platform=ARM64)) == [EQUAL] * 4
    odd = run("c", platform=ARM64, inputs={"sha256": "other"})
    assert verdicts(run("a"), run("b"), odd, run("d", platform=ARM64)) == [EQUAL, EQUAL, Verdict.FAILED, ALONE]


RUNS = st.lists(
    st.builds(
        lambda host, bits, platform, verdict: run(host, bits, platform=platform, verdict=None if bits else verdict),
        st.sampled_from("abcd"), st.sampled_from(["x", "y", None]), st.sampled_from([AMD64, ARM64]),
        st.sampled_from(LOST),
    ),
    max_size=8,
)  # fmt: skip


@given(RUNS)
def test_what_holds_for_any_runs(runs):
    """Nothing is lost or merged, equal runs have equal bits, and all agree only if nothing is otherwise."""
    found = judge(runs)
    assert [(item.host, item.platform) for item in found] == [(item.host, item.platform) for item in runs]
    for before, after in zip(runs, found, strict=True):
        assert after.verdict == before.verdict or (before.verdict is ALONE and after.verdict.delivered)
    for one, two in itertools.combinations(found, 2):
        if one.platform == two.platform and one.verdict.delivered and two.verdict.delivered:
            same = one.receipt["result"]["outputs"] == two.receipt["result"]["outputs"]
            assert same or DIFFERS in (one.verdict, two.verdict)
            if one.verdict is two.verdict is EQUAL:
                assert same
    whole = Verification("k", "d", {}, ("one",), found, ())
    assert whole.agreed == (bool(found) and {item.verdict for item in found} == {EQUAL})
