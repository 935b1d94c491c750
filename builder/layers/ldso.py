"""`ldconfig` without running it: the links by SONAME and `etc/ld.so.cache`, byte for byte what glibc's own writes.

The format is the one that glibc writes since 2.32 (elf/cache.c, sysdeps/generic/dl-cache.h): a header, the libraries
sorted from last to first name, their strings in a table that shares suffixes (elf/stringtable.c), and an extension
with the program's own version and the hwcaps folders. Search order and choice among candidates follow
elf/ldconfig.c. The auxiliary cache, which holds inode numbers, is not written.
"""

from __future__ import annotations

import fnmatch
import functools
import posixpath
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from builder.layers.elf import SHARED, Elf, read_elf
from builder.layers.entry import Entry, Kind
from builder.layers.rootfs import Root

CACHE: Final = "etc/ld.so.cache"
_CONF: Final = "etc/ld.so.conf"
_MOST_INCLUDES: Final = 64
_HWCAPS: Final = "glibc-hwcaps"

_FLAGS: Final = {(62, 64): 0x0303, (62, 32): 0x0803, (3, 32): 0x0003, (183, 64): 0x0A03}
"""ELF machine and class to FLAG_ELF_LIBC6 with FLAG_X8664_LIB64, FLAG_X8664_LIBX32, nothing, FLAG_AARCH64_LIB64."""

TRIPLETS: Final = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
"""ELF machine to the folder of its libraries."""

_EXTENSION_HWCAP: Final = 1 << 62
_MAGIC: Final = b"glibc-ld.so.cache1.1"
_LITTLE_ENDIAN: Final = 2
_EXTENSION_MAGIC: Final = 0xEAA42174
_BANNER: Final = re.compile(
    rb"GNU C Library \(([ -'*-~]{1,80})\) ([a-z]{1,20}) release version ([0-9]+(?:\.[0-9]+)+)\.\n"
)
_DEFAULT_CONF: Final = b"include /etc/ld.so.conf.d/*.conf\n\n"


@dataclass(frozen=True, slots=True)
class Library:
    """One line of the cache: SONAME, file, ELF flags; the hwcaps folder it is in, if any, and the level it needs."""

    soname: str
    path: str
    flags: int
    hwcap: str = ""
    isa_level: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    flags: int
    isa_level: int
    is_link: bool


def link_libraries(root: Root) -> None:
    """Make the missing links by SONAME, the cache, and the list of folders if nobody ships one.

    Nothing is done in a root without glibc. Without `ldconfig`, which is in another package, the cache is still made:
    it is what hosts look for that add their own libraries, and the one source of names outside the built-in folders.
    """
    found = _libc(root)
    if found is None:
        return
    machine, generator = found
    if root.at(_CONF) is None:
        root.write(_CONF, _DEFAULT_CONF)
        root.folder(f"{_CONF}.d")
    libraries: list[Library] = []
    hwcaps: set[str] = set()
    for folder in search_folders(root, machine):
        libraries.extend(_scan(root, folder, machine))
        for hwcap in root.names(f"{folder[1:]}/{_HWCAPS}"):
            if root.is_folder(f"{folder[1:]}/{_HWCAPS}/{hwcap}"):
                hwcaps.add(hwcap)
                libraries.extend(_scan(root, f"{folder}/{_HWCAPS}/{hwcap}", machine, hwcap))
    root.write(CACHE, cache_bytes(libraries, generator, hwcaps))


def _libc(root: Root) -> tuple[int, bytes] | None:
    """The root's ELF machine, and the text that its glibc's own ldconfig would sign a cache with."""
    for machine, triplet in TRIPLETS.items():
        data = root.read(f"usr/lib/{triplet}/libc.so.6")
        match = _BANNER.search(data) if data is not None else None
        if match is not None:
            return machine, b"ldconfig (%s) %s release version %s" % match.groups()
    return None


def search_folders(root: Root, machine: int) -> list[str]:
    """The folders that the dynamic linker knows, in order: `etc/ld.so.conf`, then those built into Debian's glibc.

    Args:
        root: where they have to exist; a folder that is reached under two names counts under the first.
        machine: the ELF machine of the image.
    """
    listed = _conf(root, f"/{_CONF}", [0])
    triplet = TRIPLETS.get(machine)
    if triplet is not None:
        listed += [f"/lib/{triplet}", f"/usr/lib/{triplet}"]
    listed += ["/lib", "/usr/lib"]
    found: dict[str, str] = {}
    for folder in listed:
        if root.is_folder(folder[1:]):
            found.setdefault(root.resolve(folder[1:]), folder)
    return list(found.values())


def _conf(root: Root, path: str, depth: list[int]) -> list[str]:
    depth[0] += 1
    data = root.read(path[1:])
    if data is None or depth[0] > _MOST_INCLUDES:
        return []
    folders = []
    for text in data.decode(errors="replace").splitlines():
        words = text.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                folder, _, name = posixpath.join(posixpath.dirname(path), pattern).rpartition("/")
                for match in sorted(fnmatch.filter(root.names(folder[1:]), name), key=str.encode):
                    if not match.startswith("."):
                        folders += _conf(root, f"{folder}/{match}", depth)
        elif words and words[0] != "hwcap" and words[0].startswith("/"):
            # A type may follow the folder: `/usr/lib=libc5`.
            folders.append(posixpath.normpath(words[0].partition("=")[0]))
    return folders


def _scan(root: Root, folder: str, machine: int, hwcap: str = "") -> list[Library]:
    """Look at one folder as ldconfig's `search_dir` does."""
    chosen: dict[str, _Candidate] = {}
    for name in root.names(folder[1:]):
        path = f"{folder[1:]}/{name}"
        if not _is_library_name(name):
            continue
        own, entry = root.at(path), root.find(path)
        if own is None or entry is None or entry.kind is not Kind.FILE:
            continue
        elf = _library(entry, machine)
        if elf is None:
            continue
        soname, is_link = elf.soname or name, own.kind is Kind.SYMLINK
        if is_link and _is_proper_link(name, soname):
            soname = name
        else:
            is_link = False
        candidate = _Candidate(name, _FLAGS[elf.machine, elf.bits], elf.isa_level, is_link)
        known = chosen.get(soname)
        if known is None or _better(candidate, known):
            chosen[soname] = candidate
    libraries = []
    for soname, one in chosen.items():
        if not hwcap and not one.is_link:
            _link(root, folder[1:], one.name, soname)
        libraries.append(Library(soname, f"{folder}/{one.name if hwcap else soname}", one.flags, hwcap, one.isa_level))
    return libraries


def _is_library_name(name: str) -> bool:
    """As `_dl_is_dso` and `skip_dso_based_on_name` of elf/ldconfig.c."""
    if not (name.startswith(("lib", "ld-")) and ".so" in name) and name not in ("ld.so", "ld64.so"):
        return False
    return not name.endswith((".#prelink#", ".dpkg-new", ".dpkg-tmp")) and ".#prelink#." not in name


def _is_proper_link(name: str, soname: str) -> bool:
    """Whether a link is named as its SONAME or as the development link `libfoo.so` to it; others count as files."""
    return name == soname or (name.endswith(".so") and soname.startswith(name))


def _better(new: _Candidate, old: _Candidate) -> bool:
    """A file before a link; among equals, the newer by name."""
    if new.is_link != old.is_link:
        return old.is_link
    return compare_names(old.name, new.name) < 0


def _link(root: Root, folder: str, name: str, soname: str) -> None:
    if name == soname or "/" in soname:
        return
    old = root.at(f"{folder}/{soname}")
    if old is not None and (
        old.kind is not Kind.SYMLINK or root.resolve(f"{folder}/{soname}") == root.resolve(f"{folder}/{name}")
    ):
        return
    root.link(f"{folder}/{soname}", name)


def _library(entry: Entry, machine: int) -> Elf | None:
    if entry.source is None:
        return None
    with entry.source() as file:
        elf = read_elf(file)
    if elf is None or elf.type != SHARED or (elf.machine, elf.bits) not in _FLAGS:
        return None
    # An x86-64 system also runs 32-bit programs; no other pair mixes.
    return elf if elf.machine == machine or (machine, elf.machine) == (62, 3) else None


def compare_names(one: str, other: str) -> int:
    """As `_dl_cache_libcmp` in glibc: runs of digits compare as numbers and come after anything else."""
    left, right = one.encode() + b"\0", other.encode() + b"\0"
    at = to = 0
    while left[at]:
        if left[at : at + 1].isdigit():
            if not right[to : to + 1].isdigit():
                return 1
            first, at = _digits(left, at)
            second, to = _digits(right, to)
            if first != second:
                return first - second
        elif right[to : to + 1].isdigit():
            return -1
        elif left[at] != right[to]:
            return left[at] - right[to]
        else:
            at, to = at + 1, to + 1
    return left[at] - right[to]


def _digits(text: bytes, at: int) -> tuple[int, int]:
    value = 0
    while text[at : at + 1].isdigit():
        value = value * 10 + text[at] - ord("0")
        at += 1
    return value, at


def _compare(one: Library, other: Library) -> int:
    """As `compare` in elf/cache.c: names from last to first, hwcaps before plain files."""
    by_name = compare_names(other.soname, one.soname)
    if by_name or one.flags != other.flags:
        return by_name or other.flags - one.flags
    if bool(one.hwcap) != bool(other.hwcap):
        return -1 if one.hwcap else 1
    return (one.hwcap > other.hwcap) - (one.hwcap < other.hwcap)


def cache_bytes(libraries: Sequence[Library], generator: bytes, folders: Collection[str] = ()) -> bytes:
    """The cache file.

    Args:
        libraries: in the order in which they were found.
        generator: the text that signs it.
        folders: the names of all hwcaps folders: glibc keeps even those where it found nothing among the strings.
    """
    ordered = sorted(libraries, key=functools.cmp_to_key(_compare))
    hwcaps = sorted({library.hwcap for library in ordered if library.hwcap}, key=str.encode)
    texts = {text for library in ordered for text in (library.soname, library.path)} | set(hwcaps) | set(folders)
    table, offsets = string_table(texts)
    start = 48 + 24 * len(ordered)
    rows = b"".join(
        struct.pack(
            "<iIIIQ",
            library.flags,
            start + offsets[library.soname],
            start + offsets[library.path],
            0,
            _EXTENSION_HWCAP | library.isa_level << 32 | hwcaps.index(library.hwcap) if library.hwcap else 0,
        )
        for library in ordered
    )
    end = start + len(table)
    extension = end + -end % 4
    header = _MAGIC + struct.pack("<IIB3xI12x", len(ordered), len(table), _LITTLE_ENDIAN, extension)
    body = header + rows + table + bytes(extension - end)
    indices = b"".join(struct.pack("<I", start + offsets[name]) for name in hwcaps)
    first = extension + 8 + 16 * (2 if hwcaps else 1)
    sections = struct.pack("<IIII", 0, 0, first + len(indices), len(generator))
    if hwcaps:
        sections += struct.pack("<IIII", 1, 0, first, len(indices))
    return body + struct.pack("<II", _EXTENSION_MAGIC, 2 if hwcaps else 1) + sections + indices + generator


def string_table(texts: set[str]) -> tuple[bytes, dict[str, int]]:
    """As `stringtable_finalize` in glibc: sorted from last to first by reversed text, so that suffixes are shared."""
    ordered = sorted((text.encode() for text in texts), key=lambda text: text[::-1], reverse=True)
    out = bytearray()
    offsets: dict[str, int] = {}
    previous, offset = b"", 0
    for number, text in enumerate(ordered):
        if number and previous.endswith(text):
            offset += len(previous) - len(text)
        else:
            offset = offset + len(previous) + 1 if number else 0
            out += bytes(max(0, offset + len(text) + 1 - len(out)))
            out[offset : offset + len(text)] = text
        offsets[text.decode()] = offset
        previous = text
    return bytes(out), offsets
