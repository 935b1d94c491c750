"""An image as a directory for `nix-build`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.backends.nix_expression import nix_string, render, store_name, system
from builder.lock.nar import sri
from builder.lock.nixpkgs import ARCHIVE
from builder.render import image, origins
from builder.render.context import Blob, Context
from builder.render.image import WHOLE, Input, Rendering, Tree
from builder.render.kit import BUSYBOX, executable, kit, later
from builder.resources import shipped

LIBRARY = "nix"
"""Where a copy of the library is, in the rendered directory."""

_CONTENTS = re.compile(r" contents=(\S+)")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a tree takes bytes from: its path in the rendered directory, and the expression that gives it."""

    path: str
    tree: str


def nix_directory(rendering: Rendering, *, with_inputs: bool) -> Context:
    """Everything that `nix-build` needs; inputs that are not there are downloaded by hash.

    Args:
        rendering: what to build.
        with_inputs: have the inputs in the directory.
    """
    files = kit(rendering, with_inputs=with_inputs)
    del files["unpack.sh"]
    files[BUSYBOX] = Blob(rendering.busybox.sha256, rendering.busybox.size)  # nothing else could unpack the first thing
    for path in sorted(shipped("nix").iterdir()):
        files[f"{LIBRARY}/{path.name}"] = path.read_text("utf-8")
    if rendering.nixpkgs and with_inputs:
        files[image.NIXPKGS] = rendering.blobs[image.NIXPKGS]
    files["default.nix"] = expression(rendering)
    files["flake.nix"] = flake(rendering)
    files["README.md"] = render("render/README.nix.md.j2", r=rendering, with_inputs=with_inputs)
    return Context(files, executable(files), later(rendering))


def flake(rendering: Rendering) -> str:
    """`flake.nix`: the same, for those who have flakes switched on."""
    return render("render/flake.nix.j2", r=rendering, system=system(rendering.builder))


def expression(rendering: Rendering) -> str:
    """`default.nix`: pure text of what is rendered."""
    sources = {tree.name: _sources(rendering.files[tree.file]) for tree in _trees(rendering)}
    return render(
        "render/default.nix.j2",
        r=rendering,
        system=system(rendering.builder),
        inputs=[(f"input.{nix_string(item.name)}", item, _title(item)) for item in rendering.inputs],
        ids={tree.name: identifier("tree", tree.name) for tree in _trees(rendering)},
        step_ids={item.name: identifier("step", item.name) for item in rendering.steps},
        sources=sources,
        whole=_sources(rendering.files[WHOLE]),
        whole_file=WHOLE,
        nar_hash=sri(rendering.nixpkgs.source) if rendering.nixpkgs else "",
        tarball=image.NIXPKGS,
        archive=ARCHIVE,
        snapshots={name: re.sub(r"[-:]", "", date) for name, date in rendering.snapshots.items()},
    )


def _trees(rendering: Rendering) -> list[Tree]:
    """Every tree that is laid out on its own."""
    found = [*rendering.roots, *rendering.layers]
    for step in rendering.steps:
        found += [step.inputs, *step.tars]
    return found


def _title(item: Input) -> str:
    """What the file is called in the Nix store."""
    return store_name(PurePosixPath(item.name).name)


def identifier(kind: str, name: str) -> str:
    """A name of the Nix language for a tree or a step, whose own names are slugs."""
    return f"{kind}-{name}"


def _sources(text: str | bytes) -> list[Source]:
    """What a tree takes bytes from, by its mtree file."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    found = {_source(_plain(word)) for word in _CONTENTS.findall(text)}
    return sorted(found, key=lambda item: item.path)


def _plain(word: str) -> str:
    """A word of mtree without its escapes."""
    data = _OCTAL.sub(lambda found: chr(int(found[1], 8)), word)
    return data.encode("latin-1").decode("utf-8")


def _source(path: str) -> Source:
    first, second = path.split("/", 2)[:2]
    place = f"{first}/{second}"
    match first:
        case origins.INPUTS:
            return Source(place, f"input.{nix_string(second)}")
        case origins.UNPACKED:
            return Source(place, f"unpacked.{nix_string(second)}")
        case image.FILES:
            return Source(place, f"files {nix_string(second)}")
        case image.TARS:
            name = second.removesuffix(".tar")
            return Source(place, f'"${{{identifier("tree", name)}}}/tree.tar"')
        case image.OUTPUTS:
            return Source(place, identifier("step", second))
    raise ValueError(f"contents at {path!r}")
