"""Where two trees part: by the tree's own hashes, in few comparisons; and the same trees as the runtime's."""

from hypothesis import given
from hypothesis import strategies as st

from builder.harness.trace_merkle import Parting, head, leaf_hash, parting, raised
from kernels.runtime.trace_merkle import Tree

HASHES = st.lists(st.sampled_from([b"a" * 32, b"b" * 32, b"c" * 32]), max_size=50)


def first_difference(a, b):
    for index, (one, two) in enumerate(zip(a, b, strict=False)):
        if one != two:
            return index
    return None if len(a) == len(b) else min(len(a), len(b))


@given(HASHES, HASHES)
def test_the_first_difference_is_found(a, b):
    found = parting(a, b)
    assert (None if found is None else found.index) == first_difference(a, b)


@given(st.integers(1, 3000), st.data())
def test_in_as_many_comparisons_as_the_tree_is_high(count, data):
    a = [index.to_bytes(32) for index in range(count)]
    place = data.draw(st.integers(0, count - 1))
    b = [*a[:place], *(bytes([1]) + one[1:] for one in a[place:])]
    found = parting(a, b)
    assert found.index == place
    assert found.compared <= (count - 1).bit_length() + 1


def test_trees_that_are_equal_as_far_as_they_go():
    a = [leaf_hash(b"x"), leaf_hash(b"y")]
    assert parting(a, a) is None
    assert parting([], []) is None
    assert parting(a, a[:1]) == Parting(1, 1)
    assert parting([], a) == Parting(0, 1)


@given(st.lists(st.binary(max_size=2), max_size=60), st.sampled_from([2, 4, 8]))
def test_it_is_the_tree_that_the_runtime_grows(leaves, most):
    tree = Tree(most)
    for data in leaves:
        tree.add(data)
    hashes = [leaf_hash(data) for data in leaves]
    assert head(hashes) == head(tree.chunks()) == tree.root()
    assert raised(hashes, tree.level) == tree.chunks()
    assert raised(tree.chunks(), 1) == raised(hashes, tree.level + 1)
