"""Where the keys and values of a TOML document stand.

Neither tomli nor tomllib tells positions, so a document that has an error is parsed again by tree-sitter. That costs
an import, which is why nothing here is imported before there is an error.

tree-sitter's grammar knows TOML 1.0 and tomli reads TOML 1.1, so `level` first rewrites what 1.1 added (and whatever a
string or a comment may hold) into 1.0 of the same length: every byte offset stays true.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import tomli
import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Loc = tuple[str | int, ...]


class Span(NamedTuple):
    """Characters of one line: `line` and `column` count from 1."""

    line: int
    column: int
    length: int


@dataclass(slots=True)
class _Place:
    """One key or array element: where its key stands, where its value stands (byte offsets), and what is below."""

    key: tuple[int, int]
    value: tuple[int, int]
    below: dict[str | int, _Place] = field(default_factory=dict)
    tables: int = 0
    """How many `[[header]]` elements it has; 0 unless it is an array of tables."""


class Spans:
    """The positions of one valid TOML document."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._starts = [0, *(match.end() for match in re.finditer(rb"\n", self._bytes))]
        self._root = _Place((0, 0), (0, 0))
        tree = Parser(Language(tree_sitter_toml.language())).parse(level(self._bytes))
        self._read(tree.root_node)

    def key(self, loc: Loc) -> Span | None:
        """The key that `loc` ends with, or, for an array's element, the element."""
        place = self._find(loc)
        return self._span(*place.key) if place else None

    def value(self, loc: Loc) -> Span | None:
        """The value at `loc`; a table with a header stands at its header's key."""
        place = self._find(loc)
        return self._span(*place.value) if place else None

    def text(self, span: Span) -> str:
        """The characters of a span."""
        return self.line(span.line)[span.column - 1 : span.column - 1 + span.length]

    def line(self, number: int) -> str:
        """A line of the document, without its end."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self._bytes)
        return self._bytes[start:end].decode("utf-8", "replace").removesuffix("\r")

    def _find(self, loc: Loc) -> _Place | None:
        place: _Place | None = self._root
        for step in loc:
            place = place.below.get(step) if place else None
        return place if loc else None

    def _span(self, start: int, end: int) -> Span:
        row = bisect_right(self._starts, start) - 1
        head = self._bytes[self._starts[row] : start].decode("utf-8", "replace")
        body = self._bytes[start:end].partition(b"\n")[0].removesuffix(b"\r").decode("utf-8", "replace")
        return Span(row + 1, len(head) + 1, len(body))

    def _read(self, root: Node) -> None:
        for node in root.named_children:
            if node.type == "pair":
                self._pair(self._root, node)
            elif node.type in {"table", "table_array_element"}:
                self._header(node)

    def _header(self, node: Node) -> None:
        children = node.named_children
        if not children or children[0].type not in _KEYS:
            return
        header, *pairs = children
        keys = _parts(header)
        table = self._root
        for part in keys[:-1]:
            table = self._step(table, part)
        if node.type == "table":
            table = self._step(table, keys[-1])
            table.key = table.value = _range(keys[-1])
        else:
            array = table.below.setdefault(self._name(keys[-1]), _Place(_range(keys[-1]), _range(keys[-1])))
            table = array.below.setdefault(array.tables, _Place(_range(keys[-1]), _range(keys[-1])))
            array.tables += 1
        for pair in pairs:
            if pair.type == "pair":
                self._pair(table, pair)

    def _pair(self, table: _Place, node: Node, depth: int = 0) -> None:
        children = [child for child in node.named_children if child.type != "comment" and not child.is_error]
        if len(children) < 2 or children[0].type not in _KEYS:  # noqa: PLR2004 - a key and a value
            return
        keys = _parts(children[0])
        for part in keys[:-1]:
            table = self._step(table, part)
        place = table.below.setdefault(self._name(keys[-1]), _Place(_range(keys[-1]), _range(children[-1])))
        self._value(place, children[-1], depth)

    def _value(self, place: _Place, node: Node, depth: int = 0) -> None:
        if depth > _DEPTH:
            return
        if node.type == "inline_table":
            for pair in node.named_children:
                if pair.type == "pair":
                    self._pair(place, pair, depth + 1)
        elif node.type == "array":
            elements = [child for child in node.named_children if child.type != "comment" and not child.is_error]
            for index, element in enumerate(elements):
                place.below[index] = _Place(_range(element), _range(element))
                self._value(place.below[index], element, depth + 1)

    def _step(self, table: _Place, part: Node) -> _Place:
        """One key down; an array of tables means its last element."""
        place = table.below.setdefault(self._name(part), _Place(_range(part), _range(part)))
        return place.below[place.tables - 1] if place.tables else place

    def _name(self, part: Node) -> str:
        text = self._bytes[part.start_byte : part.end_byte].decode("utf-8", "replace")
        return next(iter(tomli.loads(f"{text} = 0"))) if text[:1] in {'"', "'"} else text


_DEPTH = 32
"""Levels of arrays and inline tables that are looked into; what is deeper is placed at its nearest container."""

_KEYS = frozenset({"bare_key", "quoted_key", "dotted_key"})

_TOKEN = re.compile(
    rb'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}'
    rb'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
    rb"|\#[^\n]*"
    rb"|\d{4}-\d\d-\d\d[Tt ]\d\d:[0-9:.]+(?:[Zz]|[+-]\d\d:\d\d)?|\d\d:[0-9:.]+"
    rb"|[\[\]{},\n]",
    re.DOTALL,
)


def level(document: bytes) -> bytes:
    """A valid TOML 1.1 document as TOML 1.0 with every key and value at its old offset.

    Strings keep their quotes and lose their content, comments and times become spaces and digits, and an inline table
    loses its line ends and a trailing comma.
    """
    out = bytearray(document)
    open_brackets: list[bytes] = []
    comma = 0
    for match in _TOKEN.finditer(document):
        token, start, end = match[0], match.start(), match.end()
        within = open_brackets[-1:] == [b"{"]
        if token == b"\n":
            if within:
                out[start] = 0x20
        elif token[:1] == b"#":
            out[start:end] = b" " * len(token)
        elif token in {b"[", b"{"}:
            open_brackets.append(token)
        elif token in {b"]", b"}"}:
            if token == b"}" and out[comma:start].strip() == b",":
                out[comma] = 0x20
            del open_brackets[-1:]
        elif token == b",":
            comma = start
        elif token[:1] in {b'"', b"'"}:
            out[start:end] = token[:1] + b"x" * (len(token) - 2) + token[-1:]
        else:
            out[start:end] = b"1" * len(token)
    return bytes(out)


def _parts(key: Node) -> list[Node]:
    """The simple keys of a key; the grammar nests a dotted key to the left, without bound."""
    parts: list[Node] = []
    while key.type == "dotted_key":
        key, last = key.named_children[0], key.named_children[-1]
        parts.append(last)
    return [key, *reversed(parts)]


def _range(node: Node) -> tuple[int, int]:
    return node.start_byte, node.end_byte
