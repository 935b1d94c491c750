"""`kbuild render SPEC --to DIR`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.render.context import Context
    from builder.render.image import Rendering

NEXT = {
    "dockerfile": "docker build --network none {}",
    "nix": "nix-build {}",
}
"""The formats, and the command that builds what is rendered."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("spec", metavar="SPEC", type=Path, help="the kernel's spec.toml, or its folder")
    verb.add_argument(
        "--to", metavar="DIR", type=Path, required=True, help="a new or empty folder, or one that this verb wrote"
    )
    verb.add_argument("--format", choices=tuple(NEXT), required=True, help="what is to build it")
    verb.add_argument(
        "--platform", choices=("linux/amd64", "linux/arm64"), help="which image (default: this machine's)"
    )
    verb.add_argument("--with-inputs", action="store_true", help="put the inputs into it; else its fetch.py gets them")
    verb.add_argument("--locked", action="store_true", help="write nothing beside the spec; fail if there is no lock")
    verb.add_argument("--offline", action="store_true", help="do not use the network; say what is missing")


def run(options: argparse.Namespace) -> int:
    """Build the image if need be, write the folder, and print its path."""
    from builder.cli.display import progress
    from builder.cli.paths import lock_path, spec_path
    from builder.determinism.check import checked
    from builder.errors import UsageError
    from builder.machine import from_environment
    from builder.pipeline.backend import backend_of
    from builder.pipeline.rendering import rendering
    from builder.render.context import check_free, write
    from builder.store.blobs import Store

    spec = spec_path(options.spec)
    check_free(options.to)
    pinned = checked(spec).compiler.nixpkgs is not None
    if pinned and options.format != "nix":
        raise UsageError(
            f"the kernel's compiler comes from nixpkgs, which no {options.format} can run",
            where=str(spec),
            hint="render it with --format nix",
        )
    machine = from_environment(os.environ, offline=options.offline)
    store = Store(machine.store)
    with progress(options) as display:
        found = rendering(
            spec, lock_path(spec), platform=options.platform, machine=machine, store=store,
            backend=backend_of("nix" if pinned else "embedded", store), progress=display, locked=options.locked,
        )  # fmt: skip
        with display.step("write"):
            write(_context(found, options.format, with_inputs=options.with_inputs), options.to, store)
    if options.json:
        print(json.dumps({"schema": "kbuild.render/1", "target": str(options.to), **_facts(found, options.format)}))
    else:
        print(options.to)
    if not options.quiet:
        before = "" if options.with_inputs else f"{options.to}/fetch.py, then "
        print(f"{found.name} {found.platform}: {before}{NEXT[options.format].format(options.to)}", file=sys.stderr)
    return 0


def _context(found: Rendering, form: str, *, with_inputs: bool) -> Context:
    if form == "nix":
        from builder.render.nix import nix_directory

        return nix_directory(found, with_inputs=with_inputs)
    from builder.render.dockerfile import docker_directory

    return docker_directory(found, with_inputs=with_inputs)


def _facts(found: Rendering, form: str) -> dict[str, object]:
    return {
        "format": form,
        "platform": found.platform,
        "builder": found.builder,
        "manifest": found.manifest,
        "tree": found.tree_digest,
        "layers": [{"name": layer.name, "diff_id": layer.diff_id} for layer in found.layers],
    }
