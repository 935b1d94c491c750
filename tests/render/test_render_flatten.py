from __future__ import annotations

import trees
from hypothesis import given
from hypothesis import strategies as st

from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.render.flatten import flatten
from builder.render.mtree import Item


def layer(*entries: Entry) -> list[Item]:
    """Items whose hash says which file it is."""
    return [
        Item(entry, f"{entry.path} {entry.size}" if entry.kind is Kind.FILE else "")
        for entry in ordered(entries, epoch=trees.EPOCH)
    ]


def shown(items: list[Item]) -> dict[str, object]:
    """Path -> what is there: a file's hash, a link's target, or None for a folder."""
    return {item.entry.path: item.sha256 or item.entry.target or None for item in items}


def test_the_highest_layer_says_what_is_there() -> None:
    below = layer(trees.file("a", b"1"), trees.folder("d", mode=0o700), trees.file("d/x", b"1"))
    above = layer(trees.file("a", b"22"), trees.folder("d", mode=0o755))
    found = flatten([below, above])
    assert shown(found) == {"a": "a 2", "d": None, "d/x": "d/x 1"}
    assert found[1].entry.mode == 0o755


def test_a_file_over_a_folder_hides_all_below() -> None:
    below = layer(trees.file("d/x/y", b"1"), trees.file("d-e", b"1"))
    assert shown(flatten([below, layer(trees.symlink("d", "e"))])) == {"d": "e", "d-e": "d-e 1"}
    assert shown(flatten([below, layer(trees.file("d", b""))])) == {"d": "d 0", "d-e": "d-e 1"}


def test_a_folder_over_a_file() -> None:
    assert shown(flatten([layer(trees.file("d", b"1")), layer(trees.file("d/x", b"1"))])) == {"d": None, "d/x": "d/x 1"}


def test_hard_links_outlive_their_file() -> None:
    below = layer(trees.file("a", b"1"), trees.hardlink("b", "a"), trees.hardlink("c", "a"))
    found = flatten([below, layer(trees.file("a", b"22"))])
    assert shown(found) == {"a": "a 2", "b": "a 1", "c": "b"}
    assert [item.entry.kind for item in found] == [Kind.FILE, Kind.FILE, Kind.HARDLINK]
    assert found[1].entry.size == 1


def test_hard_links_of_two_layers_with_the_same_names() -> None:
    below = layer(trees.file("a", b"1"), trees.hardlink("b", "a"))
    above = layer(trees.file("a", b"22"), trees.hardlink("b", "a"))
    assert shown(flatten([below, above])) == {"a": "a 2", "b": "a"}


@given(st.lists(trees.trees(), max_size=4))
def test_what_comes_out_is_a_tree(layers: list[list[Entry]]) -> None:
    """Whatever lies over whatever, the result is canonical: parents stated, links to files, everything once."""
    found = flatten([layer(*entries) for entries in layers])
    entries = [item.entry for item in found]
    assert entries == ordered(entries)
    expected: dict[str, Kind] = {}
    for entries in layers:
        for entry in ordered(entries, epoch=0):
            if entry.kind is not Kind.DIRECTORY:
                expected = {path: kind for path, kind in expected.items() if not path.startswith(f"{entry.path}/")}
            expected[entry.path] = Kind.FILE if entry.kind is Kind.HARDLINK else entry.kind
    assert {
        item.entry.path: Kind.FILE if item.entry.kind is Kind.HARDLINK else item.entry.kind for item in found
    } == expected


def test_one_layer_is_itself() -> None:
    items = layer(*trees.fixed_tree())
    assert flatten([items]) == items
