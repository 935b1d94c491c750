"""One HTTP client for everything that is fetched: connections kept, proxies, certificates, redirects, credentials.

It obeys the variables that other tools obey: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`; `SSL_CERT_FILE`,
`SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`; `NETRC`, else `~/.netrc`.
"""

from __future__ import annotations

import http.client
import netrc
import os
import ssl
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from builder.store.attempt import Patience, Refused, Transient
from builder.store.blobs import CHUNK

if TYPE_CHECKING:
    import urllib3

HOPS = 5
"""Redirects followed; registries need one or two."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body has not been read: header names in lower case; `read` returns b"" at the end."""

    status: int
    headers: Mapping[str, str]
    read: Callable[[], bytes]


class Client:
    """Asks servers and local files; may be used from many threads."""

    def __init__(self, patience: Patience, environ: Mapping[str, str] = os.environ, *, connections: int = 8) -> None:
        self._patience = patience
        self._environ = environ
        self._connections = connections
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._guard = threading.Lock()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Reply]:
        """Ask for a URL (`http`, `https`, `file`, or an absolute path).

        Raises:
            Refused: nothing will ever come from there.
            Transient: something went wrong on the way; also while the body is read.
        """
        if url.startswith("/"):
            opened = _local(url)
        elif url.startswith("file:"):
            opened = _local(_file_path(url))
        else:
            opened = self._remote(url, headers)
        with opened as reply:
            yield reply

    @contextmanager
    def _remote(self, url: str, headers: Mapping[str, str]) -> Iterator[Reply]:
        import urllib3  # noqa: PLC0415  # only who fetches pays for it
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        timeout = urllib3.Timeout(connect=self._patience.connect, read=self._patience.read)
        for _ in range(HOPS + 1):
            bare, authorization = split_credentials(url)
            authorization = authorization or self._from_netrc(bare)
            try:
                response = self._pool(bare).request(
                    "GET",
                    bare,
                    headers={"User-Agent": "kbuild", **headers, **authorization},
                    preload_content=False,
                    decode_content=False,
                    retries=False,
                    timeout=timeout,
                )
            except (HTTPError, OSError, ValueError) as error:
                raise explain(error) from error
            try:
                target = response.headers.get("location")
                if response.status in _REDIRECTS and target:
                    url = _redirected(url, target)
                    continue
                yield Reply(
                    response.status,
                    {name.lower(): value for name, value in response.headers.items()},
                    lambda response=response: _read(response),  # type: ignore[misc]
                )
                return
            finally:
                # A body read to its end has given its connection back already; any other is not worth draining.
                response.close()
        raise Refused(f"redirects more than {HOPS} times")

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._environ)
        key = (proxy, urlsplit(url).scheme)
        with self._guard:
            if key not in self._pools:
                # Reading the certificates takes longer than a small download; plain HTTP does without them.
                secure = any(part.lower().startswith("https") for part in (url, proxy))
                self._pools[key] = self._new_pool(proxy, self._trust if secure else None)
            return self._pools[key]

    def _new_pool(self, proxy: str, trust: ssl.SSLContext | None) -> urllib3.PoolManager:
        import urllib3  # noqa: PLC0415

        if not proxy:
            return urllib3.PoolManager(maxsize=self._connections, ssl_context=trust)
        bare, authorization = split_credentials(proxy)
        try:
            return urllib3.ProxyManager(
                bare,
                maxsize=self._connections,
                ssl_context=trust,
                proxy_ssl_context=trust,
                proxy_headers={f"proxy-{name}": value for name, value in authorization.items()},
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Refused(f"the proxy {redacted(proxy)} cannot be used: {error}") from error

    def _from_netrc(self, url: str) -> dict[str, str]:
        import urllib3  # noqa: PLC0415

        login = self._netrc.get(urlsplit(url).hostname or "")
        return urllib3.make_headers(basic_auth=f"{login[0]}:{login[2]}") if login else {}

    @cached_property
    def _netrc(self) -> Mapping[str, tuple[str, str, str]]:
        path = self._environ.get("NETRC") or os.path.join(self._environ.get("HOME") or "/", ".netrc")  # noqa: PTH118
        try:
            return netrc.netrc(path).hosts
        except (OSError, ValueError, netrc.NetrcParseError):  # absent, unreadable or not ours to mend
            return {}

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()  # honours SSL_CERT_FILE and SSL_CERT_DIR
        named = [self._environ.get(name) or "" for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")]
        try:
            for path in filter(None, named):
                context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})  # noqa: PTH112
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"the certificates in {path} cannot be read: {error}") from error
        defaults = ssl.get_default_verify_paths()
        if not any(named) and defaults.cafile is None and not (defaults.capath and os.listdir(defaults.capath)):  # noqa: PTH208
            import certifi  # noqa: PLC0415  # a machine without certificates of its own

            context.load_verify_locations(certifi.where())
        return context


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its user and password, and the header that says them."""
    import urllib3  # noqa: PLC0415

    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    return bare, urllib3.make_headers(basic_auth=unquote(user)) if at else {}


def redacted(url: str) -> str:
    """A URL that may be shown: no user, password, or query, any of which can hold a secret."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """The proxy that the environment names for a URL, or "" for none; lower-case variables win, as in curl."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    for entry in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").lower().split(","):
        name, _, port = entry.strip().lstrip(".*").partition(":")
        if entry.strip() == "*" or (name and (host == name or host.endswith("." + name)) and port in ("", _port(url))):
            return ""
    scheme = parts.scheme
    # HTTP_PROXY in capitals can be set by a client of a CGI program ("httpoxy"), which kbuild never is.
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    proxy = next((environ[name] for name in names if environ.get(name)), "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _port(url: str) -> str:
    parts = urlsplit(url)
    try:
        return str(parts.port or {"http": "80", "https": "443"}.get(parts.scheme, ""))
    except ValueError:
        return ""


def explain(error: Exception) -> Refused | Transient:
    """What an exception of the HTTP library means for the next attempt."""
    from urllib3 import exceptions as wire  # noqa: PLC0415

    outcome: Refused | Transient
    match error:
        case wire.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            outcome = Refused(f"its certificate is not trusted ({error}); SSL_CERT_FILE names those to trust")
        case wire.ProxyError():
            outcome = Transient(f"the proxy does not answer ({_last(error)})", unreachable=True)
        case wire.NameResolutionError():
            outcome = Transient("its name cannot be resolved", unreachable=True)
        case wire.NewConnectionError():
            outcome = Transient(f"no connection ({_last(error)})", unreachable=True)
        case wire.ConnectTimeoutError():
            outcome = Transient("no connection in time", unreachable=True)
        case wire.ReadTimeoutError():
            outcome = Transient("stalled: no data in time", patient=False)
        case wire.LocationValueError() | wire.URLSchemeUnknown() | ValueError():
            outcome = Refused(f"not a usable URL ({error})")
        case wire.IncompleteRead() | wire.ProtocolError(args=(_, http.client.IncompleteRead(), *_)):
            outcome = Transient("the body ended early")
        case _:
            outcome = Transient(f"the connection broke ({_last(error)})")
    return outcome


def _last(error: BaseException) -> str:
    while isinstance(error.__cause__ or error.__context__, Exception):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """What has arrived, as soon as anything has: waiting for a full buffer would hide a trickle from the watchdog."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return response.read1(CHUNK, decode_content=False) or b""
    except (HTTPError, OSError, ValueError) as error:
        raise explain(error) from error


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads: credentials go along within the same origin only, and only HTTP may follow."""
    try:
        new = urljoin(url, target)
        old_parts, parts = urlsplit(url), urlsplit(new)
        same = (parts.scheme, parts.hostname, parts.port) == (old_parts.scheme, old_parts.hostname, old_parts.port)
    except ValueError as error:
        raise Refused(f"redirects to something that is no URL ({error})") from error
    if parts.scheme not in ("http", "https"):
        raise Refused(f"redirects to {parts.scheme}:, which is never followed")
    user, at, _ = old_parts.netloc.rpartition("@")
    if same and at and "@" not in parts.netloc:
        return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))
    return new


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise Refused("a file: URL names this machine only")
    return unquote(parts.path)


@contextmanager
def _local(path: str) -> Iterator[Reply]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("is not a file")

        def read() -> bytes:
            try:
                return os.read(handle, CHUNK)
            except OSError as error:
                raise Refused(f"cannot be read ({error.strerror})") from error

        yield Reply(HTTPStatus.OK, {"content-length": str(status.st_size)}, read)
    finally:
        os.close(handle)
