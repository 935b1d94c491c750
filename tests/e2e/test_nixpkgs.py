"""A kernel whose compiler comes from a pinned nixpkgs: a stand-in of nixpkgs' shape, whose gcc14 is Debian's.

As nixpkgs' own does, it lives in the Nix store with everything that it needs, and is called by a script.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import platform
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

from builder.lock.nar import sri

from .conftest import REPOSITORY, SPEC, Built, kbuild, manifest, write_kernel

sys.path.append(str(Path(__file__).parents[1] / "backends"))
from nix_stores import NixStore, busybox_program, remove

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.nix,
    pytest.mark.slow,
    pytest.mark.skipif(busybox_program() is None, reason="no static BusyBox"),
]

REV = "89abcdef0123456789abcdef0123456789abcdef"
GNU = f"{platform.machine()}-linux-gnu"
LOADER = {"x86_64": "lib64/ld-linux-x86-64.so.2", "aarch64": "lib/ld-linux-aarch64.so.1"}[platform.machine()]

DEFAULT = """\
{ system, config, overlays }:
let
  library = import ./nix { busybox = ./bootstrap; inherit system; };
  debs = map (name: ./debs + "/${name}") (builtins.attrNames (builtins.readDir ./debs));
in
{
  gcc14 = derivation {
    name = "gcc-wrapper-14.2.0";
    inherit system;
    builder = "${./bootstrap}/busybox";
    args = [ "sh" "-eu" ./wrap.sh ];
    root = library.root { inherit debs; };
  } // { version = "14.2.0"; };
}
"""

WRAP = f"""\
libraries=$root/usr/lib/{GNU}
loader=$root/{LOADER}
$builder mkdir -p $out/bin
printf '*linker:\\nld\\n\\n' >$out/link.specs
for name in gcc g++; do
  $builder cat >$out/bin/$name <<END
#!$builder sh
exec $loader --library-path $libraries $root/usr/bin/$name-14 --sysroot=$root -B$root/usr/bin/ -specs=$out/link.specs \
-wrapper $loader,--library-path,$libraries "\\$@"
END
  $builder chmod 755 $out/bin/$name
done
"""


@pytest.fixture(scope="module")
def nix_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NixStore]:
    found = NixStore(tmp_path_factory.mktemp("nix"))
    yield found
    remove(found.folder)


@pytest.fixture(scope="module")
def mirror(small: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in's tarball, made of the compiler that the small kernel's lock has."""
    folder = tmp_path_factory.mktemp("nixpkgs")
    tree = folder / "tree"
    (tree / "debs").mkdir(parents=True)
    (tree / "default.nix").write_text(DEFAULT)
    (tree / "wrap.sh").write_text(WRAP)
    shutil.copytree(REPOSITORY / "nix", tree / "nix")
    (tree / "bootstrap").mkdir()
    (tree / "bootstrap/busybox").write_bytes(busybox_program() or b"")
    (tree / "bootstrap/busybox").chmod(0o755)
    for item in tomli.loads(small.spec.with_suffix(".lock").read_text())["artifact"]:
        if item["kind"] == "deb" and {"toolchain", "sysroot"} & set(item["roles"]):
            blob = small.store / "blobs/sha256" / item["sha256"]
            if blob.exists():  # cross compilers and those of other builders were not fetched
                (tree / "debs" / f"{item['name']}.deb").hardlink_to(blob)
    with tarfile.open(folder / f"{REV}.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(tree, f"nixpkgs-{REV}")
    return folder


@pytest.fixture(scope="module")
def built(small: Built, mirror: Path, nix_store: NixStore, tmp_path_factory: pytest.TempPathFactory) -> Built:
    pinned = f'[compiler.nixpkgs]\nrev = "{REV}"\nattribute = "gcc14"\n\n[native.scale]'
    spec = write_kernel(tmp_path_factory.mktemp("pinned") / "kernel", SPEC.replace("[native.scale]", pinned))
    env = {"KBUILD_STORE": str(small.store), "KBUILD_NIXPKGS_MIRROR": str(mirror), **nix_store.environment()}
    return Built(spec, kbuild(spec, "--backend", "nix", env=env).digest, small.store)


def native_object(built: Built, folder: Path) -> Path:
    """The compiled object, out of the image."""
    folder.mkdir()
    saved = kbuild("export", built.digest, folder / "image.tar", "--docker", env={"KBUILD_STORE": str(built.store)})
    assert saved.code == 0, saved.stderr
    with tarfile.open(folder / "image.tar") as image:
        for name in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(image.extractfile(name).read())) as layer:
                if "opt/kernel/lib/scale.so" in layer.getnames():
                    (folder / "scale.so").write_bytes(layer.extractfile("opt/kernel/lib/scale.so").read())
                    return folder / "scale.so"
    raise AssertionError("no layer has the object")


def test_the_lock_names_revision_and_tree(built: Built, mirror: Path, nix_store: NixStore):
    locked = tomli.loads(built.spec.with_suffix(".lock").read_text())["nixpkgs"]
    hashed = nix_store.run("nix-hash", "--type", "sha256", mirror / "tree")
    assert locked["rev"] == REV
    assert locked["nar_hash"] == sri(hashed.stdout.strip())


def test_the_image_says_where_its_compiler_is_from(built: Built):
    annotations = manifest(built.store, built.digest)["annotations"]
    assert annotations["org.kbuild.compiler"] == f"gcc 14 of nixpkgs {REV}"


def test_what_it_compiles_runs_and_shows_nothing_of_where_the_compiler_stood(
    built: Built, small: Built, nix_store: NixStore, tmp_path: Path
):
    """The stand-in's compiler is the one that the embedded backend had, and gives its bytes from the Nix store too."""
    own, debian = native_object(built, tmp_path / "own"), native_object(small, tmp_path / "debian")
    assert str(nix_store.folder).encode() not in own.read_bytes()
    assert own.read_bytes() == debian.read_bytes()
    function = ctypes.CDLL(str(own)).scale
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
    assert function(1.25) == 1.25 * 2 + 2, "the fused product and sum of line 2"
    assert built.digest != small.digest, "the spec and the labels say where it came from"


def test_another_nix_store_gives_the_same_digest(
    built: Built, mirror: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    """With the lock, from the same mirror; another tree under the revision is refused before anything is compiled."""
    spec = built.copy(tmp_path / "kernel")
    store = str(built.downloads(tmp_path / "store"))
    (tmp_path / "mirror").mkdir()
    with tarfile.open(tmp_path / "mirror" / f"{REV}.tar.gz", "w:gz") as tar:
        tar.add(mirror / "tree/nix", f"nixpkgs-{REV}")
    other = NixStore(tmp_path_factory.mktemp("other"))
    env = {"KBUILD_STORE": store, **other.environment()}
    line = (spec, "--locked", "--backend", "nix")
    try:
        spoilt = kbuild(*line, env=env | {"KBUILD_NIXPKGS_MIRROR": str(tmp_path / "mirror")})
        assert spoilt.code == 4, spoilt.stderr
        assert "holds another tree than the lock names" in " ".join(spoilt.stderr.split())
        assert kbuild(*line, env=env | {"KBUILD_NIXPKGS_MIRROR": str(mirror)}).digest == built.digest
    finally:
        remove(other.folder)


@pytest.mark.parametrize("backend", ["embedded", "docker"])
def test_no_other_backend_builds_it(built: Built, backend: str):
    found = kbuild(built.spec, "--locked", "--backend", backend, env={"KBUILD_STORE": str(built.store)})
    assert (found.code, found.stdout) == (2, "")
    said = " ".join(found.stderr.split())
    assert f"the kernel's compiler comes from nixpkgs, which {backend} cannot run" in said
    assert "build it with --backend nix" in said


@pytest.mark.parametrize("with_inputs", [True, False])
def test_the_rendered_directory_takes_it_too(
    built: Built, mirror: Path, nix_store: NixStore, tmp_path: Path, *, with_inputs: bool
):
    env = {"KBUILD_STORE": str(built.store), **nix_store.environment()}
    line = ("render", built.spec, "--locked", "--json", "--to", tmp_path / "out")
    refused = kbuild(*line, "--format", "dockerfile", env=env)
    assert refused.code == 2
    assert "which no dockerfile can run" in " ".join(refused.stderr.split())
    rendered = kbuild(*line, "--format", "nix", "--with-inputs", env=env)
    assert rendered.code == 0, rendered.stderr
    given = []
    if not with_inputs:
        (tmp_path / "out/inputs/nixpkgs.tar").unlink()
        given = ["--argstr", "nixpkgs", mirror.as_uri()]
    nix_store.run("nix-build", tmp_path / "out", *given, "-o", tmp_path / "result")
    layers = sorted((tmp_path / "result/layers").iterdir())
    wanted = [item["diff_id"] for item in json.loads(rendered.stdout)["layers"]]
    assert [f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in layers] == wanted
