"""Users, groups and login shells: base-passwd's, and those that packages declare in sysusers.d.

Nobody logs in to an image, so passwords are locked and no date of a password change is kept.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field
from typing import Final

from builder.errors import SpecError
from builder.layers.rootfs import Root

_FOLDER: Final = "usr/lib/sysusers.d"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.IGNORECASE)
_DYNAMIC: Final = range(999, 99, -1)
"""The IDs that systemd-sysusers gives out, from the top."""
_SHADOW_GROUP: Final = 42


@dataclass
class _Accounts:
    users: dict[str, list[str]]
    groups: dict[str, list[str]]
    taken: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Line:
    kind: str
    name: str
    id: str
    gecos: str
    home: str
    shell: str


def declare_accounts(root: Root) -> None:
    """Add the users and groups of every `sysusers.d` file (sysusers.d(5)) to `etc/passwd` and `etc/group`.

    Declared IDs are used; automatic ones are given out by name, so that they don't depend on any order.

    Raises:
        SpecError: a declaration is malformed, or contradicts another one.
    """
    names = [name for name in root.names(_FOLDER) if name.endswith(".conf")]
    lines = [line for name in names for line in _parse(root.read(f"{_FOLDER}/{name}") or b"", name)]
    if not lines:
        return
    accounts = _Accounts(_read(root, "etc/passwd", 7), _read(root, "etc/group", 4))
    accounts.taken = {int(row[2]) for table in (accounts.users, accounts.groups) for row in table.values()}
    for line in sorted(lines, key=lambda line: ("gum".index(line.kind), _automatic(line), line.name)):
        if line.kind == "g":
            _group(line.name, line.id, accounts)
        elif line.kind == "u":
            _user(line, accounts)
        else:
            _member(line, accounts)
    _write(root, "etc/passwd", accounts.users)
    _write(root, "etc/group", accounts.groups)


def hide_passwords(root: Root, *, packages: frozenset[str]) -> None:
    """What `shadowconfig on` does where the package `passwd` is installed: passwords move to files of their own."""
    if "passwd" not in packages:
        return
    for public, private, width in (("passwd", "shadow", 9), ("group", "gshadow", 4)):
        table = _read(root, f"etc/{public}", 7 if public == "passwd" else 4)
        tail = "::0:99999:7:::" if public == "passwd" else "::"
        hidden = {name: [name, *f"*{tail}".split(":")][:width] for name in table}
        if public == "group":
            for name, row in table.items():
                hidden[name][3] = row[3]
        _write(root, f"etc/{private}", hidden, mode=0o640, gid=_SHADOW_GROUP)
        for row in table.values():
            row[1] = "x"
        _write(root, f"etc/{public}", table)


def list_shells(root: Root) -> None:
    """Write `etc/shells` as `update-shells` does: the packages' shells, each also by its name in the merged root."""
    folder = "usr/share/debianutils"
    head = (root.read(f"{folder}/shells") or b"").decode(errors="replace").splitlines()
    known: dict[str, None] = {}
    for path in (f"{folder}/shells", *(f"{folder}/shells.d/{name}" for name in root.names(f"{folder}/shells.d"))):
        for line in (root.read(path) or b"").decode(errors="replace").splitlines():
            shell = line.partition("#")[0]
            if shell:
                known[shell] = None
                known[posixpath.join("/" + root.resolve(posixpath.dirname(shell)[1:]), posixpath.basename(shell))] = (
                    None
                )
    if known:
        added = [shell for shell in known if shell not in head]
        root.write("etc/shells", "".join(f"{line}\n" for line in (*head, *added)).encode())
        root.write("var/lib/shells.state", "".join(f"{shell}\n" for shell in known).encode())


def _automatic(line: _Line) -> bool:
    return line.id in ("-", "") or line.id.startswith("/")


def _parse(data: bytes, name: str) -> list[_Line]:
    found = []
    for number, text in enumerate(data.decode(errors="replace").splitlines(), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        where = f"/{_FOLDER}/{name}:{number}"
        try:
            kind, who, *rest = shlex.split(text)
        except ValueError as error:
            raise SpecError("a malformed line", where=where) from error
        kind = kind.rstrip("!-")
        if kind == "r":
            continue
        row = _Line(kind, who, *(*(word if word != "-" else "" for word in rest), "", "", "", "")[:4])
        if kind not in ("u", "g", "m") or not _NAME.fullmatch(who):
            raise SpecError(f"a declaration that is not understood: {text[:80]!r}", where=where)
        found.append(row)
    return found


def _group(name: str, number: str, accounts: _Accounts) -> int:
    if name not in accounts.groups:
        accounts.groups[name] = [name, "*", str(_choose(name, number, accounts)), ""]
    return int(accounts.groups[name][2])


def _user(line: _Line, accounts: _Accounts) -> None:
    if line.name in accounts.users:
        return
    number, _, group = line.id.partition(":")
    if group and not group.isdecimal():
        gid = int(accounts.groups[group][2]) if group in accounts.groups else _group(group, "", accounts)
        uid = _choose(line.name, number, accounts)
    elif group:
        gid, uid = int(group), _choose(line.name, number, accounts)
    elif line.name in accounts.groups and _automatic(line):
        gid = uid = int(accounts.groups[line.name][2])
    else:
        gid = uid = _group(line.name, number, accounts)
    shell = line.shell or "/usr/sbin/nologin"
    accounts.users[line.name] = [line.name, "*", str(uid), str(gid), line.gecos, line.home or "/", shell]


def _member(line: _Line, accounts: _Accounts) -> None:
    _group(line.id, "", accounts)
    members = accounts.groups[line.id][3]
    known = [member for member in members.split(",") if member]
    if line.name not in known:
        accounts.groups[line.id][3] = ",".join([*known, line.name])


def _choose(name: str, number: str, accounts: _Accounts) -> int:
    if number.isdecimal():
        chosen = int(number)
        if chosen > 65534:  # noqa: PLR2004
            raise SpecError(f"the account {name} declares the ID {chosen}", where=f"/{_FOLDER}")
    else:
        chosen = next((free for free in _DYNAMIC if free not in accounts.taken), 0)
        if not chosen:
            raise SpecError(f"no ID is left for the account {name}", where=f"/{_FOLDER}")
    accounts.taken.add(chosen)
    return chosen


def _read(root: Root, path: str, width: int) -> dict[str, list[str]]:
    rows = [line.split(":") for line in (root.read(path) or b"").decode(errors="replace").splitlines() if line]
    for row in rows:
        if len(row) != width or not row[2].isdecimal():
            raise SpecError(f"a malformed line: {':'.join(row)[:80]!r}", where=f"/{path}")
    return {row[0]: row for row in rows}


def _write(root: Root, path: str, table: dict[str, list[str]], *, mode: int = 0o644, gid: int = 0) -> None:
    root.write(path, "".join(":".join(row) + "\n" for row in table.values()).encode(), mode=mode, gid=gid)
