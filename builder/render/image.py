"""An image as something that can be built without kbuild: pure data, the same for every format that it is rendered in.

Every tree of it (the layers, the roots that compilers run in, their inputs) is an mtree file whose `contents=` lead to
an input, to a file that the rendered directory brings along, or to what a compiler made of them:

- `inputs/<artifact>`, `unpacked/<artifact>/<member>`: see `builder.render.origins`
- `files/<tree>/<path>`: what kbuild itself wrote, and the kernel's own files
- `tars/<name>.tar`: a canonical tar, laid out before it is an input of a compiler
- `outputs/<step>/<path>`: made by the step of that name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from builder.backends.action import Action, NixpkgsRoot
from builder.oci.config import ImageConfig
from builder.platforms import Platform
from builder.render.context import Blob
from builder.store.artifact import Registry

FILES = "files"
TARS = "tars"
OUTPUTS = "outputs"
WHOLE = "image.mtree"
NIXPKGS = "inputs/nixpkgs.tar"
"""The tree of a pinned nixpkgs, where a rendering has one among its blobs."""

InputKind = Literal["python", "deb", "zip", "file"]


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree and the mtree file that describes it.

    `file` is that file's path in the rendered directory; `diff_id` (`sha256:<hex>`) is the hash of its canonical tar,
    `tree_digest` the tree's own.
    """

    name: str
    file: str
    diff_id: str
    tree_digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a compiler, in a root of its own.

    `name` is also the folder of its outputs. `root` names one of the rendering's roots, or is empty where the action
    runs in one of nixpkgs. `inputs` is a tree that is laid over it, an empty `/out` among it; `tars` are laid out
    before, each as `tars/<name>.tar`. The outputs are what is in `/out` at the end. `argv` is the action's command,
    under the emulator at `builder.backends.sandbox.EMULATOR` if the builder cannot run it itself; `env` is its whole
    environment.
    """

    name: str
    action: Action
    root: str
    inputs: Tree
    tars: tuple[Tree, ...]
    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Input:
    """An artifact, as `inputs/<name>`.

    `kind` says what is done with it: a package that is unpacked (also to the root of whatever runs Python, if it is
    `python`), a zip archive that is unpacked, or a file that is used as it is. `registry` and `path` are the lock's.
    """

    name: str
    kind: InputKind
    sha256: str
    size: int
    registry: Registry
    path: str


@dataclass(frozen=True, slots=True)
class Program:
    """A static program that a rendering starts with: `member` of the package `inputs/<package>`."""

    package: str
    member: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """One platform's image, to be built on machines of the platform `builder`.

    `manifest` is the digest of kbuild's own manifest; `tree_digest` is that of all layers together, which the file
    `image.mtree` describes. `files` are the mtree files and what lies below `files/`, by path; `blobs` are the inputs'
    bytes, those that no registry has (`registry` is "local") as well as the others. `emulated_python` says that the
    Python that lays out trees needs the emulator, too. `snapshots` are the moments (`YYYY-MM-DDTHH:MM:SSZ`) at which
    Debian's permanent archive has the inputs, by registry.
    """

    name: str
    version: str
    platform: Platform
    builder: Platform
    manifest: str
    config: ImageConfig
    layers: tuple[Tree, ...]
    tree_digest: str
    roots: tuple[Tree, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Input, ...]
    busybox: Program
    emulator: Program | None
    emulated_python: bool
    snapshots: Mapping[str, str]
    files: Mapping[str, str | bytes]
    blobs: Mapping[str, Blob]

    @property
    def nixpkgs(self) -> NixpkgsRoot | None:
        """Where the compiler comes from, if not from packages; all steps that have one have the same."""
        return next((item.action.nixpkgs for item in self.steps if item.action.nixpkgs), None)
