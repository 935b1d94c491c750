"""`kbuild inspect DIGEST --instructions`: what an image's machine code holds, and what a run of it reaches."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

_LIBRARY, _FUNCTION, _CALLS = 18, 27, 30
"""Letters of a name in a table that is to fit into 80 columns; the page has them whole."""

if TYPE_CHECKING:
    from builder.audit.image import Contents
    from builder.audit.reached import Recording
    from builder.machine import Machine
    from builder.oci.image import Image
    from builder.platforms import Platform
    from builder.store.blobs import Store


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what the verb takes for it."""
    verb.add_argument(
        "--instructions",
        action="store_true",
        help="decode all machine code, and count what does not give the same bits on every CPU, by library",
    )
    verb.add_argument(
        "--reached",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="with --instructions: run the image with these inputs on an emulated CPU; tell which of that it reaches",
    )
    verb.add_argument(
        "--platform",
        choices=("linux/amd64", "linux/arm64"),
        help="with --instructions: of one platform only; default: all, and with --reached this machine's",
    )
    verb.add_argument("--html", metavar="FILE", type=Path, help="with --instructions: write a page with every function")


def unused(options: argparse.Namespace) -> str | None:
    """An option that was given and means nothing without `--instructions`."""
    given = {"--html": options.html, "--platform": options.platform, "--reached": options.reached}
    return next((name for name, value in given.items() if value is not None), None)


def run(options: argparse.Namespace, image: Image, store: Store, machine: Machine) -> int:
    """Show the tally by library, or write all of it; the digest goes to stdout."""
    from builder.audit.image import contents
    from builder.audit.page import page
    from builder.cli.display import progress
    from builder.pipeline.reaching import reached
    from builder.store.atomic import unique_name, write_whole

    recordings: dict[Platform, Recording] = {}
    with progress(options) as display:
        found = {
            platform: contents(store, image.manifest(platform), jobs=machine.jobs, progress=display)
            for platform in _platforms(options, image)
        }
        if options.reached is not None:
            for platform, held in found.items():
                recordings[platform] = reached(
                    image, platform, held, options.reached, store=store, machine=machine, progress=display
                )
    if options.html:
        temporary = options.html.with_name(f".{unique_name()}")
        write_whole(options.html, page(image.digest, found, recordings).encode(), temporary=temporary)
    if options.json:
        print(json.dumps(_document(image.digest, found, recordings)))
        return 0
    print(image.digest)
    if not options.quiet:
        for platform, held in found.items():
            _show(options, platform, held, recordings.get(platform))
        _explain(found.values())
    return 0


def _platforms(options: argparse.Namespace, image: Image) -> list[Platform]:
    from builder.platforms import host_platform

    if options.platform:
        image.manifest(options.platform)
        return [options.platform]
    if options.reached is not None and host_platform() in image.manifests:
        return [host_platform()]
    return list(image.manifests)


def _document(
    digest: str, found: Mapping[Platform, Contents], recordings: Mapping[Platform, Recording]
) -> dict[str, Any]:
    return {
        "digest": digest,
        "platforms": {
            platform: [{"path": item.path, "layer": item.layer, **item.audit.dump()} for item in held.libraries]
            for platform, held in found.items()
        },
        "programs": {platform: [item.dump() for item in held.programs] for platform, held in found.items()},
        "unread": {platform: [asdict(item) for item in held.unread] for platform, held in found.items()},
        "reached": {platform: item.dump() for platform, item in recordings.items()},
    }


def _show(options: argparse.Namespace, platform: Platform, held: Contents, recording: Recording | None) -> None:
    from builder.cli.appearance import table

    tallies = [(library, library.audit.tally()) for library in held.libraries]
    rows = [
        (Path(library.path).name.partition(".cpython-")[0], _tally(tally))
        for library, tally in tallies
        if tally or options.verbose
    ]
    rows += [(Path(item.path).name, f"not decoded: {item.reason}") for item in held.unread]
    count = sum(item.audit.instructions for item in held.libraries)
    table(
        f"{platform}: {count:,} instructions in {len(held.libraries)} programs and libraries",
        ("library", "holds"),
        rows,
    )
    if held.programs:
        compiled = [
            (
                Path(item.path).name,
                f"{item.audit.instructions:,}",
                _tally(item.audit.tally()) or "none of these",
                _shortened(_tally(item.calls).replace("custom-call ", ""), _CALLS),
            )
            for item in held.programs
        ]
        title = f"{platform}: compiled ahead of time for {held.programs[0].target}"
        table(title, ("program", "instructions", "holds", "calls"), compiled, right=(1,))
    if recording:
        _show_reached(platform, recording)


def _show_reached(platform: Platform, recording: Recording) -> None:
    from builder.audit.gate import readable
    from builder.cli.appearance import table

    rows = [
        (
            item.trait.value,
            _shortened(Path(item.path).name.partition(".so")[0].partition(".cpython-")[0], _LIBRARY),
            _shortened("::".join(readable(item.function).partition("(")[0].split("::")[-2:]), _FUNCTION),
            "" if item.calls is None else f"{item.calls:,}",
            f"{item.executed:,}/{item.instructions:,}",
        )
        for item in recording.ran()
    ]
    title = f"{platform}: functions that ran such instructions on {recording.cpu}"
    table(title, ("trait", "library", "function", "calls", "ran"), rows, right=(3, 4))
    spared, asked = len(recording.spared()), len(recording.asked())
    print("  ran: of how many that it has; calls: at least so many", file=sys.stderr)
    print(f"  {spared:,} functions were gone into and ran none of theirs", file=sys.stderr)
    print(f"  {asked:,} were asked by the loader which code to use", file=sys.stderr)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _tally(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {getattr(name, 'value', name)}" for name, count in counts.items())


def _explain(found: Collection[Contents]) -> None:
    """What the words of the tables mean."""
    from builder.audit.traits import MEANINGS, Trait

    audits = [part.audit for one in found for part in one.libraries]
    audits += [part.audit for one in found for part in one.programs]
    held = {item.trait for made in audits for item in made.findings}
    for trait in Trait:
        if trait in held:
            print(f"  {trait.value}: {MEANINGS[trait]}", file=sys.stderr)
