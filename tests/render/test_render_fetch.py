"""fetch.py against servers on this machine: honest, slow, lying and gone."""

from __future__ import annotations

import ast
import hashlib
import http.server
import json
import lzma
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import debs
import pytest
from laying import TEMPLATES, Said

BUSYBOX = b"\x7fELF static" * 100
WHEEL = b"PK wheel" * 1000
NAME = "demo_pkg-1.0-py3-none-any.whl"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """What a server has, by path, and what it was asked. `answer` may deal with a request itself."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    answer: Callable[[http.server.BaseHTTPRequestHandler, bytes], bool] = lambda handler, data: False
    url: str = ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    known = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append((self.path, self.headers["Range"]))
            data = known.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            if known.answer(self, data):
                return
            start = int((self.headers["Range"] or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield known
        server.shutdown()


def busybox_deb(program: bytes = BUSYBOX, name: str = "./usr/bin/busybox") -> bytes:
    data = debs.header(name, size=len(program), mode=0o755) + debs.pad(program) + debs.END
    parts = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", lzma.compress(debs.END)),
        ("data.tar.xz", lzma.compress(data)),
    )
    deb = b"!<arch>\n"
    for part, content in parts:
        deb += f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        deb += content + b"\n" * (len(content) % 2)
    return deb


@dataclass
class Directory:
    """A rendered directory with what fetch.py looks at."""

    path: Path
    inputs: list[dict]
    deb: bytes

    def fetch(self, *words: str, **env: str) -> Said:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KBUILD_", "PIP_", "UV_"))}
        run = subprocess.run(
            [sys.executable, self.path / "fetch.py", *words],
            # Whatever would leave this machine meets a closed door.
            env=clean | {"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1", "PIP_NO_INDEX": "1", **env},
            cwd="/", capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return Said(run.returncode, run.stdout, run.stderr)

    def has(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.exists() else None


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    shutil.copy(TEMPLATES / "fetch.py", tmp_path)
    deb = busybox_deb()
    inputs = [
        {"name": "busybox+b1.deb", "kind": "file", "sha256": sha(deb), "size": len(deb), "registry": "debian",
         "path": "pool/main/busybox+b1.deb"},
        {"name": NAME, "kind": "zip", "sha256": sha(WHEEL), "size": len(WHEEL), "registry": "pypi",
         "path": f"demo-pkg/{NAME}"},
    ]  # fmt: skip
    listing = {
        "schema": "kbuild.render.inputs/1",
        "snapshots": {"debian": "2026-01-02T03:04:05Z"},
        "bootstrap": {"path": "bootstrap/busybox", "sha256": sha(BUSYBOX), "package": "busybox+b1.deb",
                      "member": "usr/bin/busybox"},
        "inputs": inputs,
    }  # fmt: skip
    (tmp_path / "inputs.json").write_text(json.dumps(listing))
    return Directory(tmp_path, inputs, deb)


def serve(registry: Registry, directory: Directory) -> tuple[str, ...]:
    """Put everything onto the server; returns the options that lead there."""
    registry.files["/debian/pool/main/busybox%2Bb1.deb"] = directory.deb
    registry.files["/simple/demo-pkg/"] = f'<a href="../../files/{NAME}#sha256=00">{NAME}</a><a href="x">x</a>'.encode()
    registry.files[f"/files/{NAME}"] = WHEEL
    return "--debian-mirror", f"{registry.url}/debian/", "--pypi-index", f"{registry.url}/simple"


def test_everything(registry: Registry, directory: Directory) -> None:
    options = serve(registry, directory)
    said = directory.fetch(*options)
    assert said.code == 0, said.stderr
    assert directory.has("inputs/busybox+b1.deb") == directory.deb
    assert directory.has(f"inputs/{NAME}") == WHEEL
    assert directory.has("bootstrap/busybox") == BUSYBOX
    assert stat.S_IMODE((directory.path / "bootstrap/busybox").stat().st_mode) == 0o755
    assert {path.name for path in (directory.path / "inputs").iterdir()} == {"busybox+b1.deb", NAME}
    registry.asked.clear()
    assert directory.fetch(*options).code == 0
    assert registry.asked == []


def test_by_variables(registry: Registry, directory: Directory) -> None:
    serve(registry, directory)
    said = directory.fetch(KBUILD_DEBIAN_MIRROR=f"{registry.url}/debian", KBUILD_PYPI_INDEX=f"{registry.url}/simple/")
    assert said.code == 0, said.stderr


def test_an_index_that_speaks_json(registry: Registry, directory: Directory) -> None:
    options = serve(registry, directory)
    page = {"files": [{"filename": "x", "url": "x"}, {"filename": NAME, "url": f"/files/{NAME}"}]}

    def answer(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> bool:
        if handler.path != "/simple/demo-pkg/":
            return False
        assert "application/vnd.pypi.simple.v1+json" in handler.headers["Accept"]
        handler.send_response(200)
        handler.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        handler.end_headers()
        handler.wfile.write(json.dumps(page).encode())
        return True

    registry.answer = answer
    said = directory.fetch(*options)
    assert said.code == 0, said.stderr


def test_a_mirror_that_is_a_folder(registry: Registry, directory: Directory, tmp_path: Path) -> None:
    options = serve(registry, directory)
    mirror = tmp_path / "mirror" / "pool" / "main"
    mirror.mkdir(parents=True)
    (mirror / "busybox+b1.deb").write_bytes(directory.deb)
    assert directory.fetch("--debian-mirror", str(tmp_path / "mirror"), *options[2:]).code == 0
    assert not any(path.startswith("/debian") for path, _ in registry.asked)


def test_half_a_download_is_continued(registry: Registry, directory: Directory) -> None:
    options = serve(registry, directory)
    (directory.path / "inputs").mkdir()
    (directory.path / f"inputs/.{NAME}.part").write_bytes(WHEEL[:5000])
    assert directory.fetch(*options).code == 0
    assert (f"/files/{NAME}", "bytes=5000-") in registry.asked
    assert directory.has(f"inputs/{NAME}") == WHEEL


def test_a_connection_that_breaks(registry: Registry, directory: Directory) -> None:
    options = serve(registry, directory)

    def answer(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> bool:
        if handler.headers["Range"] or not handler.path.startswith("/files"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:3000])
        return True

    registry.answer = answer
    said = directory.fetch(*options)
    assert said.code == 0, said.stderr
    assert (f"/files/{NAME}", "bytes=3000-") in registry.asked


@pytest.mark.parametrize("there", [WHEEL[:-1] + b"X", WHEEL[:100], WHEEL + b"more", b"old" + WHEEL])
def test_what_is_there_is_not_trusted(registry: Registry, directory: Directory, there: bytes) -> None:
    options = serve(registry, directory)
    (directory.path / "inputs").mkdir()
    (directory.path / "inputs" / NAME).write_bytes(there)
    (directory.path / f"inputs/.{NAME}.part").write_bytes(there)
    directory.fetch(*options)
    said = directory.fetch(*options)
    assert said.code == 0, said.stderr
    assert directory.has(f"inputs/{NAME}") == WHEEL


@pytest.mark.parametrize("served", [b"X" + WHEEL[1:], WHEEL + b"X" * 10_000_000])
def test_other_bytes_than_promised(registry: Registry, directory: Directory, served: bytes) -> None:
    options = serve(registry, directory)
    registry.files[f"/files/{NAME}"] = served
    said = directory.fetch(*options)
    assert said.code == 1
    assert f"{NAME}: no place has it" in said.stderr
    assert "Traceback" not in said.stderr
    assert directory.has(f"inputs/{NAME}") is None
    part = directory.path / f"inputs/.{NAME}.part"
    assert not part.exists() or part.stat().st_size <= len(WHEEL)


def test_nothing_there(registry: Registry, directory: Directory) -> None:
    options = serve(registry, directory)
    registry.files.clear()
    said = directory.fetch(*options, "--debian-mirror", f"{registry.url}/none")
    assert said.code == 1
    assert "busybox+b1.deb: no place has it" in said.stderr
    assert f"{registry.url}/none/pool/main/busybox%2Bb1.deb: 404" in said.stderr
    assert "snapshot.debian.org/archive/debian/20260103T030405Z/pool/main/busybox%2Bb1.deb" in said.stderr


def test_a_package_without_the_program(registry: Registry, directory: Directory) -> None:
    directory.deb = busybox_deb(b"another program")
    listing = json.loads((directory.path / "inputs.json").read_text())
    listing["inputs"][0] |= {"sha256": sha(directory.deb), "size": len(directory.deb)}
    (directory.path / "inputs.json").write_text(json.dumps(listing))
    said = directory.fetch(*serve(registry, directory))
    assert said.code == 1
    assert "does not hold usr/bin/busybox as promised" in said.stderr
    assert directory.has("bootstrap/busybox") is None


def test_weights_that_no_registry_has(directory: Directory, registry: Registry) -> None:
    listing = json.loads((directory.path / "inputs.json").read_text())
    listing["inputs"].append(
        {"name": "w", "kind": "file", "sha256": "0" * 64, "size": 1, "registry": "local", "path": "w"}
    )
    (directory.path / "inputs.json").write_text(json.dumps(listing))
    said = directory.fetch(*serve(registry, directory))
    assert said.code == 1
    assert "w is in no registry; render again with --with-inputs" in said.stderr


def test_pip_where_no_index_is_named(registry: Registry, directory: Directory, tmp_path: Path) -> None:
    """pip is asked, with its own settings, for this one file by its hash."""
    options = serve(registry, directory)
    (tmp_path / "pip.py").write_text(
        "import json, pathlib, sys\n"
        "words = sys.argv[1:]\n"
        "wanted = pathlib.Path(words[words.index('--requirement') + 1]).read_text()\n"
        f"pathlib.Path({str(tmp_path / 'words')!r}).write_text(json.dumps([words, wanted]))\n"
        f"pathlib.Path(words[words.index('--dest') + 1], {NAME!r}).write_bytes({WHEEL!r})\n"
    )
    said = directory.fetch(*options[:2], PYTHONPATH=str(tmp_path))
    assert said.code == 0, said.stderr
    words, requirements = json.loads((tmp_path / "words").read_text())
    assert requirements == f"demo_pkg==1.0 --hash=sha256:{sha(WHEEL)}\n"
    assert {"download", "--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(words)
    assert directory.has(f"inputs/{NAME}") == WHEEL


def test_what_pip_brings_is_not_trusted(registry: Registry, directory: Directory, tmp_path: Path) -> None:
    options = serve(registry, directory)
    (tmp_path / "pip.py").write_text(
        "import pathlib, sys\n"
        "words = sys.argv[1:]\n"
        f"pathlib.Path(words[words.index('--dest') + 1], {NAME!r}).write_bytes(b'other')\n"
    )
    said = directory.fetch(*options[:2], PYTHONPATH=str(tmp_path))
    assert said.code == 1
    assert "pip did not download it" in said.stderr
    assert directory.has(f"inputs/{NAME}") is None


def test_it_stands_alone() -> None:
    text = (TEMPLATES / "fetch.py").read_text()
    nodes = list(ast.walk(ast.parse(text)))
    imports = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imports} - {"__future__"} <= sys.stdlib_module_names
