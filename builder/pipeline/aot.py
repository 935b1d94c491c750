"""The layer of programs that are compiled ahead of time: what the action needs, taken together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import BinaryIO

from builder.audit import llvm
from builder.audit.emitted import emitted, require_clean, require_portable
from builder.audit.executable import MOST, read
from builder.audit.fitting import require_described, require_made_for
from builder.audit.manifest import FILE, FOLDER, LONGEST, Asked, Found, require_true
from builder.audit.manifest import read as read_manifest
from builder.audit.schema import of_wheel
from builder.backends.action import Backend
from builder.backends.aot import aot_action
from builder.backends.busybox import NAME, busybox, busybox_deb
from builder.backends.roots import emulator
from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.order import ordered
from builder.layers.tar import tar_entries
from builder.layers.unpack import read_layer
from builder.plan.aot import Compilation
from builder.plan.model import LayerPlan
from builder.platforms import NAMES, host_platform
from builder.progress import Progress
from builder.store.blobs import Store

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
    weights = list(weights)
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
    require_as_asked(found, {entry.path: entry.size for entry in weights if entry.source}, plan, store)
    return ordered([replace(entry, path=f"{FOLDER}/{entry.path}") for entry in found], epoch=plan.epoch)


def labels(plan: LayerPlan, layer: Layer, store: Store) -> dict[str, str]:
    """What an image says of the programs in one of its layers: for which CPU, from what, and their machine code.

    Raises:
        IntegrityError: the layer holds no manifest.
    """
    found = (content.read() for entry, content in read_layer(store, layer) if entry.path == f"{FOLDER}/{FILE}")
    data = next(found, None)
    if data is None or plan.compilation is None:
        raise IntegrityError(f"holds no {FILE}", where=f"layer {layer.name}")
    manifest = read_manifest(data)
    told = {
        "org.kbuild.aot.cpu": f"{plan.compilation.level}, compiled on {plan.compilation.cpu.model}",
        "org.kbuild.aot.llvm": manifest.versions.get("llvm", ""),
        "org.kbuild.aot.flags": " ".join(f"--{name}={value}" for name, value in plan.compilation.flags),
    }
    for program in manifest.programs:
        name = program.file.partition(".")[0]
        told[f"org.kbuild.aot.{name}.program"] = program.program
        told[f"org.kbuild.aot.{name}.code"] = f"sha256:{program.code}"
    told["org.kbuild.aot.parameters"] = f"sha256:{manifest.stored}"
    return told


def require_as_asked(entries: Iterable[Entry], weights: Mapping[str, int], plan: LayerPlan, store: Store) -> None:
    """Hold what the compiler left to its manifest, and each program to what was asked for and what the profile allows.

    Args:
        entries: what it left, at paths below the programs' folder.
        weights: length of each of the image's files of weights, by its path.
        plan: the layer.
        store: has jaxlib's wheel.

    Raises:
        KernelError: XLA compiled for something else, or its code holds what may not be there.
        IntegrityError: the manifest says what is not so, or something is no program of the image's jaxlib.
    """
    compilation = plan.compilation
    if compilation is None:
        raise ValueError(f"the layer {plan.name} compiles no programs")
    entries = list(entries)
    if other := [entry.path for entry in entries if entry.kind is not Kind.FILE]:
        raise IntegrityError(f"the compiler left {other[0]}, which is no file", where=FOLDER)
    sources = {entry.path: entry.source for entry in entries if entry.source}
    manifest = read_manifest(_content(sources, FILE, LONGEST))
    files = {path: _found(source) for path, source in sources.items()}
    libraries = {item.name for layer in plan.libraries for item in layer.native}
    wheels = {item.name: item for item in plan.artifacts if item.kind == "wheel"}
    jaxlib = wheels["jaxlib"].sha256
    require_true(
        manifest, files, _asked(plan, compilation, weights, frozenset(libraries), llvm.of_wheel(store, jaxlib))
    )
    schema = of_wheel(store, jaxlib)
    threads = dict(compilation.environment).get("NPROC")
    for program in manifest.programs:
        taken = read(_content(sources, program.file, MOST), schema)
        where = f"the program {taken.module} ({program.file})"
        require_made_for(
            taken,
            triple=NAMES[plan.platform].machine,
            cpu=compilation.cpu.llvm,
            features=compilation.cpu.features,
            threads=None if threads is None else int(threads),
            flags=dict(compilation.flags),
            where=where,
        )
        require_described(taken, program, manifest, where)
        if compilation.profile == "portable":
            require_portable(emitted(taken), where, libraries=libraries)
        elif compilation.profile == "pinned":
            require_clean(emitted(taken), where)


def _asked(
    plan: LayerPlan, compilation: Compilation, weights: Mapping[str, int], libraries: frozenset[str], llvm_version: str
) -> Asked:
    return Asked(
        told={
            "platform": plan.platform,
            "cpu": compilation.level,
            "compiled_on": compilation.cpu.model,
            "environment": dict(compilation.environment),
            "seed": compilation.seed,
        },
        versions={
            item.name: item.version
            for item in plan.artifacts
            if item.kind == "wheel" and item.name in ("jax", "jaxlib", "numpy")
        }
        | {"llvm": llvm_version},
        programs=compilation.programs,
        weights=weights,
        libraries=libraries,
    )


def _found(source: Callable[[], BinaryIO]) -> Found:
    digest, size = hashlib.sha256(), 0
    with source() as content:
        while data := content.read(1 << 20):
            digest.update(data)
            size += len(data)
    return Found(size, digest.hexdigest())


def _kept(source: Callable[[], BinaryIO], store: Store) -> str:
    """A file's content as a blob of the store."""
    with source() as content, store.writer() as writer:
        while data := content.read(1 << 20):
            writer.write(data)
        return writer.commit()


def _content(files: Mapping[str, Callable[[], BinaryIO]], name: str, most: int) -> bytes:
    """A file's bytes, or one more than `most` of them."""
    if name not in files:
        raise IntegrityError(f"the compiler left no {name}", where=FOLDER)
    with files[name]() as content:
        return content.read(most + 1)
