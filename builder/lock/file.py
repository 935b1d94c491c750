"""The lock as a file: read with suspicion, written in one form only.

`dumps(read(path))` is the file, byte for byte, if `write` wrote it: one artifact, one stanza, in a fixed order, so a
diff shows what changed and nothing else. `docs/lock.md` is the normative text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli
import tomli_w
from pydantic import BaseModel, ValidationError

from builder.errors import EnvironmentFault, LockError
from builder.lock.model import FORMAT, Lock
from builder.lock.rules import artifact_order, index_order, violations
from builder.store.artifact import Artifact
from builder.store.atomic import faults, unique_name, write_whole

LARGEST_FILE = 16 << 20
"""Bytes of the largest lock that is read: some 30,000 artifacts."""

VERSION = 1

HEADER = """\
# What the spec beside this file was resolved to: the name, size and hash of every byte that a build may use.
# Written by `kbuild lock`. Commit it, and do not edit it: change the spec and run `kbuild lock` again.
"""

_END = re.compile(r"^# end: ([0-9]{1,6}) artifacts\r?\n\Z", re.MULTILINE)
"""The last line: a file that was cut off at the end of a stanza, or that lost one in a merge, would read well."""

_NOTHING: dict[str, Any] = {"index": (), "artifact": ()}
"""What a file without stanzas says."""

_HINT = "run `kbuild lock` to write it anew"


def read(path: Path) -> Lock:
    """Read a lock file.

    Args:
        path: the file, usually `spec.lock` beside `spec.toml`.

    Returns:
        The lock, valid in itself; whether it fits its spec, `builder.lock.drift` says.

    Raises:
        LockError: it is missing, malformed, or of a kbuild that is newer than this one.
        EnvironmentFault: the machine refuses to read it.
    """
    text = _text(path)
    end = _END.search(text)
    try:
        data = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: tomli's own, and numbers of thousands of digits
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise LockError(f"the lock is not TOML ({_brief(error)})", where=where, hint=_HINT) from error
    _refuse_newer(data, path)
    try:
        lock = Lock.model_validate(_NOTHING | _tuples(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        message = f"the lock is malformed: {_dotted(first['loc'])}: {_lower(first['msg'])}"
        raise LockError(
            message + _more(error.error_count()), where=_where(path, text, _place(first["loc"])), hint=_HINT
        ) from error
    if end is None or int(end[1]) != len(lock.artifact):
        what = "its last line is missing" if end is None else f"it has {len(lock.artifact)} artifacts, not {end[1]}"
        raise LockError(f"the lock is not whole: {what}", where=str(path), hint=_HINT)
    if found := list(violations(lock)):
        place, problem = found[0]
        raise LockError(f"the lock is wrong: {problem}{_more(len(found))}", where=_where(path, text, place), hint=_HINT)
    return lock


def dumps(lock: Lock) -> str:
    """The text of a lock file; equal locks give equal text, whatever order their artifacts were found in."""
    return "\n".join(_parts(lock))


def write(path: Path, lock: Lock) -> None:
    """Write a lock file atomically; one that already has these bytes is left alone.

    Raises:
        ValueError: the lock breaks a rule, so `read` would refuse the file.
        EnvironmentFault: the machine refuses (disk full, read-only, permission).
    """
    text = dumps(lock)
    if found := list(violations(Lock.model_validate(_NOTHING | _tuples(tomli.loads(text))))):
        raise ValueError(f"a lock that no one may read back: {found[0][1]}")
    data = text.encode()
    with faults(path):
        if path.is_file() and path.read_bytes() == data:
            return
        write_whole(path, data, temporary=path.with_name(f".{path.name}.{unique_name()}"))


def _text(path: Path) -> str:
    try:
        if not path.exists():
            raise LockError("there is no lock", where=str(path), hint="run `kbuild lock` to write it")
        if not path.is_file():
            raise LockError("the lock is not a regular file", where=str(path), hint=_HINT)
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise EnvironmentFault(f"cannot read the lock: {os.strerror(error.errno or 0)}", where=str(path)) from error
    if len(data) > LARGEST_FILE:
        raise LockError(f"the lock is larger than {LARGEST_FILE >> 20} MiB", where=str(path), hint=_HINT)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise LockError("the lock is not UTF-8 text", where=str(path), hint=_HINT) from error


def _refuse_newer(data: Mapping[str, Any], path: Path) -> None:
    """Say that the lock is of another kbuild before its unknown fields say that it is malformed."""
    for key, known in (("version", VERSION), ("format", FORMAT)):
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > known:
            raise LockError(
                f"the lock has {key} {value}; this kbuild knows {key} {known} and earlier",
                where=str(path),
                hint="use the newer kbuild that wrote it, or run `kbuild lock` to write it anew",
            )


def _tuples(value: Any) -> Any:
    """Arrays as tuples: the models are strict and frozen."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _place(loc: tuple[int | str, ...]) -> tuple[str, int] | None:
    match loc:
        case (str(table), int(position), *_):
            return (table, position)
    return None


def _where(path: Path, text: str, place: tuple[str, int] | None) -> str:
    """The line of a stanza's header, so that an editor can go there."""
    if place is not None:
        table, position = place
        lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == f"[[{table}]]"]
        if position < len(lines):
            return f"{path}:{lines[position]}"
    return str(path)


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the whole file"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _brief(error: Exception) -> str:
    return _lower(str(error).splitlines()[0])[:200] if str(error) else type(error).__name__


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""


def _parts(lock: Lock) -> Iterator[str]:
    """The file's paragraphs; a blank line stands between two."""
    scalars = {name: getattr(lock, name) for name in ("version", "spec", "format", "epoch")}
    yield HEADER
    yield _lines(scalars)
    yield "[codec]\n" + _lines(_fields(lock.codec))
    if lock.image is not None:
        yield "[image]\n" + _lines({"sources": lock.image.sources, "index": lock.image.index})
        yield "[image.platforms]\n" + _lines(dict(sorted(lock.image.platforms.items())))
    if lock.nixpkgs is not None:
        yield "[nixpkgs]\n" + _lines(_fields(lock.nixpkgs))
    for index in sorted(lock.index, key=index_order):
        yield "[[index]]\n" + _lines(_fields(index))
    for item in sorted(lock.artifact, key=artifact_order):
        yield "[[artifact]]\n" + _artifact(item)
    yield f"# end: {len(lock.artifact)} artifacts\n"


def _artifact(item: Artifact) -> str:
    fields = _fields(item)
    del fields["member"]
    text = _lines(fields)
    if item.member is not None:
        text += "[artifact.member]\n" + _lines(_fields(item.member))
    return text


def _fields(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def _lines(fields: Mapping[str, Any]) -> str:
    return "".join(_line(key, value) for key, value in fields.items())


def _line(key: str, value: str | int | Sequence[str]) -> str:
    """One field, on one line: tomli-w would put each item of an array on its own."""
    if isinstance(value, str | int):
        return tomli_w.dumps({key: value})
    items = (tomli_w.dumps({"x": item}).removeprefix("x = ").removesuffix("\n") for item in value)
    return f"{key} = [{', '.join(items)}]\n"
