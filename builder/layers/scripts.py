"""Maintainer scripts, recognised instead of run.

A script's effect on a fresh installation is found in one of two ways. Scripts with logic of their own are listed in
`known_scripts.toml` by a fingerprint, with the effect that someone read out of them. All others must consist of
nothing but statements whose effect is known wherever they stand: the snippets that debhelper generates,
`update-alternatives --install`, `ucf` and the usual boilerplate around them. A script that is neither is an error,
until the spec names its package in `os.allow_scripts`, and then it has no effect.

`prerm` and `postrm` never run during an installation. `config` only asks debconf's questions (debconf-devel(7)): all
that it does reaches the system through the package's `postinst`, which has to be recognised itself.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from builder.errors import SpecError
from builder.layers.deb import Deb
from builder.layers.effects import Alternative, Copy, Effect, Folder, Link, Slave, Step, Write

TABLE: Final = Path(__file__).with_name("known_scripts.toml")

_RUN_ON_INSTALL: Final = ("preinst", "postinst")

_TRIPLET: Final = re.compile(r"\b(?:x86_64|aarch64)-linux-gnu\b")
_ARCHITECTURE: Final = re.compile(r"\b(?:amd64|arm64)\b")
_PYTHON: Final = re.compile(r"\bpython3\.(\d+)\b")
_COMMENT: Final = re.compile(r"[ \t]*#(?!!).*")

_NO_EFFECT: Final = frozenset(
    {
        ":",
        "deb-systemd-helper",  # units: nothing in an image boots
        "deb-systemd-invoke",
        "dpkg-maintscript-helper",  # leftovers of versions that were never installed
        "ldconfig",  # ld.so.cache is always made
        "py3compile",  # bytecode is made elsewhere, by the image's interpreter
        "pypy3compile",
        "pycompile",
        "systemctl",
        "systemd-tmpfiles",  # done at boot
        "true",
        "ucfr",
        "update-icon-caches",
        "update-menus",
        "update-rc.d",
        "invoke-rc.d",
    }
)
_SCAFFOLD: Final = re.compile(
    r"""
      set\ -[eu]+ | exit\ [01] | then | else | fi | esac | ;; | \} | true
    | case\ "?\$1"?\ in
    | \(?[a-z*|\ "'-]+\)(\ *;;)?                       # the arms of that case
    | _dh_action=[a-z-]+
    | echo\ "[^"$`]*(\\`\$1')?[^"$`]*"\ *>&2           # "postinst called with unknown argument"
    """,
    re.VERBOSE,
)
_CONDITION: Final = re.compile(r"(?:if|elif) (.*?) *; *then")
_NEVER: Final = re.compile(r"""(?:\[|test) (?:"?\$1"? = "?(?:upgrade|triggered)"?|-n "?\$2"?)(?: \])?""")
"""A test that fails on a fresh installation: dpkg runs `preinst install` and `postinst configure ''`."""
_TEST: Final = re.compile(
    r"""
      !?\ *(?:(?:\[|test)\ [^`$();|&<>]*(?:"?\$[12]"?[^`$();|&<>]*)*     # [ "$1" = configure ]
    | \[\ -[a-z]\ "?\$\(command\ -v\ [a-z-]+\)"?\ \]
    | \[\ -x\ "(?:\$DPKG_ROOT)?`command\ -v\ [a-z-]+`"\ \]
    | \[\ -z\ "\$DPKG_ROOT"\ \]
    | (?:command\ -v|which)\ [a-z0-9-]+(?:\ *2?>(?:&1|/dev/null))*
    | dpkg\ --compare-versions\ (?:--\ )?"?\$2"?\ [a-z-]+\ "?[^\s"`$();|&]+"?
    | deb-systemd-helper\ [^`$();|&]*)
    """,
    re.VERBOSE,
)
_TAIL: Final = re.compile(r"(?:\s*[12]?>+\s*(?:/dev/null|&[12])|\s*\|\|\s*(?:true|:|exit [01]))+$")
_LITERAL: Final = re.compile(r"[^`$();|&<>]*")
_OPTIONS: Final = re.compile(r'\$\{DPKG_ROOT:\+--root="\$DPKG_ROOT"\}|"\$@"|"\$[12]"|\$_dh_action')


class _Unknown(Exception):
    """A statement that none of the rules knows."""


def fingerprint(script: bytes) -> str:
    """Hex sha256 of a script without what may differ while its effect does not.

    Dropped are comment lines (debhelper writes its own version into them), empty lines and spaces at line ends; the
    architecture, its triplet and the minor version of Python stand as placeholders.
    """
    text = script.decode("utf-8", "surrogateescape")
    text = _PYTHON.sub("python3.@", _ARCHITECTURE.sub("@ARCH@", _TRIPLET.sub("@TRIPLET@", text)))
    lines = (line.rstrip() for line in text.split("\n"))
    kept = "\n".join(line for line in lines if line and not _COMMENT.fullmatch(line))
    return hashlib.sha256(kept.encode("utf-8", "surrogateescape")).hexdigest()


def script_effects(debs: Iterable[Deb], *, allow: Collection[str]) -> list[Effect]:
    """What the scripts of all packages would do to a fresh root, `base-files` first, then by package name.

    Args:
        debs: the packages.
        allow: names of packages whose unknown scripts are left unrun.

    Raises:
        SpecError: naming every script that is not recognised.
    """
    effects: list[Effect] = []
    unknown: list[str] = []
    packages: list[str] = []
    for deb in sorted(debs, key=lambda deb: (deb.name != "base-files", deb.name, deb.architecture)):
        for name in _RUN_ON_INSTALL:
            script = deb.files.get(name)
            if script is None:
                continue
            found = recognise(script, deb.architecture)
            if found is not None:
                effects.extend(found)
            elif deb.name not in allow:
                unknown.append(f"{deb.where}: {name}, sha256:{hashlib.sha256(script).hexdigest()}")
                packages.append(deb.name)
    if unknown:
        listed = "".join(f"\n  {line}" for line in unknown)
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(packages))
        raise SpecError(
            "package scripts are never run, and the effect of these is not known:" + listed,
            hint=f"if the image works without them, add {names} to os.allow_scripts",
        )
    return effects


def recognise(script: bytes, architecture: str) -> tuple[Effect, ...] | None:
    """The effects of a script on a fresh installation, or None if it is not known."""
    text = script.decode("utf-8", "surrogateescape")
    row = _table().get(fingerprint(script))
    try:
        if row is not None:
            return tuple(effect for line in row for effect in _parse_effect(line, text, architecture))
        return tuple(_read_statements(text))
    except _Unknown:
        return None


@cache
def _table() -> Mapping[str, tuple[str, ...]]:
    """Fingerprint to effect lines; see the head of the table for their form."""
    with TABLE.open("rb") as file:
        rows = tomllib.load(file)["script"]
    return {sha256: tuple(row["effects"]) for row in rows for sha256 in row["sha256"]}


def _parse_effect(line: str, script: str, architecture: str) -> Iterable[Effect]:
    words = shlex.split(_fill(line, script, architecture))
    match words:
        case ["folder", path, *rest]:
            mode, gid = _mode(rest, 0o755)
            return (Folder(path, mode, gid),)
        case ["file", path, text, *rest]:
            mode, gid = _mode(rest, 0o644)
            return (Write(path, text.replace("\\n", "\n").replace("\\t", "\t"), mode, gid),)
        case ["copy", source, path]:
            return (Copy(source, path),)
        case ["link", path, target]:
            return (Link(path, target),)
        case ["alternatives"]:
            return tuple(_alternatives(script))
        case ["certificates" | "shells" | "sysusers" as name]:
            return (Step(name),)
    raise ValueError(f"{TABLE.name} holds the unknown effect {line!r}")


def _fill(line: str, script: str, architecture: str) -> str:
    """Replace the placeholders that the fingerprint left out by what the script has in their place."""
    line = line.replace("{arch}", architecture)
    for placeholder, pattern in (("{triplet}", _TRIPLET), ("{python}", _PYTHON)):
        if placeholder in line:
            match = pattern.search(script)
            if match is None:
                raise _Unknown
            line = line.replace(placeholder, match[0])
    return line


def _mode(words: list[str], mode: int) -> tuple[int, int]:
    return int(words[0], 8) if words else mode, int(words[1]) if words[1:] else 0


def _lines(text: str) -> list[str]:
    """Logical lines: without comments, continued lines and a condition with its `then` joined."""
    kept = "\n".join(line for line in text.split("\n") if not _COMMENT.fullmatch(line))
    kept = re.sub(r"(&&|\|\|)\s*\n\s*", r"\1 ", re.sub(r"\\\n\s*", " ", kept))
    return [line.strip() for line in re.sub(r"\s*\n\s*then\b", "; then", kept).split("\n") if line.strip()]


def _alternatives(text: str) -> Iterable[Effect]:
    for line in _lines(text):
        if line.startswith("update-alternatives --install "):
            yield from _statement(line)


def _read_statements(text: str) -> Iterable[Effect]:
    """Collect the effects of a script made of known statements only.

    What runs on upgrades only is skipped; all other conditions are taken for true. That is sound because every known
    effect is one of installing: no rule knows `rm` or the like.
    """
    first, *lines = _lines(text) or [""]
    if not re.fullmatch(r"#! ?/bin/(ba|da)?sh( -[eu]+)?", first):
        raise _Unknown
    for line in _without_upgrades(lines):
        if _SCAFFOLD.fullmatch(line):
            continue
        condition = _CONDITION.fullmatch(line)
        if condition is None:
            yield from _statement(line)
        elif not all(_TEST.fullmatch(part.strip()) for part in re.split(r"&&|\|\|", condition[1])):
            raise _Unknown


def _without_upgrades(lines: list[str]) -> Iterable[str]:
    """Leave out the bodies of conditions that never hold; an `else` branch of theirs stays."""
    depth = 0  # of nested conditions in a body that is left out
    for line in lines:
        if depth:
            if line.startswith("if "):
                depth += 0 if line.endswith("fi") else 1
            elif line == "fi" or (depth == 1 and line.startswith(("else", "elif "))):
                depth -= 1
            if depth or line != "fi":
                continue
        condition = _CONDITION.fullmatch(line)
        if condition is not None and "||" not in line and not line.startswith("elif"):
            depth = int(any(_NEVER.fullmatch(part.strip()) for part in condition[1].split("&&")))
            if depth:
                continue
        yield line


def _statement(line: str) -> Iterable[Effect]:
    line = _TAIL.sub("", line)
    bare = _OPTIONS.sub("", line)
    if not _LITERAL.fullmatch(bare):
        raise _Unknown
    try:
        command, *words = shlex.split(bare)
    except ValueError as error:
        raise _Unknown from error
    if command in _NO_EFFECT:
        return ()
    if command == "systemd-sysusers":
        return (Step("sysusers"),)
    if command == "ucf" and len(words) >= 2 and not words[-2].startswith("-"):  # noqa: PLR2004
        return (Copy(words[-2].lstrip("/"), words[-1].lstrip("/")),)
    if command == "update-alternatives":
        # Removing makes room for the package's own new candidates: there are no old ones in a fresh root.
        return () if "--remove" in words else (_alternative(words),)
    raise _Unknown


def _alternative(words: list[str]) -> Alternative:
    words = [word for word in words if word not in ("--quiet", "--force")]
    if words[:1] != ["--install"] or len(words) % 4 != 1 or not re.fullmatch(r"-?[0-9]{1,9}", words[4]):
        raise _Unknown
    slaves = []
    for flag, link, name, path in zip(*(words[start::4] for start in range(5, 9)), strict=True):
        if flag != "--slave":
            raise _Unknown
        slaves.append(Slave(link, name, path))
    link, name, path = words[1:4]
    if any("/" in part or part in ("", ".", "..") for part in (name, *(slave.name for slave in slaves))):
        raise _Unknown
    if not all(
        part.startswith("/") for part in (link, path, *(p for slave in slaves for p in (slave.link, slave.path)))
    ):
        raise _Unknown
    return Alternative(link, name, path, int(words[4]), tuple(slaves))
