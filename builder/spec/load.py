"""Loading a spec: text to validated model, or every error at once with its place.

One parser (tomli) on every Python: the standard library's dialect depends on the interpreter's version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import tomli
from pydantic import ValidationError

from builder.errors import EnvironmentFault, SpecError
from builder.spec import across
from builder.spec.findings import Finding, SpecErrors
from builder.spec.model import Spec
from builder.spec.refusal import quoted

if TYPE_CHECKING:
    from builder.spec.explain import Explained

LIMIT = 2**20
"""The most bytes that a spec may have."""

_LONG_NUMBER = re.compile(r"[0-9_]{1000,}")


def load(path: Path) -> Spec:
    """Load a spec from a file.

    Raises:
        SpecErrors: the file is no valid spec; it holds every finding.
        SpecError: there is no such file, or it is too large.
        EnvironmentFault: the file cannot be read.
    """
    return loads(read(path), str(path))


def loads(text: str, name: str) -> Spec:
    """Load a spec from text.

    Args:
        text: the TOML document.
        name: what findings call it.

    Raises:
        SpecErrors: the text is no valid spec; it holds every finding.
    """
    data = parse(text, name)
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        from builder.spec.explain import Explained, explain_all  # noqa: PLC0415 - only a wrong spec needs it

        found = explain_all(error.errors(include_url=False))
        found += [Explained(item.loc, "value", item.message, item.hint) for item in across.problems(data)]
        raise SpecErrors(locate(found, text, name)) from None


def read(path: Path) -> str:
    """The text of a spec's file.

    Raises:
        SpecErrors: the file is not UTF-8 without a byte order mark.
        SpecError: there is no such file, or it is too large.
        EnvironmentFault: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        raise SpecError("there is no such file", where=str(path), hint="kbuild init NAME writes a first spec") from None
    except IsADirectoryError:
        raise SpecError("this is a folder, not a spec", where=str(path), hint=f"name {path / 'spec.toml'}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise EnvironmentFault(f"the spec cannot be read: {reason}", where=repr(str(path))) from error
    if len(data) > LIMIT:
        raise SpecError(f"the file is larger than {LIMIT} bytes", where=str(path), hint="is this the spec?")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise SpecErrors([_marked(str(path))])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecErrors([_undecodable(data, error.start, str(path))]) from None


def parse(text: str, name: str) -> dict[str, object]:
    """The TOML document as plain data.

    Raises:
        SpecErrors: the text is not TOML; it holds one finding, since a parser stops at the first error.
    """
    if text.startswith("\ufeff"):
        raise SpecErrors([_marked(name)])
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise SpecErrors([_syntax(text, name, error)]) from None
    except RecursionError:
        raise SpecErrors([Finding(name, 0, 0, 0, "arrays or tables are nested too deeply")]) from None
    except ValueError:
        # Python bounds how many digits it turns into an integer.
        raise SpecErrors([_number(text, name)]) from None


def report(problems: Iterable[across.Problem], text: str, name: str) -> SpecErrors:
    """The error that shows problems of a valid spec at their places.

    Args:
        problems: what is wrong; at least one.
        text: the spec's text, as `read` gives it.
        name: what findings call it.
    """
    from builder.spec.explain import Explained  # noqa: PLC0415 - only a wrong spec needs it

    return SpecErrors(locate([Explained(item.loc, "value", item.message, item.hint) for item in problems], text, name))


def locate(explained: Iterable[Explained], text: str, name: str) -> list[Finding]:
    """Findings with their places.

    Args:
        explained: what is wrong, by place in the model.
        text: the valid TOML document that it is wrong with.
        name: what findings call it.
    """
    from builder.spec.spans import Spans  # noqa: PLC0415 - see that module: a valid spec never needs it

    spans = Spans(text)
    findings = []
    for item in explained:
        loc, at = item.loc, item.at
        span = spans.key(loc) if at == "key" else spans.value(loc)
        while span is None and loc:
            loc = loc[:-1]
            span = spans.value(loc)
        if span is None:
            findings.append(Finding(name, 0, 0, 0, item.message, item.hint))
        else:
            findings.append(Finding(name, *span, item.message, item.hint, spans.line(span.line)))
    return findings


def _syntax(text: str, name: str, error: tomli.TOMLDecodeError) -> Finding:
    """One finding for tomli's error, in words that say what to type."""
    # tomli counts in the text with its CRLFs made LFs; a line's columns are the same in both.
    lines = text.split("\n")
    row, column = error.lineno, error.colno
    source = lines[row - 1].removesuffix("\r")
    rest = source[column - 1 :]
    if error.msg == "Cannot overwrite a value" and (key := re.match(r"\s*([^=]*[^=\s])\s*=", source)):
        message, hint = f"{key[1]} is set a second time", "keep one of the two"
        return Finding(name, row, key.start(1) + 1, len(key[1]), message, hint, source)
    if error.msg == "Invalid value" and (word := re.match(r"[^\s,\]}#=\"']+", rest)):
        hint = f'a string needs quotes: "{word[0]}"'
        return Finding(name, row, column, len(word[0]), f"{quoted(word[0])} is not a value", hint, source)
    if error.msg == "Illegal character '\\n'":
        return Finding(name, row, column, 0, "the string does not end on its line", "close it with a quote", source)
    if not rest and row == len(lines):
        return Finding(name, row, column, 0, "the file ends in the middle of a value", "close what is open", source)
    twice = re.fullmatch(r"Cannot (?:declare|mutate immutable namespace) \((.*)\).*", error.msg)
    if twice:
        path = ".".join(re.findall(r"'([^']*)'", twice[1]))
        start = max(0, source.find("["))
        message, hint = f"[{path}] is defined a second time", "join the two tables into one"
        return Finding(name, row, start + 1, len(source) - start, message, hint, source)
    message = f"{error.msg[:1].lower()}{error.msg[1:]}"
    return Finding(name, row, column, min(1, len(rest)), message, _HINTS.get(error.msg), source)


_HINTS: Mapping[str, str] = {
    "Invalid value": 'a value is "text", a number, true, false, [ ... ] or { ... }',
    "Invalid statement": 'write key = "value", or a table as [name]; a key with other letters than A to Z needs quotes',
    "Expected '=' after a key in a key/value pair": 'write key = "value"',
    "Expected newline or end of document after a statement": "start a new line, or put the whole value in quotes",
    "Unclosed array": "close it with ]",
    "Unescaped '\\' in a string": "write \\\\ for a backslash, or use single quotes",
}


def _marked(name: str) -> Finding:
    return Finding(name, 0, 0, 0, "the file starts with a byte order mark", "save it as UTF-8 without one")


def _number(text: str, name: str) -> Finding:
    match = _LONG_NUMBER.search(text)
    start, stop = match.span() if match else (0, 0)
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    source = text.split("\n")[line - 1].removesuffix("\r")
    return Finding(name, line, column, stop - start, "a number has too many digits", "use 64 bits at most", source)


def _undecodable(data: bytes, position: int, name: str) -> Finding:
    line = data.count(b"\n", 0, position) + 1
    start = data.rfind(b"\n", 0, position) + 1
    stop = data.find(b"\n", start)
    source = data[start : stop if stop >= 0 else len(data)].decode("utf-8", "replace")
    column = len(data[start:position].decode("utf-8", "replace")) + 1
    return Finding(name, line, column, 1, "the file is not UTF-8", "save it as UTF-8", source)
