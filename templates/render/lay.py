#!/usr/bin/env python3
"""Lay out a tree that an mtree file describes, and check every byte of it.

    lay.py tree  MTREE TARGET --from DIR [--at PREFIX=PATH ...] [--expect DIGEST] [--no-owner]
    lay.py tar   MTREE TARGET --from DIR [--at PREFIX=PATH ...] [--expect DIGEST]
    lay.py check MTREE TARGET [--no-owner]

`tree` makes a new folder, `tar` a new file, `check` compares a folder that is there. A file's bytes are read from its
`contents=` below --from, or from where an --at says that its beginning is, and have to have its size and SHA-256. The
answer is the SHA-256 of the tree's canonical tar (the diff ID of an OCI layer); with --expect, no other is accepted.

This program needs Python 3.11 and nothing else. It shares no code with what wrote the mtree file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import BinaryIO

CHUNK = 1 << 20
BLOCK = 512
SHOWN = 20
"""Differences that `check` prints."""

TYPES = {"file": b"0", "hardlink": b"1", "link": b"2", "dir": b"5"}
LIMITS = {"mode": 0o7777, "uid": 2**32 - 2, "gid": 2**32 - 2, "time": 2**40, "size": 2**50}
"""Keywords whose values are numbers, with the largest of each."""
NEEDED = {
    "dir": {"mode", "uid", "gid", "time"},
    "link": {"mode", "uid", "gid", "time", "link"},
    "file": {"mode", "uid", "gid", "time", "size", "sha256digest"},
    "hardlink": {"mode", "uid", "gid", "time", "size", "sha256digest", "hardlink"},
}
LINK_MODE = 0o777
LONGEST_PATH = 4095
LONGEST_NAME = 255


class Refused(Exception):
    """One line that says what is wrong and where."""


@dataclass
class Entry:
    """One line of an mtree file; paths are bytes, without `./`."""

    path: bytes
    kind: str
    _: KW_ONLY
    mode: int
    uid: int
    gid: int
    time: int
    size: int = 0
    sha256: str = ""
    link: bytes = b""
    contents: bytes = b""
    xattrs: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.path.decode(errors="backslashreplace")


# Reading mtree(5)


def read_mtree(path: str) -> list[Entry]:
    """All entries of a file, held to the order and the rules of a layer."""
    entries: list[Entry] = []
    tree: dict[bytes, Entry] = {}
    with open(path, "rb") as lines:  # noqa: PTH123 - one idiom for files by name and by descriptor
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith(b"#"):
                continue
            try:
                entry = read_entry(words)
                accept(entry, tree, entries[-1] if entries else None)
            except Refused as error:
                raise Refused(f"{path}: line {number}: {error}") from None
            tree[entry.path] = entry
            entries.append(entry)
    return entries


def read_entry(words: list[bytes]) -> Entry:
    """One line's words as an entry."""
    name = unescaped(words[0])
    if not name.startswith(b"./"):
        raise Refused(f"{words[0]!r} does not begin with './'")
    kind, keywords, xattrs = read_keywords(words[1:])
    entry = Entry(
        plain(name[2:]),
        kind,
        mode=number(keywords, "mode", 8),
        uid=number(keywords, "uid"),
        gid=number(keywords, "gid"),
        time=number(keywords, "time"),
        size=number(keywords, "size") if "size" in keywords else 0,
        xattrs=xattrs,
    )
    if kind == "link":
        entry.link = link_target(unescaped(keywords["link"]), entry.mode)
    elif kind != "dir":
        entry.sha256 = from_hex(keywords["sha256digest"], 32).hex()
    if kind == "hardlink":
        entry.link = plain(unescaped(keywords["hardlink"]))
    if "contents" in keywords:
        entry.contents = plain(unescaped(keywords["contents"]))
    if kind == "file" and bool(entry.size) != bool(entry.contents):
        raise Refused("a file needs contents= unless it is empty")
    return entry


def read_keywords(words: list[bytes]) -> tuple[str, dict[str, bytes], list[tuple[bytes, bytes]]]:
    """The type, the other keywords, which are those that the type needs or may have, and the extended attributes."""
    keywords: dict[str, bytes] = {}
    for word in words:
        key, equals, value = word.partition(b"=")
        text = key.decode("ascii", "replace")
        if not equals or text in keywords:
            raise Refused(f"{word!r} is no keyword with a value, or is there twice")
        keywords[text] = value
    kind = keywords.pop("type", b"").decode("ascii", "replace")
    if kind not in ("dir", "file", "link"):
        raise Refused(f"the type {kind!r} is none of dir, file and link")
    if kind == "file" and "hardlink" in keywords:
        kind = "hardlink"
    xattrs = [
        (unescaped(key.removeprefix("xattr.").encode()), from_hex(keywords.pop(key)))
        for key in list(keywords)
        if key.startswith("xattr.") and kind != "hardlink"
    ]
    allowed = NEEDED[kind] | ({"contents"} if kind == "file" else set())
    if wrong := sorted(keywords.keys() - allowed) or sorted(NEEDED[kind] - keywords.keys()):
        raise Refused(f"the keyword {wrong[0]!r} is {'unknown here' if wrong[0] in keywords else 'missing'}")
    return kind, keywords, sorted(xattrs)


def link_target(text: bytes, mode: int) -> bytes:
    """A symlink's target: any text that Linux can hold."""
    check_text(text)
    if not text or len(text) > LONGEST_PATH:
        raise Refused("a symlink whose target is empty or too long")
    if mode != LINK_MODE:
        raise Refused(f"a symlink whose mode is not {LINK_MODE:04o}")
    return text


def accept(entry: Entry, tree: dict[bytes, Entry], before: Entry | None) -> None:
    """Hold an entry against those above it: in order, below a folder, linked to a file."""
    if before and sort_key(before.path) >= sort_key(entry.path):
        raise Refused(f"{entry} is out of order, or there twice")
    parent = entry.path.rpartition(b"/")[0]
    if parent and (parent not in tree or tree[parent].kind != "dir"):
        raise Refused(f"{entry} is not below a folder that was stated")
    if entry.kind == "hardlink":
        origin = tree.get(entry.link)
        if origin is None or origin.kind != "file" or facts(origin) != facts(entry):
            raise Refused(f"{entry} is a hard link to no file above it, or to one with other metadata")


def facts(entry: Entry) -> tuple[object, ...]:
    """What all names of one file share."""
    return entry.mode, entry.uid, entry.gid, entry.time, entry.size, entry.sha256


def sort_key(path: bytes) -> bytes:
    """Component by component: what is below a folder follows it directly."""
    return path.replace(b"/", b"\0")


def plain(path: bytes) -> bytes:
    """A relative path that leads nowhere but down."""
    check_text(path)
    parts = path.split(b"/")
    if not path or len(path) > LONGEST_PATH or {b"", b".", b".."} & set(parts):
        raise Refused(f"the path {path!r} is absolute, empty or too long, or has an empty, '.' or '..' part")
    if max(map(len, parts)) > LONGEST_NAME:
        raise Refused(f"the path {path[:80]!r} has a part of more than {LONGEST_NAME} bytes")
    return path


def check_text(text: bytes) -> None:
    """Names and targets are UTF-8 without NUL."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise Refused(f"{text[:80]!r} is not UTF-8") from None
    if b"\0" in text:
        raise Refused(f"{text[:80]!r} has a NUL byte")


def unescaped(word: bytes) -> bytes:
    """vis(3) undone: a backslash and three octal digits are one byte; there are no other escapes."""
    first, *rest = word.split(b"\\")
    found = [first]
    for part in rest:
        digits = part[:3]
        if len(digits) != 3 or digits.strip(b"01234567") or digits > b"377":  # noqa: PLR2004
            raise Refused(f"{word!r} has an escape that is no backslash and three octal digits")
        found.append(bytes([int(digits, 8)]) + part[3:])
    return b"".join(found)


def number(keywords: dict[str, bytes], key: str, base: int = 10) -> int:
    """A keyword's number within its limit; a time has whole seconds."""
    digits = keywords[key].removesuffix(b".0") if key == "time" else keywords[key]
    if not digits or len(digits) > 16 or digits.strip(b"0123456789"[:base]) or int(digits, base) > LIMITS[key]:  # noqa: PLR2004
        raise Refused(f"{key}={keywords[key].decode('ascii', 'replace')} is no number in its range")
    return int(digits, base)


def from_hex(value: bytes, size: int = 0) -> bytes:
    """Lower-case hex as bytes: `size` of them, or any number but none."""
    if value.strip(b"0123456789abcdef") or len(value) % 2 or not value or (size and len(value) != 2 * size):
        raise Refused(f"{value[:80]!r} is not lower-case hex of the right length")
    return bytes.fromhex(value.decode())


# The canonical tar (docs/layer-format.md of kbuild, section 3)


def header(entry: Entry) -> bytes:
    """An entry's tar header: ustar, with a PAX header before it if that cannot say it."""
    name = entry.path + (b"/" if entry.kind == "dir" else b"")
    records = [(b"SCHILY.xattr." + key, value) for key, value in entry.xattrs]
    for key, text in ((b"path", name), (b"linkpath", entry.link)):
        if len(text) > 100 or not text.isascii():  # noqa: PLR2004
            records.append((key, text))
    size = entry.size if entry.kind == "file" else 0
    numbers = {}
    for field_name, value, digits in (
        (b"uid", entry.uid, 7),
        (b"gid", entry.gid, 7),
        (b"size", size, 11),
        (b"mtime", entry.time, 11),
    ):
        fits = value < 8**digits
        numbers[field_name] = b"%0*o\0" % (digits, value if fits else 0)
        if not fits:
            records.append((field_name, b"%d" % value))
    block = ustar(name[:100], b"%07o\0" % entry.mode, numbers, TYPES[entry.kind], entry.link[:100])
    if not records:
        return block
    body = b"".join(pax_record(key, value) for key, value in sorted(records))
    zero = b"0" * 7 + b"\0"
    sizes = {b"uid": zero, b"gid": zero, b"size": b"%011o\0" % len(body), b"mtime": b"0" * 11 + b"\0"}
    return ustar(b"././@PaxHeader", b"0000644\0", sizes, b"x", b"") + body + padding(len(body)) + block


def ustar(name: bytes, mode: bytes, numbers: dict[bytes, bytes], flag: bytes, link: bytes) -> bytes:
    """One header block."""
    block = bytearray(BLOCK)
    for offset, value in (
        (0, name),
        (100, mode),
        (108, numbers[b"uid"]),
        (116, numbers[b"gid"]),
        (124, numbers[b"size"]),
        (136, numbers[b"mtime"]),
        (148, b" " * 8),
        (156, flag),
        (157, link),
        (257, b"ustar\x0000"),
        (329, b"0000000\0" * 2),
    ):
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE` and a line feed; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    return b"%d %s=%s\n" % (rest + len(str(length)), key, value)


def padding(size: int) -> bytes:
    """Zero bytes up to the next block."""
    return bytes(-size % BLOCK)


# Bytes, checked


class Source:
    """The folders that contents come from; symlinks in them are not followed, whoever made them.

    `folder` holds what no prefix of `places` leads elsewhere.
    """

    def __init__(self, folder: str, places: dict[bytes, bytes]) -> None:
        self._places = {b"": os.fsencode(folder), **places}
        self._plain: set[bytes] = set()

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[BinaryIO]:
        """A file's bytes, from a regular file below its folder."""
        prefix = entry.contents
        while prefix not in self._places:
            prefix = prefix.rpartition(b"/")[0]
        path = (self._places[prefix] + b"/" + entry.contents.removeprefix(prefix).removeprefix(b"/")).rstrip(b"/")
        try:
            self._check_parents(path.rpartition(b"/")[0], self._places[prefix])
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(f"{entry}: its bytes cannot be read: {shown(entry.contents)}: {error.strerror}") from None
        with os.fdopen(handle, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Refused(f"{entry}: {shown(entry.contents)} is no regular file")
            yield stream

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """A file's bytes; ends well only if their number and hash are right."""
        digest, left = hashlib.sha256(), entry.size
        if left:
            with self.opened(entry) as stream:
                while data := stream.read(min(CHUNK, left + 1)):
                    left -= len(data)
                    if left < 0:
                        break
                    digest.update(data)
                    yield data
        if left:
            raise Refused(
                f"{entry}: {shown(entry.contents)} has {'more' if left < 0 else 'less'} than {entry.size} bytes"
            )
        if digest.hexdigest() != entry.sha256:
            raise Refused(f"{entry}: {shown(entry.contents)} has the SHA-256 {digest.hexdigest()}, not {entry.sha256}")

    def _check_parents(self, folder: bytes, top: bytes) -> None:
        if len(folder) <= len(top) or folder in self._plain:
            return
        self._check_parents(folder.rpartition(b"/")[0], top)
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise Refused(f"{shown(folder)} is a link or a file where a folder is needed")
        self._plain.add(folder)


def shown(path: bytes) -> str:
    """A path for people."""
    return path.decode(errors="backslashreplace")


def walk(
    entries: list[Entry], source: Source, put: Callable[[Entry, Iterator[bytes]], None], tar: Callable[[bytes], object]
) -> str:
    """Hand out each entry with its bytes, and feed the canonical tar to `tar`; returns its SHA-256."""
    digest = hashlib.sha256()

    def both(data: bytes) -> None:
        digest.update(data)
        tar(data)

    def passing(entry: Entry) -> Iterator[bytes]:
        for data in source.chunks(entry):
            both(data)
            yield data

    for entry in entries:
        both(header(entry))
        if entry.kind == "file":
            put(entry, passing(entry))
            both(padding(entry.size))
        else:
            put(entry, iter(()))
    both(bytes(2 * BLOCK))
    return f"sha256:{digest.hexdigest()}"


# The three commands


def lay_tree(entries: list[Entry], target: str, source: Source, *, owner: bool) -> str:
    """Write a tree into a new folder."""
    root = os.fsencode(target)
    os.mkdir(root, 0o755)  # noqa: PTH102 - bytes
    folders: list[Entry] = []

    def put(entry: Entry, content: Iterator[bytes]) -> None:
        # Every parent is a folder that was made here a moment ago, so nothing is ever written through a link.
        path = root + b"/" + entry.path
        if entry.kind == "dir":
            os.mkdir(path, 0o700)  # noqa: PTH102
            folders.append(entry)
        elif entry.kind == "link":
            os.symlink(entry.link, path)  # noqa: PTH211
            finish(path, entry, owner=owner)
        elif entry.kind == "hardlink":
            os.link(root + b"/" + entry.link, path)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as stream:
                for data in content:
                    view = memoryview(data)
                    while view:
                        view = view[stream.write(view) :]
            finish(path, entry, owner=owner)

    found = walk(entries, source, put, lambda _: None)
    for entry in reversed(folders):
        finish(root + b"/" + entry.path, entry, owner=owner)
    return found


def finish(path: bytes, entry: Entry, *, owner: bool) -> None:
    """Owner, attributes, mode and time, in the order in which none undoes another (chown clears set-user-ID)."""
    if owner:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        for name, value in entry.xattrs:
            os.setxattr(path, name, value, follow_symlinks=False)
    if entry.kind != "link":
        os.chmod(path, entry.mode if owner else entry.mode & 0o1777)  # noqa: PTH101
    os.utime(path, (entry.time, entry.time), follow_symlinks=False)


def lay_tar(entries: list[Entry], target: str, source: Source) -> str:
    """Write the canonical tar into a new file, which is not there if anything is wrong."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(handle, "wb", buffering=CHUNK) as out:
            return walk(entries, source, lambda _, content: exhaust(content), out.write)
    except BaseException:
        os.unlink(target)  # noqa: PTH108
        raise


def exhaust(content: Iterator[bytes]) -> None:
    """Read to the end."""
    for _ in content:
        pass


def differences(entries: list[Entry], target: str, *, owner: bool) -> Iterator[str]:
    """What of a folder is not as the entries say; each difference one line."""
    root = os.fsencode(target)
    names = {entry.path for entry in entries}
    for entry in entries:
        path = root + b"/" + entry.path
        try:
            status = os.lstat(path)
        except OSError:
            yield f"{entry}: missing"
            continue
        yield from (f"{entry}: {what}" for what in wrong_of(entry, path, status, root, owner=owner))
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118
            if path not in names:
                yield f"{shown(path)}: not in the mtree file"


def wrong_of(entry: Entry, path: bytes, status: os.stat_result, root: bytes, *, owner: bool) -> Iterator[str]:
    """What is wrong with one object."""
    kinds = {"dir": stat.S_IFDIR, "link": stat.S_IFLNK, "file": stat.S_IFREG, "hardlink": stat.S_IFREG}
    if stat.S_IFMT(status.st_mode) != kinds[entry.kind]:
        yield f"is no {entry.kind}"
        return
    mask = 0o7777 if owner else 0o1777
    if entry.kind != "link" and (status.st_mode ^ entry.mode) & mask:
        yield f"mode {stat.S_IMODE(status.st_mode):04o}, not {entry.mode:04o}"
    if owner and (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
        yield f"owner {status.st_uid}:{status.st_gid}, not {entry.uid}:{entry.gid}"
    if status.st_mtime_ns != entry.time * 10**9:
        yield f"time {status.st_mtime_ns / 10**9}, not {entry.time}"
    if owner and entry.kind != "hardlink" and attributes(path) != entry.xattrs:
        yield "has other extended attributes"
    yield from wrong_content(entry, path, status, root)


def wrong_content(entry: Entry, path: bytes, status: os.stat_result, root: bytes) -> Iterator[str]:
    """What is wrong with a file's bytes, or with where a link leads."""
    if entry.kind == "link" and (text := os.readlink(path)) != entry.link:  # noqa: PTH115
        yield f"leads to {shown(text)}, not to {shown(entry.link)}"
    elif entry.kind == "hardlink" and not os.path.samestat(status, os.lstat(root + b"/" + entry.link)):
        yield f"is not the same file as {shown(entry.link)}"
    elif entry.kind == "file" and status.st_size != entry.size:
        yield f"{status.st_size} bytes, not {entry.size}"
    elif entry.kind == "file" and (found := file_hash(path)) != entry.sha256:
        yield f"has the SHA-256 {found}, not {entry.sha256}"


def attributes(path: bytes) -> list[tuple[bytes, bytes]]:
    """Extended attributes, sorted."""
    names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
    return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]


def file_hash(path: bytes) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as stream:  # noqa: PTH123
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place(text: str) -> tuple[bytes, bytes]:
    """The two sides of an --at."""
    prefix, equals, path = os.fsencode(text).partition(b"=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not PREFIX=PATH")
    return plain(prefix), path


def run(options: argparse.Namespace) -> int:
    """Do what the command line says."""
    entries = read_mtree(options.mtree)
    if options.verb == "check":
        found = list(differences(entries, options.target, owner=options.owner))
        for line in found[:SHOWN]:
            print(line)  # noqa: T201
        if found:
            raise Refused(f"{options.target}: {len(found)} differences from {options.mtree}")
        return 0
    source = Source(options.source, dict(options.at))
    if options.verb == "tree":
        digest = lay_tree(entries, options.target, source, owner=options.owner)
    else:
        digest = lay_tar(entries, options.target, source)
    if options.expect not in (None, digest):
        if options.verb == "tar":
            os.unlink(options.target)  # noqa: PTH108
        raise Refused(f"{options.mtree}: its tar is {digest}, not {options.expect}")
    print(digest)  # noqa: T201
    return 0


def main(arguments: list[str]) -> int:
    """Parse and run; one line on stderr if anything is refused."""
    parser = argparse.ArgumentParser(prog="lay.py", description="Lay out or check what an mtree file describes.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="tree|tar|check")
    for name in ("tree", "tar", "check"):
        verb = verbs.add_parser(name)
        verb.add_argument("mtree", metavar="MTREE")
        verb.add_argument("target", metavar="TARGET")
        if name != "check":
            verb.add_argument("--from", dest="source", metavar="DIR", required=True, help="where contents= leads from")
            verb.add_argument(
                "--at", metavar="PREFIX=PATH", type=place, action="append", default=[],
                help="read what begins with PREFIX from PATH instead; may be given more than once",
            )  # fmt: skip
            verb.add_argument("--expect", metavar="DIGEST", help="sha256:... that the tree's tar must have")
        if name != "tar":
            verb.add_argument(
                "--no-owner", dest="owner", action="store_false",
                help="leave alone what only root may set: owners, set-user-ID bits, extended attributes",
            )  # fmt: skip
    options = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        return run(options)
    except Refused as error:
        print(f"lay.py: {error}", file=sys.stderr)  # noqa: T201
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename else options.target
        print(f"lay.py: {where}: {error.strerror}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
