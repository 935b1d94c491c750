"""A Python package index in a folder, with wheels made by hand."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from builder.lock.target import Target

ANY = "py3-none-any"
X86 = "cp313-cp313-manylinux_2_28_x86_64"
ARM = "cp313-cp313-manylinux_2_28_aarch64"
TARGETS = (Target("linux/amd64", "3.13.5", (2, 41)), Target("linux/arm64", "3.13.5", (2, 41)))


class FakeIndex:
    """A simple index (PEP 503) below `root`, and the environment that leads uv to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.simple = root / "simple"
        self.lines: dict[str, list[str]] = {}

    def environ(self, url: str | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "UV_CACHE_DIR": str(self.root / "cache"),
            "UV_NO_CONFIG": "1",
            "UV_HTTP_RETRIES": "0",
            "UV_DEFAULT_INDEX": url or self.simple.as_uri(),
        }

    def wheel(
        self,
        name: str,
        version: str = "1.0",
        tag: str = ANY,
        *,
        requires: tuple[str, ...] = (),
        files: Mapping[str, bytes] | None = None,
        yanked: bool = False,
    ) -> Path:
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
        path = self._path(name, f"{module}-{version}-{tag}.whl")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in (files or {f"{module}/__init__.py": b""}).items():
                archive.writestr(member, content)
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            archive.writestr(f"{info}/RECORD", "")
        self._list(name, path, ' data-yanked="broken"' if yanked else "")
        return path

    def sdist(self, name: str, version: str = "1.0") -> None:
        path = self._path(name, f"{name}-{version}.tar.gz")
        path.write_bytes(b"not looked at")
        self._list(name, path, "")

    def runtime(self) -> None:
        """What every image needs."""
        for name in ("numpy", "safetensors"):
            self.wheel(name, tag=X86)
            self.wheel(name, tag=ARM)
        self.wheel("ml-dtypes")

    def _path(self, name: str, file: str) -> Path:
        folder = self.simple / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / file

    def _list(self, name: str, path: Path, attributes: str) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        link = f'<a href="{path.name.replace("+", "%2B")}#sha256={digest}"{attributes}>{path.name}</a><br>'
        self.lines.setdefault(name, []).append(link)
        text = "<!DOCTYPE html><html><body>" + "\n".join(self.lines[name]) + "</body></html>"
        (self.simple / name / "index.html").write_text(text)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Sizeless(_Quiet):
    def send_header(self, keyword: str, value: str) -> None:
        if keyword.lower() != "content-length":
            super().send_header(keyword, value)


@contextmanager
def serving(folder: Path, *, sizes: bool = True) -> Iterator[str]:
    """Serve a folder over HTTP; gives the base URL."""
    handler = _Quiet if sizes else _Sizeless

    def make(*arguments: object) -> SimpleHTTPRequestHandler:
        return handler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
