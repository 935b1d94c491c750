from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from loopback import Handler, Server

from builder.store.attempt import Patience, Refused, Transient
from builder.store.client import Client, proxy_for, redacted, split_credentials

QUICK = Patience(connect=2, read=2)


def body(client: Client, url: str) -> bytes:
    with client.get(url, {}) as reply:
        assert reply.status == 200
        return b"".join(iter(reply.read, b""))


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a.example/x", {}, ""),
        ("http://a.example/x", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("http://a.example/x", {"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:2"}, "http://q:2"),
        ("http://a.example/x", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("https://a.example/x", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ("https://a.example/x", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "b.example,a.example"}, ""),
        ("http://x.a.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": ".a.example"}, ""),
        ("http://x.a.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.example"}, ""),
        ("http://xa.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.example"}, "http://p:1"),
        ("http://a.example:81/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.example:80"}, "http://p:1"),
        ("http://a.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.example:80"}, ""),
        ("http://A.example/x", {"HTTP_PROXY": "http://p:1", "no_proxy": "*"}, ""),
        ("http://a.example/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": ",,"}, "http://p:1"),
    ],
)
def test_proxies(url: str, environ: dict[str, str], proxy: str) -> None:
    assert proxy_for(url, environ) == proxy


def test_a_real_proxy_is_used(server: Server) -> None:
    server.files["http://a.example/f"] = b"through the proxy"
    proxy = server.url("").replace("http://", "http://me:secret@")
    client = Client(QUICK, {"HTTP_PROXY": proxy})
    assert body(client, "http://a.example/f") == b"through the proxy"
    [(path, headers)] = server.log
    assert path == "http://a.example/f"
    assert headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_a_proxy_that_is_down(server: Server) -> None:
    client = Client(QUICK, {"HTTP_PROXY": "http://127.0.0.1:9"})
    with pytest.raises(Transient, match=r"proxy|refused") as caught, client.get(server.url("/f"), {}):
        pass
    assert caught.value.unreachable
    with (
        pytest.raises(Refused, match="proxy"),
        Client(QUICK, {"HTTP_PROXY": "socks5://x"}).get("http://a.example/", {}),
    ):
        pass


def test_secrets_are_not_shown() -> None:
    assert redacted("https://user:pw@h.example:1/a/b?sig=x#y") == "https://h.example:1/a/b"
    assert redacted("/plain/path") == "/plain/path"
    assert split_credentials("https://u%40x:p%3Aw@h.example/a")[1] == {"authorization": "Basic dUB4OnA6dw=="}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl program")
    path = tmp_path / "both.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*make, *names, "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


def test_certificates_are_checked_and_can_be_named(
    server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.files["/f"] = b"secret"
    url = server.url("/f").replace("http:", "https:")
    with pytest.raises(Refused, match="not trusted"):
        body(Client(QUICK, {}), url)
    assert body(Client(QUICK, {"REQUESTS_CA_BUNDLE": str(certificate)}), url) == b"secret"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert body(Client(QUICK, {}), url) == b"secret"
    with pytest.raises(Refused, match="cannot be read"):
        body(Client(QUICK, {"REQUESTS_CA_BUNDLE": str(tmp_path / "none")}), url)


def test_headers_without_end_are_refused(server: Server) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        for number in range(5000):
            handler.send_header(f"X-{number}", "x" * 100)
        handler.end_headers()

    server.scripts["/f"] = [endless]
    with pytest.raises(Transient, match="broke"):
        body(Client(QUICK, {}), server.url("/f"))


def test_netrc_is_obeyed_for_its_host_only(server: Server, tmp_path: Path) -> None:
    server.files["/f"] = b"x"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    client = Client(QUICK, {"HOME": str(tmp_path)})
    body(client, server.url("/f"))
    body(client, server.url("/f").replace("127.0.0.1", "localhost"))
    body(client, server.url("/f").replace("http://", "http://a:b@"))
    assert [headers.get("authorization") for _, headers in server.log] == ["Basic bWU6c2VjcmV0", None, "Basic YTpi"]
    (tmp_path / ".netrc").write_text("machine without end\x00")
    body(Client(QUICK, {"HOME": str(tmp_path)}), server.url("/f"))
