"""The layer of programs that are compiled ahead of time: what the action needs, taken together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from builder.audit.emitted import emitted, require_clean, require_portable
from builder.audit.executable import differing, read
from builder.audit.schema import of_wheel
from builder.backends.action import Backend
from builder.backends.aot import aot_action
from builder.backends.busybox import NAME, busybox, busybox_deb
from builder.backends.roots import emulator
from builder.errors import IntegrityError, KernelError
from builder.layers.entry import Entry, Layer
from builder.layers.order import ordered
from builder.layers.tar import tar_entries
from builder.layers.unpack import read_layer
from builder.plan.model import LayerPlan
from builder.platforms import host_platform
from builder.progress import Progress
from builder.store.blobs import Store

PROGRAMS = "opt/kernel/aot"
MANIFEST = "manifest.json"


class _Program(BaseModel):
    file: str
    program: str
    code: str


class _Manifest(BaseModel):
    programs: list[_Program]


LibrariesOf = Callable[[LayerPlan], Iterable[Entry]]
"""The shared objects of a layer that is compiled."""


def programs(
    plan: LayerPlan,
    weights: Iterable[Entry],
    libraries: LibrariesOf,
    *,
    store: Store,
    backend: Backend,
    progress: Progress,
) -> list[Entry]:
    """The layer's programs, their parameters and their manifest, below `opt/kernel/aot`.

    Args:
        plan: the layer.
        weights: the image's files of weights, at their paths.
        libraries: makes the layers of shared objects that programs call.
        store: has the artifacts, and takes what the action needs of them.
        backend: runs the compiler.
        progress: sees it.

    Raises:
        KernelError: the entry cannot be compiled, or to something else than was asked for.
        EnvironmentFault: the lock names no emulator.
    """
    compilation = plan.compilation
    if compilation is None:
        raise ValueError(f"the layer {plan.name} compiles no programs")
    host = host_platform()
    made = [*weights, *(entry for layer in plan.libraries for entry in libraries(layer))]
    blobs = {entry.path: _kept(entry.source, store) for entry in made if entry.source}
    action = aot_action(
        platform=plan.platform,
        host=host,
        compilation=compilation,
        root=[item.sha256 for item in plan.artifacts if item.kind == "deb"],
        wheels={item.path.rpartition("/")[2]: item.sha256 for item in plan.artifacts if item.kind == "wheel"},
        files={item.path: item.sha256 for item in plan.files} | blobs,
        emulator=store.add(emulator(store, plan.tools, host=host, guest=plan.platform).read_bytes()),
        busybox=store.add((busybox(store, busybox_deb(plan.tools, host)) / NAME).read_bytes()),
    )
    found = list(tar_entries(store.verified(backend.run(action, progress))))
    require_as_asked(found, plan, store)
    return ordered([replace(entry, path=f"{PROGRAMS}/{entry.path}") for entry in found], epoch=plan.epoch)


def labels(plan: LayerPlan, layer: Layer, store: Store) -> dict[str, str]:
    """What an image says of the programs in one of its layers: for which CPU, from what, and their machine code.

    Raises:
        IntegrityError: the layer holds no manifest.
    """
    found = (content.read() for entry, content in read_layer(store, layer) if entry.path == f"{PROGRAMS}/{MANIFEST}")
    manifest = next(found, None)
    if manifest is None or plan.compilation is None:
        raise IntegrityError(f"holds no {MANIFEST}", where=f"layer {layer.name}")
    told = {
        "org.kbuild.aot.cpu": f"{plan.compilation.level}, compiled on {plan.compilation.cpu}",
        "org.kbuild.aot.flags": " ".join(f"--{name}={value}" for name, value in plan.compilation.flags),
    }
    for program in _programs(manifest):
        name = program.file.partition(".")[0]
        told[f"org.kbuild.aot.{name}.program"] = program.program
        told[f"org.kbuild.aot.{name}.code"] = f"sha256:{program.code}"
    return told


def require_as_asked(entries: Iterable[Entry], plan: LayerPlan, store: Store) -> None:
    """Take every program apart, and hold it to what the compiler was asked for and to what the profile allows.

    Raises:
        KernelError: XLA saw other flags, or its code holds what may not be there.
        IntegrityError: something is no program of the image's jaxlib.
    """
    compilation = plan.compilation
    if compilation is None:
        raise ValueError(f"the layer {plan.name} compiles no programs")
    jaxlib = next(item for item in plan.artifacts if item.kind == "wheel" and item.name == "jaxlib")
    schema = of_wheel(store, jaxlib.sha256)
    libraries = {item.name for layer in plan.libraries for item in layer.native}
    files = {entry.path: entry.source for entry in entries if entry.source}
    for program in _programs(_content(files, MANIFEST)):
        taken = read(_content(files, program.file), schema)
        where = f"the program {taken.module} ({program.file})"
        if other := differing(taken, dict(compilation.flags)):
            lines = "".join(f"\n  {name}: asked for {asked}, seen {seen}" for name, (asked, seen) in other.items())
            raise KernelError(f"XLA compiled with other flags than the spec's{lines}", where=where)
        if compilation.profile == "portable":
            require_portable(emitted(taken), where, libraries=libraries)
        elif compilation.profile == "pinned":
            require_clean(emitted(taken), where)


def _kept(source: Callable[[], BinaryIO], store: Store) -> str:
    """A file's content as a blob of the store."""
    with source() as content, store.writer() as writer:
        while data := content.read(1 << 20):
            writer.write(data)
        return writer.commit()


def _content(files: Mapping[str, Callable[[], BinaryIO]], name: str) -> bytes:
    if name not in files:
        raise IntegrityError(f"the compiler left no {name}", where="programs")
    with files[name]() as content:
        return content.read()


def _programs(data: bytes) -> list[_Program]:
    """What the manifest says of programs; it was made in a sandbox in which the kernel's own code ran."""
    try:
        return _Manifest.model_validate_json(data).programs
    except ValidationError as error:
        raise IntegrityError(f"{MANIFEST} is malformed", where="programs") from error
