"""A compiler out of a pinned nixpkgs: a tree of nixpkgs' shape, whose compiler is a script in the Nix store."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nix_stores import NixStore, busybox_program, nix_backend, remove
from small_roots import backend_of

from builder.backends.action import Action, InputFile, NixpkgsRoot
from builder.backends.docker import DockerBackend
from builder.backends.nix import NixBackend
from builder.backends.nixpkgs import nixpkgs_tar
from builder.errors import EnvironmentFault, KernelError
from builder.layers.packages import PackageReader
from builder.layers.tar import tar_entries
from builder.lock import nixpkgs
from builder.lock.nar import bare, sri
from builder.machine import Machine
from builder.platforms import host_platform
from builder.progress import Silent
from builder.store.blobs import Store

pytestmark = [
    pytest.mark.nix,
    pytest.mark.sandbox,
    pytest.mark.skipif(busybox_program() is None, reason="no static BusyBox"),
]
REV = "0123456789abcdef0123456789abcdef01234567"

PACKAGES = """\
{ system, config, overlays }:
let
  made = name: body: derivation {
    inherit name system body;
    builder = "${./bootstrap}/busybox";
    args = [ "sh" "-euc" ''
      $builder mkdir -p $out/bin
      echo -e "#!$builder sh\\n$body" >$out/bin/cc
      $builder chmod 755 $out/bin/cc
    '' ];
  };
in
{
  cc14 = made "cc-wrapper-14.2.0" ''"$@"'' // { version = "14.2.0"; };
  named = made "cc-wrapper-3.1" "exit 4";
  nested.tools.cc = made "cc-1" "echo $0 >/out/said";
}
"""


@pytest.fixture(scope="module")
def nix_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NixStore]:
    found = NixStore(tmp_path_factory.mktemp("nix"))
    yield found
    remove(found.folder)


@pytest.fixture
def nix(nix_store: NixStore, store: Store, monkeypatch: pytest.MonkeyPatch) -> NixBackend:
    for name, value in nix_store.environment().items():
        monkeypatch.setenv(name, value)
    return nix_backend(store, [])


@pytest.fixture
def source(store: Store, tmp_path: Path) -> str:
    """The hex SHA-256 of the stand-in's archive, which the store has."""
    program = busybox_program()
    assert program is not None
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data, mode in (("default.nix", PACKAGES.encode(), 0o644), ("bootstrap/busybox", program, 0o755)):
            info = tarfile.TarInfo(f"nixpkgs-{REV}/{name}")
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / f"{REV}.tar.gz").write_bytes(gzip.compress(out.getvalue(), 1))
    machine = Machine(store.root, 1, offline=False, nixpkgs_mirror=str(tmp_path))
    return bare(nixpkgs.locked(REV, None, machine=machine, store=store, progress=Silent()).nar_hash)


def action(source: str, script: str, *, attribute: str = "cc14", version: str = "14", store: Store) -> Action:
    return Action(
        name="native fold", platform=host_platform(), root=(), inputs=(InputFile("/in/src/x", store.add(b"text\n")),),
        argv=("/usr/bin/cc", "/.kbuild/busybox", "sh", "-euc", script), env=(("A", "b c"),), epoch=1,
        nixpkgs=NixpkgsRoot(REV, source, attribute, version),
    )  # fmt: skip


def files(store: Store, output: str) -> dict[str, bytes]:
    return {item.path: item.source().read() for item in tar_entries(store.verified(output)) if item.source}


def test_a_compiler_of_nixpkgs_runs(nix: NixBackend, store: Store, source: str):
    script = "/.kbuild/busybox cat /in/src/x >/out/y; echo $A >/out/z"
    output = nix.run(action(source, script, store=store), Silent())
    assert files(store, output) == {"y": b"text\n", "z": b"b c\n"}


def test_a_package_is_found_by_its_path_and_knows_its_version_by_its_name(nix, store, source):
    output = nix.run(action(source, "", attribute="nested.tools.cc", version="1", store=store), Silent())
    assert files(store, output) == {"said": b"/usr/bin/cc\n"}
    with pytest.raises(KernelError, match="ended with status 4"):
        nix.run(action(source, "", attribute="named", version="3.1", store=store), Silent())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("cc15", "15"), "this nixpkgs has no cc15"),
        (("nested.cc", "1"), "this nixpkgs has no nested.cc"),
        (("cc14", "14.3"), "cc14 of this nixpkgs is of version 14.2.0, not 14.3"),
        (("cc14", "1"), "cc14 of this nixpkgs is of version 14.2.0, not 1"),
        (("named", "4"), "named of this nixpkgs is of version 3.1, not 4"),
    ],
)
def test_another_compiler_than_the_specs_is_refused(nix, store, source, asked, said):
    with pytest.raises(EnvironmentFault, match=said):
        nix.run(action(source, "", attribute=asked[0], version=asked[1], store=store), Silent())


def test_what_names_the_nix_store_goes_into_no_image(nix, store, source):
    script = "/.kbuild/busybox readlink /usr/bin/cc >/out/leak"
    with pytest.raises(
        EnvironmentFault, match=r"names a path of the Nix store, /\S+-cc-wrapper-14.2.0, which no image has"
    ):
        nix.run(action(source, script, store=store), Silent())


def test_nix_finds_the_tree_by_the_hash_that_kbuild_computes(nix, nix_store, store, source, tmp_path):
    """And refuses another one."""
    (tmp_path / "x.tar").write_bytes(store.verified(nixpkgs_tar(store, source)).read_bytes())
    fetch = 'builtins.fetchTarball { name = "source"; url = "file://%s"; sha256 = "%s"; }'
    line = ["nix-instantiate", "--eval", "--expr"]
    found = nix_store.run(*line, fetch % (tmp_path / "x.tar", sri(source)))
    tree = Path(found.stdout.strip().strip('"'))
    assert tree.name.endswith("-source")
    dumped = subprocess.run(
        ["nix-store", "--dump", tree], capture_output=True, check=True, env={**os.environ, **nix_store.environment()}
    )
    assert store.add(dumped.stdout) == source
    refused = nix_store.run(*line, fetch % (tmp_path / "x.tar", sri("0" * 64)), check=False)
    assert "mismatch" in refused.stderr


def test_no_other_backend_tries(store, source):
    asked = action(source, "", store=store)
    docker = DockerBackend(store, [], PackageReader(store, 1))
    for backend in (backend_of(store, []), docker):
        with pytest.raises(EnvironmentFault, match="a compiler of nixpkgs, which only Nix can run"):
            backend.run(asked, Silent())


def test_it_compiles_for_what_it_runs_on(nix, store, source):
    other = "linux/amd64" if host_platform() == "linux/arm64" else "linux/arm64"
    with pytest.raises(EnvironmentFault, match="compiles for the machine that it runs on"):
        nix.run(replace(action(source, "", store=store), platform=other), Silent())


def test_the_key_is_the_trees_and_the_packages(store, source):
    plain = action(source, "", store=store)
    keys = {
        plain.key(),
        replace(plain, nixpkgs=None).key(),
        action("0" * 64, "", store=store).key(),
        action(source, "", attribute="x", store=store).key(),
        action(source, "", version="14.2", store=store).key(),
    }
    assert len(keys) == 5
    assert replace(plain, nixpkgs=replace(plain.nixpkgs, rev="f" * 40)).key() == plain.key()
