"""The Merkle tree over a trace's leaves: RFC 9162 section 2.1, grown leaf by leaf in bounded memory.

Of a long trace only aligned subtrees are kept, `MOST_CHUNKS` of them at most: whoever compares two traces finds the
subtree that differs among these, and asks for its leaves.
"""

from __future__ import annotations

import hashlib

MOST_CHUNKS = 4096


def leaf(data: bytes) -> bytes:
    """The hash of a leaf; its first byte keeps it apart from any inner node's."""
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(hashes: list[bytes]) -> bytes:
    """The head of a tree whose leaves, or aligned subtrees of one size (the last may be smaller), have these hashes."""
    if not hashes:
        return hashlib.sha256().digest()
    # Pairing level by level and carrying an odd last node up splits at the largest power of two, as the RFC does.
    while len(hashes) > 1:
        paired = [node(hashes[index], hashes[index + 1]) for index in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(paired) * 2 :]
    return hashes[0]


class Tree:
    """A tree that grows. Each chunk has `1 << level` leaves, the last one maybe fewer."""

    def __init__(self, most: int = MOST_CHUNKS) -> None:
        """Start empty.

        Args:
            most: chunks to keep; even, so that pairs of them can be merged without a rest.
        """
        self.leaves = 0
        self.level = 0
        self._most = most
        self._chunks: list[bytes] = []
        self._open: list[tuple[int, bytes]] = []  # complete subtrees of the chunk that grows, by level, largest first

    def add(self, data: bytes) -> None:
        """Append one leaf."""
        if len(self._chunks) == self._most and not self._open:
            self._chunks = [node(*self._chunks[index : index + 2]) for index in range(0, self._most, 2)]
            self.level += 1
        level, current = 0, leaf(data)
        while self._open and self._open[-1][0] == level:
            current = node(self._open.pop()[1], current)
            level += 1
        self._open.append((level, current))
        self.leaves += 1
        if level == self.level:
            self._chunks.append(self._open.pop()[1])

    def chunks(self) -> list[bytes]:
        """The hashes of the aligned subtrees, in order."""
        return self._chunks + ([self._rest()] if self._open else [])

    def root(self) -> bytes:
        """The tree's head."""
        return root(self.chunks())

    def _rest(self) -> bytes:
        current = self._open[-1][1]
        for _, left in reversed(self._open[:-1]):
            current = node(left, current)
        return current
