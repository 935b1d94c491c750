"""A tree as text: mtree(5), one line for each entry, in the order in which a layer holds them.

`docs/render.md` says which keywords are used, which of them are this project's own, and how names are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from builder.layers.entry import Entry, Kind

SIGNATURE = "#mtree v2.0"

_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"\\#=*?[")
"""Bytes that stand for themselves. vis(3) escapes what is no graphic character and the backslash; mtree(5) gives `#`
and `=` a meaning, and fnmatch(3), by which some readers match names, `*`, `?` and `[`."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and where its bytes are.

    `sha256` is the hex hash of a file's content; `contents` the file that holds these bytes, relative to the folder
    that the reader is given. Both are empty for what is no file, and `contents` is for an empty file.
    """

    entry: Entry
    sha256: str = ""
    contents: str = ""


def mtree(items: Sequence[Item], *, comments: Iterable[str] = ()) -> str:
    """Write a tree down.

    Args:
        items: in canonical order (`builder.layers.order.ordered`).
        comments: lines for people, put above the entries.
    """
    files = {item.entry.path: item for item in items if item.entry.kind is Kind.FILE}
    lines = [SIGNATURE, *(f"# {text}" for text in comments)]
    for item in items:
        shared = files[item.entry.target] if item.entry.kind is Kind.HARDLINK else item
        lines.append(" ".join((escaped(f"./{item.entry.path}"), *_keywords(item.entry, shared))))
    return "".join(f"{line}\n" for line in lines)


def escaped(text: str) -> str:
    """Text as a word of mtree: every byte that could be taken for something else as a backslash and three digits."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode())


def _keywords(entry: Entry, content: Item) -> Iterable[str]:
    """The keywords of one entry; a hard link repeats its file's size and hash, for readers that know no hard links."""
    kind = {Kind.DIRECTORY: "dir", Kind.SYMLINK: "link"}.get(entry.kind, "file")
    yield f"type={kind}"
    yield f"mode={entry.mode:04o}"
    yield f"uid={entry.uid}"
    yield f"gid={entry.gid}"
    yield f"time={entry.mtime}.0"
    if kind == "file":
        yield f"size={content.entry.size}"
        yield f"sha256digest={content.sha256}"
    if entry.kind is Kind.HARDLINK:
        yield f"hardlink={escaped(entry.target)}"
    elif entry.kind is Kind.SYMLINK:
        yield f"link={escaped(entry.target)}"
    elif content.contents:
        yield f"contents={escaped(content.contents)}"
    for name, value in entry.xattrs:
        yield f"xattr.{escaped(name)}={value.hex()}"
