"""`kbuild run DIGEST|SPEC`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.hosts.host import RunResult
    from builder.machine import Machine
    from builder.store.blobs import Store


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("image", metavar="DIGEST|SPEC", help="an image in the store, or a spec to build and run")
    verb.add_argument(
        "--input", metavar="FILE", type=Path, action="append", default=[],
        help="inputs by tensor name: .safetensors, .npz or .json; may be given several times",
    )  # fmt: skip
    verb.add_argument(
        "--set", metavar="NAME=JSON", action="append", default=[], help="one input, such as text='[\"a cat sits\"]'"
    )
    verb.add_argument("--output", metavar="DIR", type=Path, help="where outputs and receipt go (default: in the store)")
    verb.add_argument(
        "--platform", choices=("linux/amd64", "linux/arm64"), help="default: this machine's, else emulated"
    )
    asked = verb.add_mutually_exclusive_group()
    asked.add_argument(
        "--operations", action="store_true",
        help="also list every operation's hash, so that kbuild diff names the first that differs (portable kernels)",
    )  # fmt: skip
    asked.add_argument(
        "--referee", metavar="PATH", action="append", default=[],
        help="also compute this operation by the referee, for kbuild diff --referee (portable kernels)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the kernel once, and print a line for each output: name, dtype, shape, hash."""
    from builder.cli.display import progress
    from builder.machine import from_environment
    from builder.pipeline.run import run_image
    from builder.store.blobs import Store

    machine = from_environment(os.environ)
    store = Store(machine.store)
    given = set_inputs(options.set)
    digest = image_of(options, store, machine)
    with tempfile.TemporaryDirectory(prefix="kbuild-") as folder:
        inputs = list(options.input)
        if given:
            inputs.append(Path(folder) / "set.json")
            inputs[-1].write_text(json.dumps(given, ensure_ascii=False), encoding="utf-8")
        with progress(options) as display:
            result = run_image(
                digest, inputs, platform=options.platform, output=options.output, requests=_requests(options),
                store=store, machine=machine, progress=display,
            )  # fmt: skip
    _report(result, options)
    return 0


def _requests(options: argparse.Namespace) -> dict[str, bytes]:
    """What the run is asked for besides its outputs (docs/trace.md)."""
    asked: dict[str, Any] = {"version": 1}
    if options.operations:
        asked["mode"] = "operations"
    elif options.referee:
        asked |= {"mode": "referee", "equations": options.referee}
    else:
        return {}
    return {".trace.json": json.dumps(asked).encode()}


def set_inputs(pairs: Sequence[str]) -> dict[str, Any]:
    """The tensors of `--set NAME=JSON`.

    Raises:
        UsageError: a pair is not of that form, or a name comes twice.
    """
    from builder.errors import UsageError

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set {pair!r} is not NAME=JSON", hint="write --set x='[1, 2, 3]'")
        if name in found:
            raise UsageError(f"--set gives {name} twice", hint="give every input once")
        try:
            found[name] = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"--set {name}: not JSON: {error}", hint=f"quote strings: --set {name}='[\"...\"]'"
            ) from error
    return found


def image_of(options: argparse.Namespace, store: Store, machine: Machine) -> str:
    """The digest that `options.image` names: itself, or that of the spec's image, which is built if need be."""
    if re.fullmatch(r"(sha256:)?[0-9a-f]{6,64}", options.image):
        return str(options.image)
    from builder.cli.display import progress
    from builder.cli.paths import lock_path, spec_path
    from builder.pipeline import unchanged
    from builder.pipeline.backend import embedded
    from builder.pipeline.build import build

    spec = spec_path(Path(options.image))
    if record := unchanged.recall(store, spec, lock_path(spec)):
        return str(record["report"]["digest"])
    with progress(options) as display:
        return build(
            spec, lock_path(spec), machine=machine, store=store, backend=embedded(store),
            progress=display, locked=False,
        ).digest  # fmt: skip


def _report(result: RunResult, options: argparse.Namespace) -> None:
    receipt = result.receipt
    if options.json:
        print(json.dumps({"schema": "kbuild.run/1", "output": str(result.folder), "receipt": receipt}))
        return
    outputs = receipt["result"]["outputs"]["tensors"]
    for name in sorted(outputs):
        item = outputs[name]
        print(f"{name} {item['dtype']} {json.dumps(item['shape'])} {item['sha256']}")
    if not options.quiet:
        for name, text in _preview(receipt):
            print(f"{name} = {text}", file=sys.stderr)
        print(f"outputs and receipt: {result.folder}", file=sys.stderr)


def _preview(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The receipt's own summary, made fit for a terminal: it comes from inside the image."""
    from builder.spec.findings import printable

    preview = receipt.get("preview")
    if not isinstance(preview, dict):
        return []
    pairs = [(str(name), text) for name, text in preview.items() if isinstance(text, str)]
    return sorted((printable(name), "\n".join(map(printable, text.splitlines()))) for name, text in pairs)
