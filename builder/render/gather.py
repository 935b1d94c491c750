"""From a finished build to a rendering: each byte of each layer traced back to where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from builder.backends.nixpkgs import nixpkgs_tar
from builder.errors import LockError
from builder.layers.digest import TreeDigest
from builder.layers.packages import PackageReader
from builder.layers.unpack import read_layer
from builder.oci.image import Manifest
from builder.platforms import NAMES, Platform
from builder.render.context import Blob
from builder.render.flatten import flatten
from builder.render.image import NIXPKGS, WHOLE, Input, InputKind, Program, Rendering, Tree
from builder.render.mtree import Item, mtree
from builder.render.origins import INPUTS, UNPACKED, input_names, member_hashes
from builder.render.steps import Compiled, outputs, roots, slug, step
from builder.render.trees import Scribe
from builder.store.artifact import Artifact
from builder.store.blobs import Store


@dataclass(frozen=True, slots=True)
class Materials:
    """What a platform's image was made from, all of it in the store.

    `image` and `toolchain` are the lock's for the image's platform; `interpreter` are the debs of the Python that
    compiles its bytecode, which lays it out too; `tools` are the lock's for the machines that build the rendering.
    `snapshots` are the moments at which Debian's permanent archive has everything, by registry.
    """

    image: tuple[Artifact, ...]
    toolchain: tuple[Artifact, ...]
    interpreter: tuple[Artifact, ...]
    tools: tuple[Artifact, ...]
    allow_scripts: Collection[str] = ()
    snapshots: Mapping[str, str] = field(default_factory=dict)


def gather(
    title: tuple[str, str],
    manifest: Manifest,
    materials: Materials,
    compiled: Sequence[Compiled],
    *,
    builder: Platform,
    store: Store,
    packages: PackageReader,
) -> Rendering:
    """Describe an image so that it can be built without kbuild.

    Args:
        title: the kernel's name and version.
        manifest: of the image; the store has its layers.
        materials: what it was made from.
        compiled: every action that made a part of it.
        builder: the platform of the machines that the rendering is built on.
        store: has all bytes.
        packages: reads the debs.

    Raises:
        LockError: the lock names no BusyBox, or no emulator where one is needed.
        IntegrityError: something in the store is not what it was.
    """
    about = f"{' '.join(title)} for {manifest.platform}"
    compiled = sorted(compiled, key=lambda item: item.action.name)
    python_runs = any(builder in item.platforms for item in materials.interpreter)
    foreign = {item.action.platform for item in compiled} | (set() if python_runs else {manifest.platform})
    guests = sorted(foreign - {builder})
    tools = _tools(materials.tools, builder, emulating=bool(guests))
    here = [item for item in materials.tools if builder in item.platforms]
    used = [*materials.interpreter, *materials.image, *materials.toolchain, *tools.values(), *here]
    names = input_names(used)

    def program(tool: str, paths: Collection[str]) -> Program:
        return _program(tools[tool], names[tools[tool].sha256], paths, packages, store)

    held = packages.read([item for item in used if item.kind == "deb"])  # so that each is decompressed once
    scribe = Scribe(member_hashes(store, packages, used, names), outputs(compiled, store))
    debs = (*materials.interpreter, *materials.toolchain, *materials.image)
    made = roots(compiled, debs, scribe, packages, allow_scripts=materials.allow_scripts)
    del held
    layers: list[Tree] = []
    contents: list[list[Item]] = []
    for number, layer in enumerate(manifest.image.layers, 1):
        name = f"{number:02}-{slug(layer.name)}"
        what = f"layer {number} of {about}: {layer.name}"
        tree, items = scribe.write(name, f"layers/{name}.mtree", read_layer(store, layer), what)
        layers.append(tree)
        contents.append(items)
    emulator = program("qemu-user", _emulated(guests[0])) if guests else None
    rendered = tuple(step(item.action, made, scribe, store, builder=builder) for item in compiled)
    whole = flatten(contents)
    digest = _digest(whole)
    files = {**scribe.files, WHOLE: mtree(whole, comments=(f"the file system of {about}", f"tree digest {digest}"))}
    return Rendering(
        name=title[0],
        version=title[1],
        platform=manifest.platform,
        builder=builder,
        manifest=manifest.digest,
        config=manifest.image.config,
        layers=tuple(layers),
        tree_digest=digest,
        roots=tuple(made.values()),
        steps=rendered,
        inputs=_inputs(
            used, names, _unpacked(scribe.used, emulator), python={item.sha256 for item in materials.interpreter}
        ),
        busybox=program("busybox-static", ("bin/busybox", "usr/bin/busybox")),
        emulator=emulator,
        emulated_python=not python_runs,
        snapshots=materials.snapshots,
        files=files,
        blobs={f"{INPUTS}/{names[item.sha256]}": Blob(item.sha256, item.size) for item in used}
        | _nixpkgs(compiled, store),
    )


def _nixpkgs(compiled: Sequence[Compiled], store: Store) -> dict[str, Blob]:
    """The tree that the compiler was taken from, if it is one of nixpkgs."""
    pinned = next((item.action.nixpkgs for item in compiled if item.action.nixpkgs), None)
    if pinned is None:
        return {}
    tar = nixpkgs_tar(store, pinned.source)
    return {NIXPKGS: Blob(tar, store.path(tar).stat().st_size)}


def _tools(tools: Iterable[Artifact], builder: Platform, *, emulating: bool) -> dict[str, Artifact]:
    """BusyBox, and the emulators' package if there is anything to emulate, by name."""
    wanted = ("busybox-static", "qemu-user") if emulating else ("busybox-static",)
    here = {item.name.removesuffix("-static"): item for item in tools if builder in item.platforms}
    found = {name: here[name.removesuffix("-static")] for name in wanted if name.removesuffix("-static") in here}
    for name in wanted:
        if name not in found:
            raise LockError(f"the lock names no {name} for {builder}", hint="run `kbuild lock` again")
    return found


def _program(deb: Artifact, name: str, paths: Collection[str], packages: PackageReader, store: Store) -> Program:
    """A program out of its package; the store has it afterwards."""
    for entry in packages.read([deb])[0].entries:
        if entry.path in paths and entry.source:
            with entry.source() as content:
                return Program(name, entry.path, store.add(content.read()), entry.size)
    raise LockError(f"{deb.name} {deb.version} holds none of {', '.join(sorted(paths))}")


def _emulated(guest: Platform) -> tuple[str, str]:
    """Where packages have the program that runs programs for `guest`."""
    program = f"usr/bin/qemu-{NAMES[guest].qemu}"
    return program, f"{program}-static"


def _digest(items: Iterable[Item]) -> str:
    tree = TreeDigest()
    for item in items:
        tree.add(item.entry, item.sha256)
    return tree.digest()


def _inputs(
    used: Iterable[Artifact], names: Mapping[str, str], unpacked: Collection[str], *, python: Collection[str]
) -> tuple[Input, ...]:
    """Every artifact once, the interpreter's first.

    First of all is base-files, which has the links of a merged /usr: files can be unpacked below a link to a folder,
    but no link where a folder is. Archives that nothing is taken out of are left as they are.
    """
    found: dict[str, Input] = {}
    for item in used:
        name = names[item.sha256]
        kind: InputKind = "file"
        if item.sha256 in python:
            kind = "python"
        elif name in unpacked:
            kind = "deb" if item.kind == "deb" else "zip"
        found.setdefault(item.sha256, Input(name, kind, item.sha256, item.size, item.registry, item.path))
    order = {"python": 0, "deb": 1, "zip": 2, "file": 3}
    return tuple(
        sorted(
            found.values(),
            key=lambda item: (order[item.kind], not item.name.startswith("base-files_"), item.name),
        )
    )


def _unpacked(origins: Iterable[str], emulator: Program | None) -> set[str]:
    """The names of the archives that something is taken out of."""
    prefix = f"{UNPACKED}/"
    found = {origin.split("/")[1] for origin in origins if origin.startswith(prefix)}
    return found | ({emulator.package} if emulator else set())
