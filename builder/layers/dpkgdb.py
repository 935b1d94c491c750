"""dpkg's database, so that `dpkg-query`, package managers and scanners see what is in the image.

Status, file lists, checksums and configuration files are written as dpkg writes them (deb-status(5) and
lib/dpkg/parse.c). Maintainer scripts, triggers, `shlibs` and `symbols` are left out: nothing is ever removed,
triggered or built in an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from builder.layers.deb import Deb
from builder.layers.rootfs import Root

ADMIN: Final = "var/lib/dpkg"

_ORDER: Final[tuple[str, ...]] = (
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
)
"""The order in which dpkg writes the fields that it knows; others follow in the package's own."""


def record_packages(debs: Iterable[Deb], root: Root) -> None:
    """Write the database of these packages into the root."""
    stanzas = []
    for deb in sorted(debs, key=lambda deb: (deb.name, deb.architecture)):
        base = f"{ADMIN}/info/{deb.name}"
        if deb.control.get("Multi-Arch") == "same":
            base += f":{deb.architecture}"
        listed = ["/.", *(f"/{entry.path}" for entry in deb.entries)]
        root.write(f"{base}.list", "".join(f"{path}\n" for path in listed).encode())
        root.write(f"{base}.md5sums", deb.files.get("md5sums") or _md5sums(deb))
        if "conffiles" in deb.files:
            root.write(f"{base}.conffiles", deb.files["conffiles"])
        stanzas.append(_stanza(deb, root))
    root.write(f"{ADMIN}/status", "".join(stanzas).encode())
    root.write(f"{ADMIN}/info/format", b"1\n")
    for name in ("updates", "triggers", "parts", "alternatives"):
        root.folder(f"{ADMIN}/{name}")


def _stanza(deb: Deb, root: Root) -> str:
    fields = dict(deb.control)
    fields["Status"] = "install ok installed"
    if deb.conffiles:
        fields["Conffiles"] = "".join(f"\n {path} {_md5(path, root)}" for path in deb.conffiles)
    names = [name for name in _ORDER if name in fields]
    names += [name for name in fields if name not in _ORDER]
    lines = (f"{name}:{'' if fields[name].startswith(chr(10)) else ' '}{fields[name]}\n" for name in names)
    return "".join(lines) + "\n"


def _md5sums(deb: Deb) -> bytes:
    """What dpkg writes itself for a package that brings no checksums; configuration files have theirs in the status."""
    lines = []
    for entry in deb.entries:
        if entry.source is not None and f"/{entry.path}" not in deb.conffiles:
            with entry.source() as content:
                digest = hashlib.md5(content.read(), usedforsecurity=False)
            lines.append(f"{digest.hexdigest()}  {entry.path}\n")
    return "".join(lines).encode()


def _md5(path: str, root: Root) -> str:
    data = root.read(path[1:])
    return "newconffile" if data is None else hashlib.md5(data, usedforsecurity=False).hexdigest()
