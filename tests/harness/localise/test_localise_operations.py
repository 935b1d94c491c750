"""Two lists of operations: the first entry that differs is found wherever it is planted, from the lists alone."""

import copy

import pytest
from made_up import B, Host

from builder.errors import UsageError
from builder.harness.localise_model import Found
from builder.harness.operations import Dispute, first_parting, rulings
from builder.harness.trace import Hashes, Judgement, untrue

COUNT = 21


def listed(folder, name, parts=None, *, count=COUNT, level=0, stop=4096):
    """The list of a made-up host."""
    host = Host(folder, name, count, parts, level=level)
    document, _ = host.hashes({"window": [0, stop]})
    if level:
        document["starts"] = [str(at) for at in range(0, count, 1 << level)]
    found = Hashes.model_validate(document | {"mode": "operations"})
    assert untrue(found) is None
    return found


@pytest.mark.parametrize("place", range(COUNT))
def test_what_is_planted_is_found_where_it_is(tmp_path, place):
    found = first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", place))
    assert (found.found, found.index, found.among, found.start) == (Found.OPERATION, place, 1, str(place))
    assert found.a.inputs == found.b.inputs
    assert found.operation.source.line == 2
    assert str(found).startswith("equal operands, other results: mul")


def test_equal_lists(tmp_path):
    assert first_parting(listed(tmp_path, "a"), listed(tmp_path, "b")) is None
    assert first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", level=2)) is None
    assert Dispute((COUNT, COUNT), None, None).lines() == ["all 21 operations are equal"]
    assert Dispute((COUNT, COUNT), None, None).document() == {"entries": [21, 21], "parted": None, "referee": None}


@pytest.mark.parametrize("levels", [(2, 2), (2, 0), (0, 2)])
@pytest.mark.parametrize("place", range(COUNT))
def test_beyond_what_is_listed_it_is_one_of_few(tmp_path, place, levels):
    """Lists show their first eight entries, and hashes over four of those behind."""
    one = listed(tmp_path, "a", level=levels[0], stop=8)
    found = first_parting(one, listed(tmp_path, "b", place, level=levels[1], stop=8))
    if place < 8:
        assert (found.index, found.among, found.start) == (place, 1, str(place))
    else:
        first = place // 4 * 4
        assert (found.index, found.among, found.start) == (first, min(4, COUNT - first), str(first))
        assert str(found) == f"one of {found.among} operations from {first} on"


def test_a_list_that_ends_before_the_other(tmp_path):
    found = first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", count=COUNT + 3))
    assert (found.found, found.index, found.a) == (Found.PROGRAM, COUNT, None)
    assert str(found).startswith("the programs differ: mul")


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"primitive": "key", "inputs": [], "outputs": [B]}, Found.ARGUMENT), ({"parameters": "c" * 64}, Found.PROGRAM)],
)
def test_other_values_to_begin_with_and_other_programs(tmp_path, change, kind):
    document = listed(tmp_path, "a", count=1).model_dump(mode="json")
    leaf = document["window"]["leaves"][0]
    if kind is Found.ARGUMENT:
        leaf |= {"primitive": "key"}
    other = copy.deepcopy(document)
    other["window"]["leaves"][0] |= change
    other["chunks"] = ["e" * 64]
    found = first_parting(Hashes.model_validate(document), Hashes.model_validate(other))
    assert (found.found, found.index) == (kind, 0)


def judgement(leaf, **change):
    return Judgement.model_validate(
        {"version": 1, "mode": "referee", "places": {}, "operations": [leaf.model_dump() | change]}
    )


def test_the_referee_says_who_was_right(tmp_path):
    found = first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", 9))
    assert rulings(found, judgement(found.b, referee=found.a.outputs)) == (True, False)
    assert rulings(found, judgement(found.a, referee=found.b.outputs)) == (False, True)
    settled = Dispute((COUNT, COUNT), found, rulings(found, judgement(found.a, referee=("0" * 64,))))
    assert settled.document()["referee"] == {"a": False, "b": False}
    assert settled.document()["parted"]["source"] == {"file": "model.py", "line": 2, "function": "f"}
    assert settled.lines()[-2:] == [f"  {one} did not give what the referee gives" for one in "ab"]


@pytest.mark.parametrize("change", [{"path": "8"}, {"inputs": ["0" * 64]}, {"parameters": "0" * 64}])
def test_an_answer_about_something_else(tmp_path, change):
    found = first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", 9))
    with pytest.raises(UsageError, match="was not asked about 9"):
        rulings(found, judgement(found.a, referee=found.a.outputs, **change))


def test_no_operation_to_judge(tmp_path):
    found = first_parting(listed(tmp_path, "a"), listed(tmp_path, "b", count=COUNT + 1))
    with pytest.raises(UsageError, match="part at no operation"):
        rulings(found, judgement(found.b, referee=found.b.outputs))
