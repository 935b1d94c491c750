"""A registry on loopback that can be made to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Serves `Server.files` well, ranges included, unless a behaviour was scripted for the path."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.log.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        script = self.server.scripts.get(self.path.partition("?")[0], [])
        behaviour = script.pop(0) if len(script) > 1 else script[0] if script else serve
        behaviour(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    @property
    def body(self) -> bytes | None:
        return self.server.files.get(self.path.partition("?")[0])

    def send(self, status: int, body: bytes = b"", **headers: object) -> None:
        """Send a whole answer; a header given as None is left out."""
        self.send_response(status)
        fields = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in fields.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def serve(handler: Handler) -> None:
    body = handler.body
    if body is None:
        handler.send(404)
        return
    tag = f'"{hash(body)}"'
    wish = handler.headers.get("Range")
    if wish and handler.headers.get("If-Range") in (None, tag):
        begin = int(wish.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(body):
            handler.send(416)
            return
        handler.send(206, body[begin:], ETag=tag, Content_Range=f"bytes {begin}-{len(body) - 1}/{len(body)}")
        return
    handler.send(200, body, ETag=tag)


class Server(ThreadingHTTPServer):
    """A registry on loopback whose every answer can be scripted: the last behaviour of a script stays."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.scripts: dict[str, list[Behaviour]] = {}
        self.log: list[tuple[str, dict[str, str]]] = []
        self.stop = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that cut us off are what is tested
