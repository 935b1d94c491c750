"""Layers laid over each other: what an image's file system is, whoever stacks its layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from builder.layers.entry import Kind
from builder.layers.order import sort_key
from builder.render.mtree import Item


def flatten(layers: Iterable[Sequence[Item]]) -> list[Item]:
    """The tree that layers make, the last on top, in canonical order.

    A path is what the highest layer says of it; a file over a folder hides all that was below. A hard link whose file
    is hidden by a higher layer stays the file that it was.
    """
    visible: dict[str, tuple[int, Item]] = {}
    files: list[dict[str, Item]] = []
    for number, items in enumerate(layers):
        files.append({item.entry.path: item for item in items if item.entry.kind is Kind.FILE})
        for item in items:
            path = item.entry.path
            known = visible.get(path)
            if known and known[1].entry.kind is Kind.DIRECTORY and item.entry.kind is not Kind.DIRECTORY:
                for hidden in [name for name in visible if name.startswith(f"{path}/")]:
                    del visible[hidden]
            visible[path] = number, item
    firsts: dict[tuple[int, str], str] = {}
    found: list[Item] = []
    for path in sorted(visible, key=sort_key):
        number, item = visible[path]
        if item.entry.kind is Kind.HARDLINK:
            item = _linked(item, files[number][item.entry.target], number, visible, firsts)
        found.append(item)
    return found


def _linked(
    item: Item,
    origin: Item,
    number: int,
    visible: dict[str, tuple[int, Item]],
    firsts: dict[tuple[int, str], str],
) -> Item:
    """A hard link as it is once its file may be hidden: the first of the links that are left becomes the file."""
    target = item.entry.target
    if visible.get(target) == (number, origin):
        return item
    first = firsts.setdefault((number, target), item.entry.path)
    if first == item.entry.path:
        return replace(origin, entry=replace(origin.entry, path=first))
    return replace(item, entry=replace(item.entry, target=first))
