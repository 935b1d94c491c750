"""The Merkle tree of a trace (docs/trace.md, section 4): its head, and where two trees first part.

Written apart from the runtime's own, which makes the tree: what an image claims is computed again here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def head(hashes: Sequence[bytes]) -> bytes:
    """The hash of the tree over leaves, or over aligned subtrees of one size of which the last may be smaller."""
    return levels(hashes)[-1][0] if hashes else hashlib.sha256().digest()


def levels(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """All nodes, from the bottom up; an odd last one rises as it is."""
    found = [list(hashes)]
    while len(found[-1]) > 1:
        below = found[-1]
        above = [node_hash(*below[index : index + 2]) for index in range(0, len(below) - 1, 2)]
        found.append(above + below[2 * len(above) :])
    return found


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two trees first part: the index at the bottom, and how many pairs of nodes were compared to find it."""

    index: int
    compared: int


def parting(a: Sequence[bytes], b: Sequence[bytes]) -> Parting | None:
    """Find the first difference by descending from the head; None if there is none.

    Args:
        a: one tree's leaves or aligned subtrees, in order.
        b: the other's, of the same size. One may have more: then they part where the shorter one ends, at the latest.
    """
    common = min(len(a), len(b))
    ours, theirs = levels(a[:common]), levels(b[:common])
    compared = 1
    if not common or ours[-1] == theirs[-1]:
        return Parting(common, compared) if len(a) != len(b) else None
    index = 0
    for mine, others in zip(reversed(ours[:-1]), reversed(theirs[:-1]), strict=True):
        index *= 2
        compared += 1
        if mine[index] == others[index]:
            index += 1  # the two above differ, so these must
    return Parting(index, compared)


def raised(hashes: Sequence[bytes], by: int) -> list[bytes]:
    """The nodes that stand some levels above, each over twice as many leaves per level; the last may have fewer."""
    size = 1 << by
    return [head(hashes[start : start + size]) for start in range(0, len(hashes), size)]
