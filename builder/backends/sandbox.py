"""A sandbox as data, and the bubblewrap command line that makes it.

Inside: a root that is read-only, private /proc, /dev and /tmp, the mounts that are named, one process tree, no network,
no environment but the stated one, user and group 0 without any capability, the host name `kbuild`. Every namespace is
the sandbox's own, so no privilege is needed outside; root gets the same sandbox as anyone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

EMULATOR = "/.kbuild/emulator"
"""Where a foreign image's emulator is, inside."""

OWN = frozenset({".kbuild", "dev", "proc", "sys", "tmp"})
"""Names directly below / that the sandbox provides itself, whatever the root has there."""

_GCC = re.compile(r"([a-z0-9_]+-linux-gnu-)?(gcc|g\+\+)(-[0-9]+)?")
"""What GCC's drivers are called, native and cross."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host file or folder, seen at the absolute path `target` inside."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class RootName:
    """A name directly below the root folder, and its text if it is a symlink."""

    name: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Emulator:
    """A static qemu-user on the host that runs the root's programs, and the CPU it should be (its default if None).

    `options` are more of its own, before the program's name.
    """

    path: Path
    cpu: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One command in a closed world.

    `root` becomes /, whose names are `names`. `argv[0]` is absolute. `env` is the whole environment (bubblewrap adds
    PWD). `topology` shows the host's /sys, read-only: XLA's thread pools read the CPU's caches from there.
    """

    root: Path
    names: tuple[RootName, ...]
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    cwd: str = "/"
    topology: bool = False
    emulator: Emulator | None = None


def root_names(root: Path) -> tuple[RootName, ...]:
    """What stands directly below a folder that is to become a sandbox's root."""
    with os.scandir(root) as found:
        return tuple(
            RootName(item.name, str(Path(item.path).readlink()) if item.is_symlink() else None)
            for item in sorted(found, key=lambda item: item.name)
        )


def command(bwrap: Path, sandbox: Sandbox) -> list[str]:
    """The command line that starts a sandbox.

    The root of bubblewrap's own mount namespace is an empty tmpfs. The root folder's names are bound into it one by
    one, so that mount points that the folder lacks can be made without writing to it.

    Raises:
        ValueError: a mount would hide a part of the root, or lies outside of all that can be mounted.
    """
    given = {_top(mount.target) for mount in sandbox.mounts} | OWN
    shadowed = {item.name for item in sandbox.names} & ({_top(mount.target) for mount in sandbox.mounts} - {"io"})
    if shadowed or any(_top(mount.target) in OWN for mount in sandbox.mounts):
        raise ValueError(f"mounts over the root's own folders: {sorted(shadowed) or sorted(given)}")
    line = [
        str(bwrap),
        *("--unshare-user", "--unshare-all", "--uid", "0", "--gid", "0", "--hostname", "kbuild"),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv"),
    ]
    for name, value in sorted(sandbox.env.items()):
        line += ("--setenv", name, value)
    for item in sandbox.names:
        if item.name in given:
            continue
        if item.link is None:
            line += ("--ro-bind", str(sandbox.root / item.name), f"/{item.name}")
        else:
            line += ("--symlink", item.link, f"/{item.name}")
    # A builder that is root would hand its image the kernel's settings (core_pattern and its like) to write to.
    line += ("--proc", "/proc", "--remount-ro", "/proc")
    line += ("--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108 - its own
    if sandbox.topology:
        line += ("--ro-bind", "/sys", "/sys")
    if sandbox.emulator:
        line += ("--ro-bind", str(sandbox.emulator.path), EMULATOR)
    for mount in sandbox.mounts:
        line += ("--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target)
    line += ("--remount-ro", "/", "--chdir", sandbox.cwd, "--")
    return [*line, *(emulated(sandbox.argv, sandbox.emulator) if sandbox.emulator else sandbox.argv)]


def emulated(argv: Sequence[str], emulator: Emulator) -> list[str]:
    """A command as the emulator has to run it.

    qemu-user runs one program; what that program starts is up to the kernel, which refuses foreign binaries unless
    binfmt_misc is set up for them, and that takes privileges. Of all that actions run only GCC starts programs, and it
    starts them under a wrapper on request.
    """
    line = [EMULATOR, *(("-cpu", emulator.cpu) if emulator.cpu else ()), *emulator.options]
    if _GCC.fullmatch(PurePosixPath(argv[0]).name):
        return [*line, argv[0], "-wrapper", ",".join(line), *argv[1:]]
    return [*line, *argv]


def environment(pairs: Iterable[tuple[str, str]], *, epoch: int) -> dict[str, str]:
    """An action's environment: its own, and the one clock that tools agreed on."""
    return {"SOURCE_DATE_EPOCH": str(epoch), **dict(pairs)}


def _top(target: str) -> str:
    return PurePosixPath(target).parts[1]
