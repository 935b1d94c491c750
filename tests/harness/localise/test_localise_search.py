"""The search by itself, between hosts that are made up: long traces, other programs, liars, hosts that fail."""

import numpy as np
import pytest
from made_up import A, B, Host
from safetensors.numpy import save_file

from builder.errors import EnvironmentFault, IntegrityError, TimedOut
from builder.harness.compare.model import Status, TensorDiff
from builder.harness.localise import localise
from builder.harness.localise_causes import TABLE, argued, suspects
from builder.harness.localise_model import Found
from builder.harness.localise_outline import UNKNOWN, outline, split
from builder.harness.localise_segments import doubling, weighed
from builder.harness.trace import Hashes, read


def find(a, b):
    return localise(a.plain(), b.plain(), a, b)


@pytest.fixture
def pair(tmp_path):
    def make(count, parts=None, **about):
        return Host(tmp_path, "a", count, parts, **about), Host(tmp_path, "b", count, parts, **about)

    return make


@pytest.mark.parametrize("parts", [0, 1, 7, 99])
def test_an_operation(pair, parts):
    found = find(*pair(100, parts))
    assert (found.found, found.first.path, found.confirmed) == (Found.OPERATION, str(parts), True)
    assert found.runs == 2
    assert found.compared <= 9
    assert [diff.largest for diff in found.outputs] == [1]
    assert found.notes == ()


def test_values_that_agree_within_the_program_are_asked_for_alone(tmp_path):
    """A stretch of one operation may come to equal values where operations before it gave it others than alone."""
    a, b = (Host(tmp_path, name, 10, 4) for name in "ab")
    for host in (a, b):
        host.segments = steady(host.segments)
    found = find(a, b)
    assert (found.found, found.first.path, found.runs) == (Found.OPERATION, "4", 3)
    assert [(diff.name, diff.largest) for diff in found.outputs] == [("4:out0", 1)]


def steady(answer):
    """A host's answer about segments, with values that are the same on every host."""
    return lambda asked: (answer(asked)[0], {"in:x": np.zeros(2, np.float32), "out:x": np.zeros(2, np.float32)})


@pytest.mark.parametrize("alone", [7, 8])
def test_a_portable_kernel_is_asked_for_no_segments(pair, alone):
    """Unless its trace does not come to its outputs, which it promises."""
    a, b = pair(10, 7, alone=alone)
    for host in (a, b):
        outputs = {"y": {"sha256": host.plain()["y"] if alone == 7 else A}}
        host.about["receipt"] = {"result": {"outputs": {"tensors": outputs}, "profile": {"name": "portable"}}}
    found = find(a, b)
    assert (found.found, found.first.path, found.confirmed) == (Found.OPERATION, "7", True)
    assert ("segments" in [asked["mode"] for asked in a.asked]) == (alone == 8)


@pytest.mark.parametrize("parts", [3, 4095, 4096, 5999])
def test_a_trace_that_is_not_listed_whole(pair, parts):
    """6,000 leaves in chunks of 8: the chunk is found, then listed."""
    a, b = pair(6000, parts, level=3)
    found = find(a, b)
    assert (found.found, found.first.path) == (Found.OPERATION, str(parts))
    windows = [asked["window"] for asked in a.asked if "window" in asked]
    assert windows == ([] if parts < 4096 else [[parts // 8 * 8, parts // 8 * 8 + 4096]])
    assert found.compared <= 12 + 1 + 8


def test_hosts_that_divide_their_traces_differently(tmp_path):
    a, b = Host(tmp_path, "a", 5000, 4500, level=1), Host(tmp_path, "b", 5000, 4500, level=3)
    assert find(a, b).first.path == "4500"


def test_what_only_parts_compiled_together(pair):
    """Three operations fuse; the last two before the difference are dropped from the front one by one."""
    a, b = pair(200, 120, alone=10**9, fused=2)
    found = find(a, b)
    assert (found.found, found.fusion, found.inputs_equal) == (Found.SEGMENT, True, True)
    assert [one.path for one in found.operations] == ["118", "119", "120"]
    assert found.runs <= 12
    assert "each operation compiled alone gives the same bits on both" in found.notes
    assert "on b operations compiled alone come to other bits than compiled together" in found.notes


def test_what_parts_alone_but_later_together(pair):
    found = find(*pair(50, 30, alone=10))
    assert (found.found, found.first.path) == (Found.OPERATION, "30")
    assert any(note.startswith("compiled alone, the first operation that differs is mul") for note in found.notes)


def test_what_parts_alone_but_earlier_together(pair):
    found = find(*pair(50, 10, alone=30))
    assert (found.found, found.first.path) == (Found.OPERATION, "10")


def test_a_host_that_cannot_trace_each_operation(pair):
    found = find(*pair(60, 41, mode="hashes"))
    assert (found.found, found.first.path) == (Found.OPERATION, "41")
    assert found.notes[0].startswith("tracing each operation alone failed")


def test_a_loop_is_not_asked_for_piece_by_piece(pair):
    """What stands for many operations is cut before and after, what stands for one is not cut twice."""
    sizes = (1,) * 9 + (400,) + (1,) * 10
    assert weighed(sizes)(1, 20) == [9, 10]
    assert weighed((1,) * 80)(1, 80) == [10, 20, 30, 40, 50, 60, 70]
    assert weighed((1,) * 80)(31, 33) == [31, 32]
    for low, high in ((1, 2), (1, 20), (5, 6), (9, 10), (10, 11), (11, 20)):
        asked = weighed(sizes)(low, high)
        assert asked
        assert all(low <= cut < high for cut in asked)


def test_what_stands_before_a_loop_is_asked_for_first(pair):
    """Equation 60 is a loop of 300 passes; the hosts part before it, and it runs once: for the program's end."""
    a, b = pair(80, 40, alone=10**9, fused=1)
    for host in (a, b):
        host.loop = (60, 300)
    found = find(a, b)
    assert [one.path for one in found.operations] == ["39", "40"]
    segments = [asked for asked in a.asked if asked["mode"] == "segments"]
    assert sum(any(cut > 60 for cut in asked.get("cuts", ())) for asked in segments) == 1
    assert segments[-1] == {
        "version": 1, "mode": "segments", "frame": "", "cuts": [80], "segments": [[39, 41]], "values": True,
    }  # fmt: skip
    assert not any("compiled for segments" in note for note in found.notes)


def test_what_parts_behind_a_loop_is_found_too(pair):
    a, b = pair(80, 70, alone=10**9, fused=1)
    for host in (a, b):
        host.loop = (60, 300)
    assert [one.path for one in find(a, b).operations] == ["69", "70"]


def test_passes_are_asked_for_at_growing_distances():
    assert doubling(2, 1000) == [2, 3, 5, 9, 17, 33, 65]
    assert doubling(2, 6) == [2, 3, 5, 6]
    assert doubling(4, 5) == [4, 5]


def test_an_outline_counts_what_an_equation_stands_for(pair):
    a, _ = pair(3)
    leaves = [
        "0",
        "1/i0/0",
        "1/i0/1",
        "1/i1/0",
        "1/i1/1",
        "1",
        "2/b1/4/c0/0",
        "2/b1/4/i0/0",
        "2/b1/4/c1/0",
        "2/b1/4",
        "2",
    ]
    a.count, a.leaf = len(leaves), lambda at: Host.leaf(a, 0) | {"path": leaves[at]}
    found = outline(read(a.ask(b'{"mode": "hashes"}', 9).folder, Hashes))
    assert found.frames == {
        "": (1, 5, 5), "1/i0": (1, 1), "1/i1": (1, 1), "2/b1": (4,), "2/b1/4/c0": (1,), "2/b1/4/i0": (1,),
        "2/b1/4/c1": (1,),
    }  # fmt: skip
    assert found.passes == {"1": 2, "2/b1/4": 1}
    a.count, a.level = 5000, 1
    a.leaf = lambda at: Host.leaf(a, at)
    assert outline(read(a.ask(b'{"mode": "hashes"}', 9).folder, Hashes)) == UNKNOWN


@pytest.mark.parametrize("after", range(1, 8))
def test_where_time_runs_out_the_narrowest_is_named(pair, after, monkeypatch):
    a, b = pair(200, 120, alone=10**9, fused=2)
    honest = a.ask

    def slow(request, seconds):
        if len(a.asked) == after:
            raise TimedOut("it was not done in time")
        return honest(request, seconds)

    a.ask = slow
    found = find(a, b)
    if after == 1:  # nothing is known but that single operations agree
        assert found.found is Found.NOTHING
        assert "each operation compiled alone gives the same bits on both" in found.notes
        assert "time ran out before compiled segments showed where the hosts part" in found.notes
        return
    assert found.found is Found.SEGMENT
    assert (int(found.operations[0].path), int(found.operations[-1].path)) >= (0, 120)
    assert int(found.operations[0].path) <= 118
    late = any(note.startswith("time ran out") for note in found.notes)
    assert late == (after < 7)


def test_after_its_time_a_search_asks_nothing_more(pair):
    a, b = pair(100, 50)
    found = localise(a.plain(), b.plain(), a, b, seconds=0)
    assert (found.found, found.runs, a.asked) == (Found.NOTHING, 0, [])
    assert found.notes[0] == "tracing each operation alone failed: the search was not done in time"


def test_hashing_every_operation_leaves_time_for_segments(pair):
    a, b = pair(100, 50)
    given = []
    honest = a.ask

    def noted(request, seconds):
        given.append(seconds)
        return honest(request, seconds)

    a.ask = noted
    localise(a.plain(), b.plain(), a, b, seconds=100)
    assert 40 < given[0] <= 50
    assert all(50 < seconds <= 100 for seconds in given[1:])


def test_each_question_is_said(pair):
    said = []

    class Told:
        def advance(self, amount=1):
            said.append(amount)

        def note(self, text):
            said.append(text)

    a, b = pair(100, 50)
    localise(a.plain(), b.plain(), a, b, step=Told())
    assert said == ["hash of every operation", 1, "2 cuts and 1 segment", 1]


def test_a_host_that_is_gone(pair):
    with pytest.raises(EnvironmentFault):
        find(*pair(60, 41, mode="dead"))


def test_nothing_parts_any_more(pair):
    a, b = pair(20)
    found = localise({"y": A}, {"y": B}, a, b)
    assert (found.found, found.first) == (Found.NOTHING, None)
    assert "a gave other outputs this time than in the run that is to be explained" in found.notes
    assert "this time both gave the same outputs" in found.notes


def test_another_program(tmp_path):
    a, b = Host(tmp_path, "a", 20, 12), Host(tmp_path, "b", 20, 12, primitives={7: "add"})
    found = find(a, b)
    assert (found.found, [one.primitive for one in found.operations]) == (Found.PROGRAM, ["mul", "add"])
    assert found.suspects[0].influence == "program"


def test_a_program_that_is_longer(tmp_path):
    found = find(Host(tmp_path, "a", 20, 20), Host(tmp_path, "b", 22, 20))
    assert (found.found, [one.path for one in found.operations]) == (Found.PROGRAM, ["20"])


def test_a_liar_about_its_tree(pair):
    a, b = pair(20, 5)
    honest = b.hashes

    def lie(asked):
        document, tensors = honest(asked)
        return document | {"root": A}, tensors

    b.hashes = lie
    with pytest.raises(IntegrityError, match="the root is not that of the chunks"):
        find(a, b)


def test_a_liar_about_how_many_cuts_it_was_asked_for(pair):
    a, b = pair(20, 5)
    honest = b.segments

    def lie(asked):
        document, tensors = honest(asked)
        return document | {"cuts": []}, tensors

    b.segments = lie
    with pytest.raises(IntegrityError, match="not what was asked for"):
        find(a, b)


def test_paths():
    assert split("7") == ("", "7")
    assert split("12/0/3") == ("", "12/0/3")
    assert split("12/i3/4/0") == ("12/i3", "4/0")
    assert split("1/b0/2/c11/5") == ("1/b0/2/c11", "5")


# --- suspects


def receipts(a, b, **facts):
    def receipt(environment, host):
        return {"result": {"profile": {"environment": environment}}, "host": host}

    return receipt(a, {}), receipt(b, facts)


def names(found):
    return [suspect.influence for suspect in found]


def test_a_variable_that_differs_comes_first():
    assert names(suspects(["reduce_sum"], (), receipts({"NPROC": "1"}, {"NPROC": "2"})))[0] == "threads"
    flags = {"XLA_FLAGS": "--xla_a=1 --xla_cpu_prefer_vector_width=256"}, {"XLA_FLAGS": "--xla_a=1"}
    found = suspects(["reduce_sum"], (), receipts(*flags))
    assert (found[0].influence, found[0].seen) == ("vector-width", ("xla_cpu_prefer_vector_width",))


def test_a_quotient_by_a_root_is_an_estimate_where_it_is_fused():
    assert names(suspects(["sqrt", "div"], (), ({}, {}), fused=True))[0] == "rsqrt-approximation"


def test_a_fact_that_differs_comes_before_none():
    assert names(suspects(["reduce_sum"], (), receipts({}, {}, cores=1)))[0] == "threads"
    assert names(suspects(["reduce_sum"], (), receipts({}, {}, features=["fma"])))[0] == "vector-width"


@pytest.mark.parametrize("receipt", [{}, {"result": 1}, {"result": {"profile": []}}, {"host": 3}])
def test_receipts_that_say_nothing(receipt):
    assert names(suspects(["tanh"], (), (receipt, receipt))) == ["fma-contraction", "fast-math", "compiler"]


def test_every_row_can_be_suspected():
    seen = {name for row in TABLE for name in names(suspects(row.acts_on, (), ({}, {})))}
    assert seen | {"flush-to-zero"} == {row.influence for row in TABLE}


def test_every_knob_makes_its_influence_the_first_suspect():
    for row in TABLE:
        for knob in row.knobs:
            flags = {"XLA_FLAGS": f"--{knob}=1"} if knob.startswith("xla_") else {knob: "1"}
            assert names(suspects(row.acts_on, (), receipts(flags, {})))[0] == row.influence, knob


def test_caches_that_differ_are_seen():
    found = suspects(["dot_general"], (), receipts({}, {}, caches_kernel=["L1 data 32768"]))
    assert (found[0].influence, found[0].seen) == ("cache-sizes", ("caches_kernel",))


def test_parameters_that_differ_may_have_been_computed_differently():
    assert names(argued(["parameter"], ({}, {}))) == ["weights"]
    found = argued(["parameter"], receipts({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}, features=["avx512f"]))
    assert [(one.influence, one.seen) for one in found] == [
        ("weights", ()), ("numpy-dispatch", ("features",)), ("hash-seed", ("PYTHONHASHSEED",)),
    ]  # fmt: skip
    assert names(argued(["key"], receipts({}, {}, features=["avx512f"]))) == ["seed"]


def test_zero_against_a_subnormal_is_flushing(tmp_path):
    from builder.harness.compare.differ import diff

    def compared(a, b, dtype):
        for name, value in (("a", a), ("b", b)):
            (tmp_path / name).mkdir(exist_ok=True)
            save_file({"x": np.array([value], dtype)}, tmp_path / name / "outputs.safetensors")
        return diff(tmp_path / "a", tmp_path / "b")

    for a, b, dtype, flushed in [
        (1e-40, 0.0, np.float32, True),
        (-0.0, -1e-40, np.float32, True),
        (1e-30, 0.0, np.float32, False),
        (0.0, -0.0, np.float32, False),
        (1e-310, 0.0, np.float64, True),
        (1e-40j, 0.0, np.complex64, True),
        (1, 0, np.int32, False),
    ]:
        found = suspects(["mul"], compared(a, b, dtype), ({}, {}))
        assert (found[0].influence == "flush-to-zero") == flushed, (a, b, dtype)
    missing = TensorDiff("x", Status.ONLY_A, "float32", None, (1,), None)
    assert names(suspects(["mul"], (missing,), ({}, {})))[0] != "flush-to-zero"
