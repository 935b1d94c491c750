"""A rendering as text of the Nix language."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from goldens import GOLDEN, golden

from builder.backends.action import Action, InputFile, NixpkgsRoot
from builder.lock.nar import sri
from builder.oci.config import ImageConfig
from builder.render.context import Blob
from builder.render.image import NIXPKGS, WHOLE, Input, Program, Rendering, Step, Tree
from builder.render.nix import expression, flake, nix_directory
from builder.resources import shipped

DIGEST = "sha256:" + "a" * 64


def tree(name: str, file: str) -> Tree:
    return Tree(name, file, DIGEST, DIGEST)


def mtree(*contents: str) -> str:
    lines = [f"./f{number} type=file contents={path}\n" for number, path in enumerate(contents)]
    return "#mtree v2.0\n" + "".join(lines)


DEB = "base-files_1%3a13~x_amd64.deb"
ACTION = Action("native fold", "linux/arm64", ("b" * 64,), (InputFile("/in/x", "c" * 64),), ("/usr/bin/g++",), (), 7)
STEP = Step(
    name="native-fold",
    action=ACTION,
    root="root-of-native-fold",
    inputs=tree("native-fold", "steps/native-fold.mtree"),
    tars=(tree("native-fold-x", "steps/native-fold-x.mtree"),),
    argv=("/.kbuild/emulator", "/usr/bin/g++", '-D"${x}"'),
    env={"SOURCE_DATE_EPOCH": "7"},
)
RENDERING = Rendering(
    name="small",
    version="1.0.0",
    platform="linux/arm64",
    builder="linux/amd64",
    manifest=DIGEST,
    config=ImageConfig(7, {}, {}),
    layers=(tree("01-base", "layers/01-base.mtree"), tree("02-native", "layers/02-native.mtree")),
    tree_digest=DIGEST,
    roots=(tree("root-of-native-fold", "roots/root-of-native-fold.mtree"),),
    steps=(STEP,),
    inputs=(
        Input(DEB, "python", "b" * 64, 1, "debian", f"pool/b/{DEB}"),
        Input("jax.whl", "zip", "d" * 64, 1, "pypi", "jax/jax.whl"),
        Input("table.bin", "file", "e" * 64, 1, "local", "table.bin"),
        Input("qemu.deb", "deb", "f" * 64, 1, "debian", "pool/q/qemu.deb"),
    ),
    busybox=Program("busybox.deb", "usr/bin/busybox", "1" * 64, 1),
    emulator=Program("qemu.deb", "usr/bin/qemu-aarch64", "2" * 64, 1),
    emulated_python=True,
    snapshots={"debian": "2026-11-21T02:10:46Z"},
    files={
        "layers/01-base.mtree": mtree(rf"unpacked/{DEB}/a\040b", "files/01-base/etc/x", "inputs/table.bin"),
        "layers/02-native.mtree": mtree("outputs/native-fold/fold.so"),
        "roots/root-of-native-fold.mtree": mtree(f"unpacked/{DEB}/usr/bin/g++"),
        "steps/native-fold.mtree": mtree("tars/native-fold-x.tar"),
        "steps/native-fold-x.mtree": mtree("unpacked/jax.whl/jax/x.h"),
        WHOLE: mtree("inputs/table.bin"),
        "files/01-base/etc/x": b"x",
    },
    blobs={f"inputs/{name}": Blob("b" * 64, 1) for name in (DEB, "jax.whl", "table.bin", "qemu.deb")},
)


SOURCE = "a" * 64
PINNED = replace(
    RENDERING,
    builder="linux/arm64",
    emulator=None,
    emulated_python=False,
    roots=(),
    steps=(
        replace(
            STEP,
            action=replace(ACTION, root=(), nixpkgs=NixpkgsRoot("0" * 40, SOURCE, "gcc14", "14")),
            root="",
            argv=("/usr/bin/g++", '-D"${x}"'),
        ),
    ),
    blobs={**RENDERING.blobs, NIXPKGS: Blob("9" * 64, 7)},
)


@pytest.mark.parametrize(
    ("name", "rendering"), [("emulated", RENDERING), ("nixpkgs", PINNED)], ids=["emulated", "nixpkgs"]
)
def test_golden(name: str, rendering: Rendering):
    golden(f"{name}.nix", expression(rendering))
    golden(f"README.{name}.md", nix_directory(rendering, with_inputs=False).files["README.md"])


def test_golden_flake():
    golden("flake.nix", flake(RENDERING))


def test_every_line_ends_plainly():
    for rendering in (RENDERING, PINNED):
        for name, content in nix_directory(rendering, with_inputs=False).files.items():
            if isinstance(content, str) and not name.endswith(".mtree"):
                assert content.endswith("\n"), name
                assert not content.endswith("\n\n"), name
                assert not re.search(r"[ \t]+$", content, re.MULTILINE), name
                assert "\t" not in content or not name.endswith(".nix"), name


def test_a_pinned_nixpkgs_is_taken_by_its_hash_alone():
    text = expression(PINNED)
    assert f'narHash = "{sri(SOURCE)}";' in text
    assert '"${chosen nixpkgs "https://github.com/NixOS/nixpkgs/archive"}/' + "0" * 40 + '.tar.gz"' in text
    assert nix_directory(PINNED, with_inputs=True).files[NIXPKGS] == Blob("9" * 64, 7)
    context = nix_directory(PINNED, with_inputs=False)
    assert NIXPKGS not in context.files
    assert "nixpkgs" not in expression(RENDERING).replace("without kbuild and without nixpkgs", "").replace(
        "such as one made of a pinned nixpkgs", ""
    )


def test_every_tree_names_what_it_takes_bytes_from_and_nothing_else():
    text = expression(RENDERING)
    found = dict(re.findall(r'^  (tree-\S+) = pack "\w+" (.*?)^  \];', text, re.MULTILINE | re.DOTALL))
    sources = {name: re.findall(r'path = "(.*?)"; tree = (.*); }', body) for name, body in found.items()}
    assert sources == {
        "tree-01-base": [
            ("files/01-base", 'files "01-base"'),
            ("inputs/table.bin", 'input."table.bin"'),
            (f"unpacked/{DEB}", f'unpacked."{DEB}"'),
        ],
        "tree-02-native": [("outputs/native-fold", "step-native-fold")],
        "tree-root-of-native-fold": [(f"unpacked/{DEB}", f'unpacked."{DEB}"')],
        "tree-native-fold": [("tars/native-fold-x.tar", '"${tree-native-fold-x}/tree.tar"')],
        "tree-native-fold-x": [("unpacked/jax.whl", 'unpacked."jax.whl"')],
    }
    assert all(f'"{DIGEST}"' in body for body in found.values())


def test_it_is_pure_text_without_a_mirrors_name():
    assert expression(RENDERING) == expression(replace(RENDERING, blobs={}))
    hosts = set(re.findall(r"https?://([^/\"]+)", expression(RENDERING) + flake(RENDERING)))
    assert hosts == {"snapshot.debian.org"}
    assert '"http://snapshot.debian.org/archive/debian/20261121T021046Z"' in expression(RENDERING)


def test_names_that_nix_does_not_take_and_emulation():
    text = expression(RENDERING)
    assert f'name = "base-files_1-3a13-x_amd64.deb";\n      file = "{DEB}";' in text
    assert '      "-D\\"\\${x}\\""\n' in text
    assert text.count("inherit emulator;") == 2  # for the compiler, and for the Python that lays out trees
    plain = replace(RENDERING, emulator=None, emulated_python=False, steps=())
    assert "emulator" not in expression(plain)


def test_what_is_in_the_directory():
    context = nix_directory(RENDERING, with_inputs=False)
    assert {"default.nix", "flake.nix", "README.md", "lay.py", "fetch.py", "nix/default.nix", "nix/compile.sh"} <= set(
        context.files
    )
    assert context.files["bootstrap/busybox"] == Blob("1" * 64, 1)
    assert {name for name in context.files if name.startswith("inputs/")} == {"inputs/table.bin"}  # no registry has it
    assert {"bootstrap/busybox", "lay.py", "fetch.py"} <= context.executable
    full = nix_directory(RENDERING, with_inputs=True)
    assert f"inputs/{DEB}" in full.files
    assert "optional: downloads" in context.files["README.md"]
    assert "optional: downloads" not in full.files["README.md"]


@pytest.mark.nix
@pytest.mark.parametrize("rendering", [RENDERING, PINNED], ids=["emulated", "nixpkgs"])
def test_nix_reads_it(tmp_path: Path, rendering: Rendering):
    for name, content in nix_directory(rendering, with_inputs=False).files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(
            b"x" if isinstance(content, Blob) else content.encode() if isinstance(content, str) else content
        )
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NIX_REMOTE": "dummy://"}
    for name in ("default.nix", "flake.nix", "nix/default.nix"):
        subprocess.run(["nix-instantiate", "--parse", tmp_path / name], check=True, env=env, stdout=subprocess.DEVNULL)
    names = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "-E",
         f'builtins.attrNames (import {tmp_path}/default.nix {{ pypi = "x"; }}).steps'],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert names.stdout.strip() == '["native-fold"]', names.stderr


@pytest.mark.skipif(shutil.which("nixpkgs-fmt") is None, reason="nixpkgs-fmt is not installed")
def test_nixpkgs_fmt_has_nothing_to_say():
    for name in ("emulated.nix", "nixpkgs.nix", "flake.nix"):
        subprocess.run(["nixpkgs-fmt", "--check", GOLDEN / name], check=True)
    for library in shipped("nix").glob("*.nix"):
        subprocess.run(["nixpkgs-fmt", "--check", library], check=True)
