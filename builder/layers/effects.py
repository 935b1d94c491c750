"""What a maintainer script does to the root, said as data, and the hand that does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import SpecError
from builder.layers.entry import Kind
from builder.layers.rootfs import Root


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory, unless something is there."""

    path: str
    mode: int = 0o755
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A shipped default copied to where it is used, unless something is there; owner and mode go along."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Write:
    """A file of fixed text, unless something is there."""

    path: str
    text: str = ""
    mode: int = 0o644
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink, unless a file or link is there; an empty directory gives way."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Slave:
    """A link that follows an alternative's choice."""

    link: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """One candidate of `update-alternatives --install`; all paths as that command takes them, with a leading slash."""

    link: str
    name: str
    path: str
    priority: int
    slaves: tuple[Slave, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Something that needs the whole root and is done once, whoever asks for it."""

    name: Literal["certificates", "shells", "sysusers"]


Effect = Folder | Copy | Write | Link | Alternative | Step


def apply(effects: Iterable[Effect], root: Root) -> None:
    """Carry out the effects that concern single paths; alternatives and steps are left to their own modules.

    Raises:
        SpecError: a file that a script copies is not in the root.
    """
    for effect in effects:
        match effect:
            case Folder(path, mode, gid):
                root.folder(path, mode=mode, gid=gid)
            case Write(path, text, mode, gid) if root.at(path) is None:
                root.write(path, text.encode(), mode=mode, gid=gid)
            case Copy(source, path) if root.at(path) is None:
                _copy(source, path, root)
            case Link(path, target):
                old = root.at(path)
                if old is None or old.kind is Kind.DIRECTORY:
                    root.link(path, target)
            case _:
                pass


def _copy(source: str, path: str, root: Root) -> None:
    entry, data = root.find(source), root.read(source)
    if entry is None or data is None:
        raise SpecError(f"a package's script copies /{source} to /{path}, but no package ships that file")
    root.write(path, data, mode=entry.mode, gid=entry.gid)
