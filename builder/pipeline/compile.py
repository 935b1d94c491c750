"""What a layer needs compiled: the bytecode of its modules, and its native objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from builder.audit.gate import require_clean
from builder.backends.action import Backend
from builder.backends.bytecode import bytecode_action
from builder.backends.native import LINK_SPECS, native_action
from builder.errors import KernelError
from builder.layers.bytecode import SCRIPT, bytecode_entries, python_sources
from builder.layers.entry import Entry
from builder.layers.order import ordered
from builder.layers.tar import tar_entries, write_tar
from builder.layers.zip import Archive
from builder.plan.model import LayerPlan
from builder.platforms import host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store

LIBRARIES = "opt/kernel/lib"

LARGEST_HEADER = 16 << 20


def bytecode(
    name: str, entries: Sequence[Entry], plan: LayerPlan, *, store: Store, backend: Backend, progress: Progress
) -> list[Entry]:
    """The bytecode of every module among `entries`, compiled by the image's own Python; `name` is for people."""
    sources = python_sources(entries, python=plan.python)
    if not sources:
        return []
    with store.writer() as writer:
        write_tar(sources, writer.write)
        tar = writer.commit()
    host = host_platform()
    action = bytecode_action(
        name,
        platform=host if any(host in item.platforms for item in plan.interpreter) else plan.platform,
        interpreter=plan.interpreter,
        script=store.add(SCRIPT.read_bytes()),
        sources=tar,
    )
    output = backend.run(action, progress)
    return bytecode_entries(store.verified(output), sources, epoch=plan.epoch)


def native(plan: LayerPlan, *, store: Store, backend: Backend, progress: Progress, jobs: int) -> list[Entry]:
    """The layer's shared objects, each at `opt/kernel/lib/<name>.so`.

    Raises:
        KernelError: one does not compile, or holds instructions that it may not.
    """
    driver = plan.driver
    if driver is None:
        raise ValueError(f"the layer {plan.name} has no compiler")
    headers = {header for item in plan.native for header in item.table.headers}
    found = _headers(plan.artifacts, headers, store)
    actions = [
        native_action(
            item.name,
            compiler=driver,
            flags=item.flags,
            sources={source.path: source.sha256 for source in item.sources},
            headers={path: sha for path, sha in found.items() if path.startswith(_below(item.table.headers))},
            include=item.table.headers,
            specs=store.add(LINK_SPECS.encode()),
            epoch=plan.epoch,
        )
        for item in plan.native
    ]
    with ThreadPoolExecutor(jobs) as pool:  # a compiler uses one core
        outputs = list(pool.map(lambda action: backend.run(action, progress), actions))
    entries = [entry for output in outputs for entry in tar_entries(store.verified(output))]
    require_clean(
        entries,
        store,
        sources={item.name: tuple(source.path for source in item.sources) for item in plan.native},
        allowed={item.name: item.allowed for item in plan.native},
    )
    return ordered([replace(entry, path=f"{LIBRARIES}/{entry.path}") for entry in entries], epoch=plan.epoch)


def _below(folders: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/" for folder in folders)


def _headers(wheels: Sequence[Artifact], folders: Iterable[str], store: Store) -> dict[str, str]:
    """Hex SHA-256 of every file below these folders of the wheels, by path; all of them in the store.

    Raises:
        KernelError: a folder is in none of the wheels.
    """
    found: dict[str, str] = {}
    for wheel in wheels:
        archive = Archive(store.verified(wheel.sha256, wheel.size), wheel.name)
        for name in sorted(archive.members):
            if name.startswith(_below(folders)):
                found[name] = store.add(archive.read(name, LARGEST_HEADER))
    for folder in folders:
        if not any(name.startswith(f"{folder}/") for name in found):
            raise KernelError(
                f"no wheel of the kernel holds the headers {folder}",
                where="[native] headers",
                hint="name a folder as it is below site-packages, and have its wheel in python.requirements",
            )
    return found
