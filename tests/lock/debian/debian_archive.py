"""A Debian archive in miniature: signed by a key of its own, served from memory on the loopback."""

from __future__ import annotations

import hashlib
import lzma
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pysequoia import SignatureMode, Tsk, sign

from builder.lock.debian.packages import Packages
from builder.lock.debian.universe import Universe

NOW = datetime(2026, 9, 20, 12, 0, 0, tzinfo=UTC)


def stanza(line: str, own: str = "amd64") -> str:
    """`name version, Field: value, ...` with `;` between fields, completed to what an index holds."""
    head, *fields = (part.strip() for part in line.split(";"))
    name, version = head.split()
    given = dict(field.split(": ", 1) for field in fields)
    architecture = given.pop("Architecture", own)
    file = f"pool/main/{name[0]}/{name}/{name}_{version.replace(':', '%3a')}_{architecture}.deb"
    base = {
        "Package": name,
        "Version": version,
        "Architecture": architecture,
        "Filename": file,
        "Size": str(1000 + len(file)),
        "SHA256": hashlib.sha256(file.encode()).hexdigest(),
    }
    return "".join(f"{key}: {value}\n" for key, value in {**base, **given}.items())


def index(text: str, architecture: str = "amd64") -> bytes:
    """An index of one stanza per line."""
    return "\n".join(stanza(line, architecture) for line in text.strip().splitlines() if line.strip()).encode()


def packages(text: str, *, suite: str = "trixie", architecture: str = "amd64") -> Packages:
    return Packages(index(text), registry="debian", suite=suite, architecture=architecture)


def universe(*suites: str, architecture: str = "amd64") -> Universe:
    """A universe of suites named one, two, ..., each a text of one stanza per line."""
    names = ("one", "two", "three")
    return Universe(
        architecture,
        [
            packages(text, suite=name, architecture=architecture)
            for name, text in zip(names, suites, strict=False)
        ],
    )  # fmt: skip


def release_text(
    files: Mapping[str, bytes],
    *,
    codename: str = "trixie",
    suite: str = "stable",
    date: str = "Sat, 12 Sep 2026 07:55:41 UTC",
    valid_until: str | None = None,
    by_hash: bool = True,
) -> str:
    """What an archive signs."""
    lines = ["Origin: Debian", "Label: Debian", f"Suite: {suite}", f"Codename: {codename}", f"Date: {date}"]
    lines += [f"Valid-Until: {valid_until}"] if valid_until else []
    lines += ["Acquire-By-Hash: yes"] if by_hash else []
    lines += ["Architectures: all amd64 arm64", "Components: main", "MD5Sum:"]
    lines += [f" {hashlib.md5(data).hexdigest()} {len(data):8} {path}" for path, data in files.items()]
    lines += ["SHA256:"]
    lines += [f" {hashlib.sha256(data).hexdigest()} {len(data):8} {path}" for path, data in files.items()]
    return "\n".join(lines) + "\n"


def signed(text: str | bytes, key: Tsk) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return sign(key.signer(), data, mode=SignatureMode.CLEAR)


def suite_files(
    key: Tsk,
    content: Mapping[str, str],
    *,
    codename: str = "trixie",
    suite: str = "stable",
    **options: str | bool | None,
) -> dict[str, bytes]:
    """All files of a suite, by path below the archive's root.

    Args:
        key: signs it.
        content: the index of each architecture, one stanza per line.
        codename: of the suite.
        suite: its other name.
        options: as `release_text` takes them.
    """
    listed: dict[str, bytes] = {}
    for architecture, text in content.items():
        whole = index(text, architecture)
        listed[f"main/binary-{architecture}/Packages"] = whole
        listed[f"main/binary-{architecture}/Packages.xz"] = lzma.compress(whole)
    files = {f"dists/{codename}/{path}": data for path, data in listed.items() if path.endswith(".xz")}
    if options.get("by_hash", True):
        for path, data in listed.items():
            if path.endswith(".xz"):
                folder = path.rpartition("/")[0]
                files[f"dists/{codename}/{folder}/by-hash/SHA256/{hashlib.sha256(data).hexdigest()}"] = data
    text = release_text(listed, codename=codename, suite=suite, **options)  # type: ignore[arg-type]
    files[f"dists/{codename}/InRelease"] = signed(text, key)
    return files


class Mirror:
    """Files in memory behind a loopback server; `asked` are the paths that it was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.stalled: set[str] = set()
        self.broken: dict[str, int] = {}
        self.url = ""

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.removeprefix("/debian/")
        self.asked.append(path)
        if self.broken.get(path, 0) > 0:
            self.broken[path] -= 1
            handler.send_error(503)
            return
        data = self.files.get(path)
        if data is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if path in self.stalled:
            handler.wfile.write(data[:10])
            handler.wfile.flush()
            time.sleep(60)
            return
        handler.wfile.write(data)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Mirror]:
    mirror = Mirror(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.reply(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}/debian"
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
