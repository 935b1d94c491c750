"""The image's root: packages laid over each other, and everything that their scripts would have made, synthesised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from builder.layers.accounts import declare_accounts, hide_passwords, list_shells
from builder.layers.alternatives import install_alternatives
from builder.layers.certificates import trust_certificates
from builder.layers.deb import Deb
from builder.layers.dpkgdb import record_packages
from builder.layers.effects import Alternative, Effect, Step, apply
from builder.layers.entry import Entry
from builder.layers.ldso import link_libraries
from builder.layers.merge import merge
from builder.layers.order import ordered
from builder.layers.rootfs import Root
from builder.layers.scripts import script_effects

_MOUNT_POINTS: Final = {
    "dev": 0o755,
    "proc": 0o755,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "io": 0o755,
    "io/in": 0o755,
    "io/out": 0o755,
}
"""What a host mounts over when it runs the image; base-files ships the first five itself."""


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
    effects = script_effects(debs, allow=allow_scripts)
    root = Root((owned.entry for owned in merge(debs).values()), epoch)
    for path, mode in _MOUNT_POINTS.items():
        root.folder(path, mode=mode)
    apply(effects, root)
    _finish(effects, debs, root)
    return ordered(root.entries(), epoch=epoch)


def _finish(effects: Sequence[Effect], debs: Sequence[Deb], root: Root) -> None:
    """The parts that need the whole root: what makes links to libraries comes before the linker's cache."""
    steps = {effect.name for effect in effects if isinstance(effect, Step)}
    if "sysusers" in steps:
        declare_accounts(root)
    hide_passwords(root, packages=frozenset(deb.name for deb in debs))
    if "shells" in steps:
        list_shells(root)
    install_alternatives((effect for effect in effects if isinstance(effect, Alternative)), root)
    if "certificates" in steps:
        trust_certificates(root)
    link_libraries(root)
    if debs:
        record_packages(debs, root)
