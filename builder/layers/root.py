"""The image's root: packages laid over each other, and everything that their scripts would have made, synthesised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from builder.layers.deb import Deb
from builder.layers.entry import Entry, Kind
from builder.layers.merge import merge
from builder.layers.order import ordered


def root_entries(debs: Sequence[Deb], *, epoch: int, allow_scripts: Collection[str] = ()) -> list[Entry]:
    """Everything in the image that comes from the operating system's packages.

    Args:
        debs: the packages, in any order.
        epoch: seconds since 1970; later times are clamped to it, and it is the time of what is synthesised.
        allow_scripts: names of packages whose unknown scripts may be left unrun.

    Returns:
        The entries in canonical order, every parent among them.

    Raises:
        SpecError: packages conflict, or one has a script whose effect is not known.
        IntegrityError: the contents of a package are malformed.
    """
    tree = merge(debs)
    entries = [replace(owned.entry, mtime=min(owned.entry.mtime, epoch)) for owned in tree.values()]
    return ordered(entries, epoch=epoch)
