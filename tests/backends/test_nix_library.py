"""The library in nix/, used by hand."""

from __future__ import annotations

import functools
import hashlib
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nix_stores import NixStore, busybox_program, remove

from builder.layers.entry import Kind
from builder.layers.wheel import wheel_entries

sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
import debs
import wheels

pytestmark = [
    pytest.mark.nix,
    pytest.mark.sandbox,
    pytest.mark.skipif(busybox_program() is None, reason="no static BusyBox"),
]
REPOSITORY = Path(__file__).resolve().parents[2]

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NixStore]:
    found = NixStore(tmp_path_factory.mktemp("nix"))
    yield found
    remove(found.folder)


class Refused(Exception):
    pass


@pytest.fixture
def build(own: NixStore, tmp_path: Path) -> Build:
    (tmp_path / "busybox").mkdir()
    (tmp_path / "busybox/busybox").write_bytes(busybox_program())
    (tmp_path / "busybox/busybox").chmod(0o755)

    def call(expression: str, arguments: str = "") -> Path:
        library = f"import {REPOSITORY}/nix {{ busybox = ./busybox; {arguments} }}"
        (tmp_path / "x.nix").write_text(f"let kbuild = {library}; in with kbuild; {expression}")
        run = own.run("nix-build", tmp_path / "x.nix", "--no-out-link", "--option", "substitute", "false", check=False)
        if run.returncode:
            raise Refused(run.stderr)
        return Path(run.stdout.strip().splitlines()[-1])

    return call


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_unpack_deb(suffix, build, tmp_path):
    tree = debs.tree({"usr/bin/x": b"#!x", "etc/y": b"y", "usr/lib/z": "../bin/x"})
    (tmp_path / "x.deb").write_bytes(debs.deb(tree, suffix=suffix))
    found = build('unpackDeb { name = "x"; deb = ./x.deb; }')
    assert (found / "usr/bin/x").read_bytes() == b"#!x"
    assert (found / "usr/bin/x").stat().st_mode & 0o777 == 0o555
    assert (found / "etc/y").stat().st_mode & 0o777 == 0o444
    assert (found / "usr/lib/z").readlink() == Path("../bin/x")


@pytest.mark.parametrize("data", [debs.deb(debs.tree({"x": b""}), suffix=".zst"), b"!<arch>\n", b""])
def test_what_busybox_cannot_unpack_is_refused(data, build, tmp_path):
    (tmp_path / "x.deb").write_bytes(data)
    with pytest.raises(Refused, match="is no Debian package that BusyBox can unpack"):
        build('unpackDeb { name = "x"; deb = ./x.deb; }')


def test_a_cut_package_is_refused(build, tmp_path):
    (tmp_path / "x.deb").write_bytes(debs.deb(debs.tree({"x": bytes(100_000)}))[:-20])
    with pytest.raises(Refused):
        build('unpackDeb { name = "x"; deb = ./x.deb; }')


def test_program_of(build, tmp_path):
    (tmp_path / "x.deb").write_bytes(debs.deb(debs.tree({"usr/bin/new": b"new", "usr/bin/newer": b"newer"})))
    found = build('programOf { name = "x"; deb = ./x.deb; paths = [ "usr/bin/old" "usr/bin/new" ]; }')
    assert (found / "program").read_bytes() == b"new"
    assert (found / "program").stat().st_mode & 0o111
    with pytest.raises(Refused, match="holds none of 'usr/bin/ne' 'bin/new'"):
        build('programOf { name = "x"; deb = ./x.deb; paths = [ "usr/bin/ne" "bin/new" ]; }')


WHEEL = {
    "demo/__init__.py": b"x = 1\n",
    "demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\ndemo = demo.cli:main.run\n[x]\ny = z:w\n",
    "demo-1.0.data/platlib/demo/fast.so": b"\x7fELF",
    "demo-1.0.data/data/share/demo/table": b"table",
    "demo-1.0.data/headers/demo.h": b"int x;",
    "demo-1.0.data/scripts/tool": b"#!python\nprint(1)\n",
    "demo-1.0.data/scripts/other": b"#!/bin/sh\n",
}


def test_a_wheel_is_installed_where_an_image_has_it(build, tmp_path):
    data = wheels.wheel(WHEEL)
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    path.write_bytes(data)
    found = build(f'installWheel {{ name = "demo"; wheel = ./{path.name}; python = "3.13"; }}')
    wanted = {
        entry.path: (entry.source().read(), bool(entry.mode & 0o111))
        for entry in wheel_entries(path, wheels.artifact(data), python="3.13", epoch=0)
        if entry.kind is Kind.FILE and not entry.path.endswith("/RECORD")
    }
    assert len(wanted) == 10
    here = {
        item.relative_to(found).as_posix(): (item.read_bytes(), bool(item.stat().st_mode & 0o111))
        for item in found.rglob("*")
        if item.is_file() and item.name != "RECORD"
    }
    assert here == wanted
    plain = build(f'unpackWheel {{ name = "demo"; wheel = ./{path.name}; }}')
    assert (plain / "demo-1.0.data/headers/demo.h").read_bytes() == b"int x;"


@pytest.fixture
def site(tmp_path) -> Iterator[str]:
    folder = tmp_path / "site"
    (folder / "pool").mkdir(parents=True)
    (folder / "pool/a b%2.deb").write_bytes(b"deb")
    (folder / "simple/demo").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "files/demo-1.0+x-py3.whl").write_bytes(b"wheel")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.func.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_fetch_from_a_mirror(build, site):
    text = f'fetch {{ name = "x"; sha256 = "{sha256(b"deb")}"; registry = "debian"; path = "pool/a b%2.deb"; }}'
    assert build(text, f'mirrors.debian = "{site}";').read_bytes() == b"deb"
    with pytest.raises(Refused, match="no mirror of debian is named"):
        build(text.replace('"x"', '"y"'), "mirrors = { };")
    with pytest.raises(Refused, match="hash mismatch"):
        build(text.replace(sha256(b"deb"), sha256(b"other")), f'mirrors.debian = "{site}";')
    with pytest.raises(Refused):  # and without any mirror it is in the Nix store already, or nowhere
        build(text.replace('"x"', '"z"'))


@pytest.mark.parametrize("address", ["../../files/", "/files/", "SITE/files/"])
def test_fetch_by_an_index(address, build, site, tmp_path):
    name = "demo-1.0+x-py3.whl"
    link = f"{address.replace('SITE', site)}{name}"
    page = f'<a href="{link}.asc">x</a> <a data-x="y" href="{link}#sha256=0">x</a><a href="z-{name}">z</a>'
    (tmp_path / "site/simple/demo/index.html").write_text(page)
    # The store knows it under its name once it was fetched: each time another one.
    text = f"""fetch {{
      name = "wheel{len(address)}"; sha256 = "{sha256(b"wheel")}"; registry = "pypi"; path = "demo/{name}";
    }}"""
    assert build(text, f'mirrors.pypi = "{site}/simple";').read_bytes() == b"wheel"


def test_fetch_from_a_folder(build, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a~1.deb").write_bytes(b"local")
    text = f'fetch {{ name = "a-1.deb"; file = "a~1.deb"; sha256 = "{sha256(b"local")}"; }}'
    assert (build(f'farm {{ name = "f"; links.x = {text}; }}', "inputs = ./in;") / "x").read_bytes() == b"local"
    (tmp_path / "in/a~1.deb").write_bytes(b"changed")
    (tmp_path / "in/b").write_bytes(b"changed")
    with pytest.raises(Refused, match="mismatch"):
        build(f'fetch {{ name = "b"; sha256 = "{sha256(b"other")}"; }}', "inputs = ./in;")


def test_a_toolchain_that_lives_in_the_nix_store(build):
    """As programs of nixpkgs do: what /usr/bin has are links to other paths of the store."""
    text = """
      compile {
        name = "store-toolchain";
        closure = true;
        toolchain = farm {
          name = "toolchain";
          links = { "usr/bin/sh" = "${farm { name = "shell"; links.sh = "${./busybox}/busybox"; }}/sh"; };
        };
        argv = [ "/usr/bin/sh" "-euc" "read -r line </in/x; echo $line $A >/out/y" ];
        env.A = "$B 'c'";
        inputs = [ { path = "/in/x"; file = builtins.toFile "x" "x y\\n"; } ];
      }"""
    assert (build(text) / "y").read_text() == "x y $B 'c'\n"
    with pytest.raises(Refused, match="can't execute '/usr/bin/sh'"):
        build(text.replace("closure = true;", "").replace("store-toolchain", "blind"))


def test_inputs_do_not_hide_the_toolchain(build):
    text = """
      compile {
        name = "hidden";
        toolchain = farm { name = "t"; links."usr/bin/sh" = "/x"; };
        argv = [ "/.kbuild/busybox" "true" ];
        inputs = [ { path = "/usr/bin/sh"; file = builtins.toFile "x" ""; } ];
      }"""
    with pytest.raises(Refused, match="inputs in /usr, where the toolchain has a folder"):
        build(text)
    with pytest.raises(Refused, match="an input at /x, which is below no folder"):
        build(text.replace('/usr/bin/sh"; file', '/x"; file'))
