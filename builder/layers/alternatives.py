"""The alternatives system: which candidate wins, the links that make it so, and update-alternatives' own records."""

from __future__ import annotations

from collections.abc import Iterable

from builder.errors import SpecError
from builder.layers.effects import Alternative, Slave
from builder.layers.entry import Kind
from builder.layers.rootfs import Root

_ADMIN = "var/lib/dpkg/alternatives"


def install_alternatives(candidates: Iterable[Alternative], root: Root) -> None:
    """Make the links of every group of candidates.

    The highest priority wins; among equals, which update-alternatives settles by order of installation, the first by
    path. A slave link is made only where the file that it would lead to exists, and none replaces a file.

    Raises:
        SpecError: candidates of one name disagree about its link, or none of them exists.
    """
    groups: dict[str, list[Alternative]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.name, []).append(candidate)
    for name, group in sorted(groups.items()):
        usable = [one for one in group if root.find(one.path[1:]) is not None]
        if not usable:
            continue
        links = {one.link for one in usable}
        if len(links) > 1:
            raise SpecError(f"packages want the alternative {name} at different places: {', '.join(sorted(links))}")
        best = min(usable, key=lambda one: (-one.priority, one.path))
        _link(best.link, name, best.path, root)
        for slave in best.slaves:
            if root.find(slave.path[1:]) is not None:
                _link(slave.link, slave.name, slave.path, root)
        root.write(f"{_ADMIN}/{name}", _record(usable).encode())


def _link(link: str, name: str, path: str, root: Root) -> None:
    """`link` leads to `/etc/alternatives/name`, and that to `path`."""
    old = root.at(link[1:])
    if old is not None and old.kind is not Kind.SYMLINK:
        return
    root.link(link[1:], f"/etc/alternatives/{name}")
    root.link(f"etc/alternatives/{name}", path)


def _record(group: list[Alternative]) -> str:
    """The file that update-alternatives keeps of a group: mode, link, slaves, then each candidate with its slaves."""
    slaves: dict[str, Slave] = {slave.name: slave for one in group for slave in one.slaves}
    lines = ["auto", group[0].link]
    for name, slave in sorted(slaves.items()):
        lines += [name, slave.link]
    lines.append("")
    for one in sorted(group, key=lambda one: one.path):
        own = {slave.name: slave.path for slave in one.slaves}
        lines += [one.path, str(one.priority), *(own.get(name, "") for name in sorted(slaves))]
    lines.append("")
    return "\n".join(lines) + "\n"
