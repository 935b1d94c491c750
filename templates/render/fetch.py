#!/usr/bin/env python3
"""Download the inputs that inputs.json lists into inputs/, each held to its size and SHA-256.

    ./fetch.py [--debian-mirror URL] [--debian-security-mirror URL] [--pypi-index URL]

What is there already and right is left alone, and what was half downloaded is continued. Debian packages come from the
mirrors, if any is named, or else from snapshot.debian.org. Wheels come from the package index, if one is named, or else
from wherever `pip download` gets them on this machine. KBUILD_DEBIAN_MIRROR, KBUILD_DEBIAN_SECURITY_MIRROR and
KBUILD_PYPI_INDEX stand for the options.

This program needs Python 3.9 and nothing else, but pip where no index is named.
"""

from __future__ import annotations

import argparse
import hashlib
import html.parser
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

HERE = Path(__file__).resolve().parent
SNAPSHOT = "http://snapshot.debian.org/archive"
CHUNK = 1 << 16
ATTEMPTS = 4
TIMEOUT = 60
"""Seconds without a byte after which a server has gone."""
MOST_PAGE = 64 << 20
MOST_PROGRAM = 64 << 20
HTTP_PARTIAL, HTTP_OK, HTTP_UNSATISFIABLE = 206, 200, 416
"""Answers to a request for the rest of a file: the rest, all of it, and that there is no rest."""


class Failed(Exception):
    """One line that says what could not be had, and why."""


class Lied(Exception):
    """A place serves something else than was promised; asking it again is pointless."""


# One file


def hash_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def is_there(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is there and right."""
    return path.is_file() and path.stat().st_size == size and hash_of(path) == sha256


def download(urls: list[str], target: Path, size: int, sha256: str) -> None:
    """Get a file from the first place that has it."""
    part = target.with_name(f".{target.name}.part")
    said = []
    for url in urls:
        for attempt in range(ATTEMPTS):
            time.sleep(0.5 * 2 ** (attempt - 1) if attempt else 0)
            try:
                get(url, part, size)
                check(part, sha256)
            except urllib.error.HTTPError as error:
                said.append(f"{url}: {error.code} {error.reason}")
                if error.code == HTTP_UNSATISFIABLE:
                    part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):  # noqa: PLR2004 - RFC 9110: final answers
                    break
            except Lied as error:
                said.append(f"{url}: {error}")
                part.unlink(missing_ok=True)
                break
            except (OSError, ValueError) as error:
                said.append(f"{url}: {error}")
            else:
                part.replace(target)
                return
    raise Failed(f"{target.name}: no place has it\n  " + "\n  ".join(dict.fromkeys(said)))


def get(url: str, part: Path, size: int) -> None:
    """Append what is missing of a file, and never more than there may be."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - mirrors may be files
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        continued = getattr(answer, "status", HTTP_OK) == HTTP_PARTIAL
        if continued and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise Lied("answers with another part than asked for")
        with part.open("ab" if continued else "wb") as out:
            left = size - have if continued else size
            while data := answer.read(min(CHUNK, left + 1)):
                left -= len(data)
                if left < 0:
                    raise Lied(f"sends more than {size} bytes")
                out.write(data)
            if left:
                raise ValueError(f"the connection ended {left} bytes too early")


def check(part: Path, sha256: str) -> None:
    """Hold a whole download to its hash."""
    if hash_of(part) != sha256:
        raise Lied("other bytes than the lock names")


# Where files are


def debian_urls(item: dict[str, Any], mirrors: dict[str, list[str]], snapshots: dict[str, str]) -> list[str]:
    """The mirrors, and the permanent archive as of the lock's index and a day later (see docs/lock.md of kbuild)."""
    registry, path = item["registry"], quote(item["path"], safe="/~:")
    urls = [f"{base(mirror)}/{path}" for mirror in mirrors[registry]]
    if date := snapshots.get(registry):
        moment = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - only its digits are used
        moments = (moment, moment + timedelta(days=1))
        urls += [f"{SNAPSHOT}/{registry}/{at:%Y%m%dT%H%M%SZ}/{path}" for at in moments]
    return urls


def base(place: str) -> str:
    """A mirror's URL, or that of a folder, without a slash at its end."""
    return (place if "://" in place else Path(place).absolute().as_uri()).rstrip("/")


class Links(html.parser.HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def index_urls(item: dict[str, Any], index: str) -> list[str]:
    """Where a package index has a wheel (PEP 503 and PEP 691)."""
    project, name = item["path"].split("/")
    page = f"{base(index)}/{project}/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    request = urllib.request.Request(page, headers={"Accept": accept})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            kind, page = answer.headers.get_content_type(), answer.geturl()
            text = answer.read(MOST_PAGE + 1)
    except OSError as error:
        raise Failed(f"{item['name']}: {page}: {error}") from None
    if len(text) > MOST_PAGE:
        raise Failed(f"{item['name']}: {page}: a page of more than {MOST_PAGE} bytes")
    if kind.endswith("+json"):
        return [urljoin(page, file["url"]) for file in json.loads(text)["files"] if file["filename"] == name]
    links = Links()
    links.feed(text.decode("utf-8", "replace"))
    return [
        urljoin(page, link).partition("#")[0]
        for link in links.found
        if urlsplit(urljoin(page, link)).path.rpartition("/")[2] in (name, quote(name))
    ]


def with_pip(item: dict[str, Any], target: Path, index: str | None) -> None:
    """Have pip download a wheel, by its own settings."""
    project, version, *_, python, abi, platforms = item["path"].split("/")[1].removesuffix(".whl").split("-")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip-") as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{project}=={version} --hash=sha256:{item['sha256']}\n")
        line = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        line += ["--quiet", "--disable-pip-version-check", "--dest", folder, "--requirement", str(wanted)]
        if platforms != "any":
            for tag in platforms.split("."):
                line += ["--platform", tag]
            line += ["--implementation", "cp", "--python-version", python.removeprefix("cp").split(".")[0]]
            for tag in abi.split("."):
                line += ["--abi", tag]
        run = subprocess.run([*line, *(["--index-url", index] if index else [])], check=False)
        found = Path(folder, item["path"].split("/")[1])
        if run.returncode or not is_there(found, item["size"], item["sha256"]):
            raise Failed(f"{item['name']}: pip did not download it; name an index with --pypi-index")
        found.replace(target)


# All of them


def fetch(item: dict[str, Any], listing: dict[str, Any], options: argparse.Namespace) -> None:
    """Have one input afterwards."""
    target = HERE / "inputs" / item["name"]
    if is_there(target, item["size"], item["sha256"]):
        return
    print(f"{item['name']} ({item['size'] / 1e6:.1f} MB)", file=sys.stderr)  # noqa: T201
    registry, index = item["registry"], options.pypi_index
    if registry == "local":
        raise Failed(f"{item['name']} is in no registry; render again with --with-inputs")
    if registry == "pypi" and (not index or "@" in urlsplit(index).netloc):  # pip knows about passwords
        with_pip(item, target, index)
        return
    if registry == "pypi":
        urls = index_urls(item, index)
    elif registry == "url":
        urls = [item["path"]]
    else:
        mirrors = {"debian": options.debian_mirror, "debian-security": options.debian_security_mirror}
        urls = debian_urls(item, mirrors, listing["snapshots"])
    download(urls, target, item["size"], item["sha256"])


def bootstrap(wanted: dict[str, Any]) -> None:
    """Take the program that the build starts with out of its package: an ar archive with a tar (deb(5))."""
    target = HERE / wanted["path"]
    if target.is_file() and hash_of(target) == wanted["sha256"]:
        return
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with (HERE / "inputs" / wanted["package"]).open("rb") as deb:
        deb.seek(8)
        while header := deb.read(60):
            name, size = header[:16].decode().strip(), int(header[48:58])
            if name.startswith("data.tar"):
                break
            deb.seek(size + size % 2, os.SEEK_CUR)
        with tarfile.open(fileobj=deb, mode="r|*") as data:
            for member in data:
                if member.name.removeprefix("./") == wanted["member"] and member.isfile():
                    content = data.extractfile(member)
                    part.write_bytes(content.read(MOST_PROGRAM) if content else b"")
                    break
    if not part.exists() or hash_of(part) != wanted["sha256"]:
        raise Failed(f"{wanted['package']} does not hold {wanted['member']} as promised")
    part.chmod(0o755)
    part.replace(target)


def main() -> int:
    """Fetch everything."""
    parser = argparse.ArgumentParser(description="Download the inputs of this directory, each held to its hash.")
    env = os.environ
    for option, what in (
        ("--debian-mirror", "base URL of a Debian mirror"),
        ("--debian-security-mirror", "base URL of a mirror of Debian's security archive"),
    ):
        variable = "KBUILD" + option[1:].upper().replace("-", "_")
        default = [env[variable]] if env.get(variable) else []
        text = f"{what}; may be given several times ({variable})"
        parser.add_argument(option, metavar="URL", action="extend", nargs=1, default=default, help=text)
    text = "base URL of a package index, PEP 503 (KBUILD_PYPI_INDEX)"
    parser.add_argument("--pypi-index", metavar="URL", default=env.get("KBUILD_PYPI_INDEX"), help=text)
    options = parser.parse_args()
    listing = json.loads((HERE / "inputs.json").read_text("utf-8"))
    (HERE / "inputs").mkdir(exist_ok=True)
    try:
        for item in listing["inputs"]:
            fetch(item, listing, options)
        bootstrap(listing["bootstrap"])
    except (Failed, OSError, tarfile.TarError) as error:
        print(f"fetch.py: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
