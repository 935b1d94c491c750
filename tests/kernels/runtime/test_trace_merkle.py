"""The tree over a trace: published vectors, the RFC's own words, and growth in bounded memory."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runtime.trace_merkle import Tree, leaf, root

# Of Certificate Transparency's reference implementation (google/certificate-transparency, merkle_tree_test).
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def by_the_rfc(leaves):
    """RFC 9162, section 2.1.1, taken literally."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + by_the_rfc(leaves[:split]) + by_the_rfc(leaves[split:])).digest()


def grown(leaves, most):
    tree = Tree(most)
    for data in leaves:
        tree.add(data)
    return tree


@pytest.mark.parametrize("count", range(9))
def test_published_vectors(count):
    assert grown(LEAVES[:count], 4096).root().hex() == ROOTS[count]


@given(st.lists(st.binary(max_size=3), max_size=70), st.sampled_from([2, 4, 6, 10]))
def test_a_grown_tree_is_the_rfcs(leaves, most):
    tree = grown(leaves, most)
    assert tree.root() == by_the_rfc(leaves)
    assert tree.leaves == len(leaves)
    assert len(tree.chunks()) <= most
    size = 1 << tree.level
    assert tree.chunks() == [by_the_rfc(leaves[at : at + size]) for at in range(0, len(leaves), size)]
    assert tree.level == 0 or len(leaves) > most * size // 2  # no coarser than it must be


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=40))
def test_the_root_of_leaf_hashes(leaves):
    assert root([leaf(data) for data in leaves]) == by_the_rfc(leaves)
