"""The Debian mirrors that this machine's apt uses: only where they are; what they serve is checked elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

APT = Path("/etc/apt")

_SCHEMES = ("http://", "https://", "file:/")


def apt_bases(registry: str, folder: Path = APT) -> tuple[str, ...]:
    """Base URLs of a Debian archive in apt's sources, in apt's order, each once, without a slash at the end.

    Args:
        registry: `debian` or `debian-security`, which is the last segment of the URLs taken.
        folder: apt's configuration folder.
    """
    files = [folder / "sources.list"]
    parts = folder / "sources.list.d"
    if parts.is_dir():
        files += sorted(path for path in parts.iterdir() if path.suffix in (".list", ".sources"))
    found: dict[str, None] = {}
    for file in files:
        try:
            text = file.read_text("utf-8", errors="replace")
        except OSError:  # not there, or only root may read it; then its mirrors are not ours to use
            continue
        uris = deb822_uris(text) if file.suffix == ".sources" else one_line_uris(text)
        for uri in uris:
            base = uri.rstrip("/")
            if base.startswith(_SCHEMES) and base.rpartition("/")[2] == registry:
                found[base] = None
    return tuple(found)


def one_line_uris(text: str) -> Iterator[str]:
    """URIs of the one-line format: `deb [ option=value ... ] uri suite [component ...]`; see sources.list(5)."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?([^\s\[]\S*)\s+\S", line.partition("#")[0])
        if match:
            yield match[1]


def deb822_uris(text: str) -> Iterator[str]:
    """URIs of the enabled binary stanzas of the deb822 format; see sources.list(5)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + " " + line.strip()
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "without", "disable")
        if enabled and "deb" in fields.get("types", "").split():
            yield from fields.get("uris", "").split()
