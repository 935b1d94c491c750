"""What every rendered directory brings along, whichever tool builds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from builder.render.context import Blob
from builder.render.image import Rendering
from builder.render.origins import INPUTS
from builder.resources import shipped

BUSYBOX = "bootstrap/busybox"

_PROGRAMS = ("lay.py", "fetch.py", "unpack.sh")
_EXECUTABLE = frozenset({"lay.py", "fetch.py", BUSYBOX})


def kit(rendering: Rendering, *, with_inputs: bool) -> dict[str, str | bytes | Blob]:
    """The files that do not depend on the format: programs, lists, mtree files, what kbuild wrote, and inputs.

    Args:
        rendering: what is rendered.
        with_inputs: bring every input along, not only those that no registry has.
    """
    files: dict[str, str | bytes | Blob] = dict(rendering.files)
    folder = shipped("templates") / "render"
    for name in _PROGRAMS:
        files[name] = (folder / name).read_text("utf-8")
    files["inputs.txt"] = table(rendering)
    files["inputs.json"] = listing(rendering)
    for item in rendering.inputs:
        if with_inputs or item.registry == "local":
            path = f"{INPUTS}/{item.name}"
            files[path] = rendering.blobs[path]
    if with_inputs:
        files[BUSYBOX] = Blob(rendering.busybox.sha256, rendering.busybox.size)
    return files


def executable(files: Mapping[str, object]) -> frozenset[str]:
    """Those of the kit's files that are programs."""
    return _EXECUTABLE & files.keys()


def later(rendering: Rendering) -> frozenset[str]:
    """What `fetch.py` may put into a rendered directory, whole or in part."""
    paths = [BUSYBOX, *(f"{INPUTS}/{item.name}" for item in rendering.inputs)]
    parts = [f"{folder}/.{name}.part" for folder, _, name in (path.rpartition("/") for path in paths)]
    return frozenset((*paths, *parts))


def table(rendering: Rendering) -> str:
    """`inputs.txt`, by which `unpack.sh` goes: a line for each input, its fields separated by tabs."""
    rows = ((item.sha256, str(item.size), item.kind, item.name) for item in rendering.inputs)
    head = "# SHA-256, size in bytes, what it is unpacked as, and name below inputs/; separated by tabs.\n"
    return head + "".join("\t".join(row) + "\n" for row in rows)


def listing(rendering: Rendering) -> str:
    """`inputs.json`, by which `fetch.py` goes: where registries have the inputs, and what BusyBox is taken from."""
    program = rendering.busybox
    body = {
        "schema": "kbuild.render.inputs/1",
        "snapshots": dict(sorted(rendering.snapshots.items())),
        "bootstrap": {"path": BUSYBOX, "sha256": program.sha256, "package": program.package, "member": program.member},
        "inputs": [asdict(item) for item in rendering.inputs],
    }
    return json.dumps(body, indent=1) + "\n"


def template(name: str, **values: Any) -> str:
    """A template of `templates/render`, filled in."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(shipped("templates") / "render"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - what is rendered is no HTML, and each format quotes by its own rules
        keep_trailing_newline=True,
    )
