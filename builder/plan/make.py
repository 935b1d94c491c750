"""From spec, lock and sources to a plan: a pure function that fetches and runs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import get_args

from builder.determinism.pins import environment
from builder.errors import LockError
from builder.lock.model import Lock
from builder.plan import numerics
from builder.plan.aot import Compilation, compilation
from builder.plan.compiler import Compiler, compiler_of, exact_version
from builder.plan.model import LayerKind, LayerPlan, NativeObject, PlacedFile, Plan, PlatformPlan
from builder.plan.runtime import Runtime
from builder.plan.sources import Sources
from builder.platforms import NAMES, Platform, host_platform
from builder.spec.model import Instructions, Spec
from builder.store.artifact import Artifact

LARGE_WHEEL = 8 << 20
"""Wheels above this many bytes get a layer of their own, so that a change elsewhere does not move them."""

KERNEL = "opt/kernel"

SPEC_LABEL = "org.kbuild.spec"
"""Under which an image says the hash of its spec."""


def make(
    spec: Spec,
    lock: Lock,
    sources: Sources,
    runtime: Runtime,
) -> Plan:
    """Lay out the image.

    Args:
        spec: the validated spec.
        lock: a lock that fits it.
        sources: the kernel's own files.
        runtime: what kbuild itself puts into the image.

    Raises:
        LockError: the lock lacks something that every image needs.
    """
    annotations = _annotations(spec, lock)
    platforms = tuple(
        PlatformPlan(
            platform=platform,
            layers=_layers(spec, lock, platform, sources, runtime),
            environment=environment(spec, platform),
            labels=_labels(annotations, spec, platform),
        )
        for platform in sorted(spec.kernel.platforms)
    )
    return Plan(
        name=spec.kernel.name,
        version=spec.kernel.version,
        epoch=lock.epoch,
        sources=_digest(sources, runtime),
        platforms=platforms,
        tools=_tools(lock, host_platform()),
        annotations=annotations,
    )


def python_of(lock: Lock, platform: Platform) -> str:
    """The image's Python, such as "3.13", by its Debian package.

    Raises:
        LockError: the image has no Python.
    """
    for item in of(lock, platform, "deb", "image"):
        if item.name.startswith("python3.") and item.name.endswith("-minimal"):
            return item.name.removeprefix("python").removesuffix("-minimal")
    raise LockError("the image holds no Python interpreter", hint="add python3 to os.packages and run kbuild lock")


def of(lock: Lock, platform: Platform, kind: str, role: str) -> tuple[Artifact, ...]:
    """The lock's artifacts of one kind and role for one platform, in the lock's order."""
    return tuple(
        item for item in lock.artifact if item.kind == kind and role in item.roles and platform in item.platforms
    )


def _digest(sources: Sources, runtime: Runtime) -> str:
    """`sha256:<hex>` over everything in the image that the lock does not name: the kernel's files and kbuild's own."""
    state = hashlib.sha256(f"{sources.digest()}\n".encode())
    placed = [("", item) for item in runtime.modules]
    placed += [(platform, item) for platform, items in runtime.documents.items() for item in items]
    placed += [(made.name, item) for objects in runtime.libraries.values() for made in objects for item in made.sources]
    for platform, item in sorted(placed, key=lambda row: (row[0], row[1].path)):
        state.update(f"{platform}\0{item.path}\0{item.sha256}\n".encode())
    return f"sha256:{state.hexdigest()}"


def _layers(spec: Spec, lock: Lock, platform: Platform, sources: Sources, runtime: Runtime) -> tuple[LayerPlan, ...]:
    python = python_of(lock, platform)
    debs = of(lock, platform, "deb", "image")
    wheels = sorted(of(lock, platform, "wheel", "image"), key=lambda item: item.name)
    host = host_platform()
    interpreter = of(lock, host if host in spec.kernel.platforms else platform, "deb", "image")

    def layer(
        name: str,
        kind: LayerKind,
        *,
        artifacts: Sequence[Artifact] = (),
        files: Sequence[PlacedFile] = (),
        native: tuple[NativeObject, ...] = (),
        driver: Compiler | None = None,
        interpreter: tuple[Artifact, ...] = (),
        allow_scripts: tuple[str, ...] = (),
        libraries: tuple[LayerPlan, ...] = (),
        compilation: Compilation | None = None,
        tools: tuple[Artifact, ...] = (),
    ) -> LayerPlan:
        return LayerPlan(
            name=name,
            kind=kind,
            platform=platform,
            epoch=lock.epoch,
            format=lock.format,
            codec=lock.codec,
            python=python,
            artifacts=tuple(artifacts),
            files=tuple(sorted(files, key=lambda item: item.path)),
            native=native,
            driver=driver,
            interpreter=interpreter,
            allow_scripts=allow_scripts,
            libraries=libraries,
            compilation=compilation,
            tools=tools,
        )

    allowed = tuple(sorted(spec.os.allow_scripts))
    layers = [layer("base", LayerKind.BASE, artifacts=debs, allow_scripts=allowed)]
    layers += [layer(wheel.name, LayerKind.WHEEL, artifacts=(wheel,)) for wheel in wheels if wheel.size > LARGE_WHEEL]
    if small := [wheel for wheel in wheels if wheel.size <= LARGE_WHEEL]:
        layers.append(layer("wheels", LayerKind.WHEELS, artifacts=small))
    layers.append(layer("runtime", LayerKind.RUNTIME, files=runtime.modules))
    layers.append(
        layer(
            "bytecode",
            LayerKind.BYTECODE,
            artifacts=(*debs, *wheels),
            files=runtime.modules,
            interpreter=interpreter,
            allow_scripts=allowed,
        )
    )
    layers += [
        layer(f"weights {item.name}", LayerKind.WEIGHTS, artifacts=(item,))
        for item in sorted(of(lock, platform, "weights", "image"), key=lambda item: item.name)
    ]
    for name, native in (
        ("numerics", runtime.libraries.get(platform, ())),
        ("native", _native(spec, platform, sources)),
    ):
        if not native:
            continue
        headers = {header.partition("/")[0] for item in native for header in item.table.headers}
        layers.append(
            layer(
                name,
                LayerKind.NATIVE,
                artifacts=[wheel for wheel in wheels if wheel.name.replace("-", "_") in headers],
                native=native,
                driver=compiler_of(spec.compiler, lock, spec.kernel.platforms, platform, host),
            )
        )
    code = [PlacedFile(f"{KERNEL}/{item.path}", item.sha256, item.size) for item in sources.code]
    layers.append(layer("kernel", LayerKind.KERNEL, files=[*code, *runtime.documents[platform]]))
    if spec.aot is not None:
        layers.append(
            layer(
                "aot",
                LayerKind.AOT,
                artifacts=(*debs, *wheels, *of(lock, platform, "weights", "image")),
                files=[*runtime.modules, *code, *runtime.compiled_for[platform]],
                allow_scripts=allowed,
                libraries=tuple(item for item in layers if item.kind is LayerKind.NATIVE),
                compilation=compilation(spec, platform),
                tools=tuple(item for item in _tools(lock, host) if item.name.startswith(("qemu-user", "busybox"))),
            )
        )
    return tuple(layers)


def _tools(lock: Lock, host: Platform) -> tuple[Artifact, ...]:
    return tuple(item for item in lock.artifact if "tools" in item.roles and host in item.platforms)


def _native(spec: Spec, platform: Platform, sources: Sources) -> tuple[NativeObject, ...]:
    return tuple(
        NativeObject(
            name=name,
            table=table,
            flags=_flags(spec, platform, name),
            allowed=get_args(Instructions) if spec.determinism.profile == "none" else table.allow,
            sources=tuple(PlacedFile(item.path, item.sha256, item.size) for item in sources.native[name]),
        )
        for name, table in sorted(spec.native.items())
    )


def _flags(spec: Spec, platform: Platform, name: str) -> tuple[str, ...]:
    cpu = getattr(spec.hardware.cpu, NAMES[platform].debian)
    return (f"-march={cpu}", *spec.compiler.flags, *spec.native[name].flags)


def _labels(annotations: Mapping[str, str], spec: Spec, platform: Platform) -> dict[str, str]:
    """The same for one platform, with how each native object was compiled for it."""
    labels = dict(annotations)
    if spec.native or spec.determinism.profile == "portable":
        labels["org.kbuild.compiler.target"] = NAMES[platform].gnu
    for name in spec.native:
        labels[f"org.kbuild.native.{name}"] = " ".join(_flags(spec, platform, name))
    return dict(sorted(labels.items()))


def _annotations(spec: Spec, lock: Lock) -> dict[str, str]:
    """What a reader of the image learns without running it; every value comes from spec and lock."""
    labels = {
        "org.opencontainers.image.title": spec.kernel.name,
        "org.opencontainers.image.version": spec.kernel.version,
        SPEC_LABEL: lock.spec,
        "org.kbuild.format": str(lock.format),
        "org.kbuild.profile": spec.determinism.profile,
    }
    if spec.determinism.profile == "portable":
        labels[numerics.LABEL] = numerics.VERSION
    if spec.native or spec.determinism.profile == "portable":
        versions = {exact_version(spec.compiler, lock, platform) for platform in spec.kernel.platforms}
        labels["org.kbuild.compiler"] = f"{spec.compiler.name} {', '.join(sorted(versions))}"
        labels["org.kbuild.compiler.flags"] = " ".join(spec.compiler.flags)
    for item in lock.artifact:
        if item.kind == "wheel" and item.name in ("jax", "jaxlib"):
            labels[f"org.kbuild.{item.name}"] = item.version
    if spec.kernel.description:
        labels["org.opencontainers.image.description"] = spec.kernel.description
    if spec.kernel.license:
        labels["org.opencontainers.image.licenses"] = spec.kernel.license
    return dict(sorted(labels.items()))
