"""`kbuild verify DIGEST|SPEC`."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.harness.job import Case
    from builder.harness.verdict import Verification

IMAGE = re.compile(r"(sha256:)?[0-9a-f]{6,64}")


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what this verb takes."""
    verb.add_argument("image", metavar="DIGEST|SPEC", help="an image in the store, or a spec to build and verify")
    verb.add_argument(
        "--inputs", metavar="FILE", type=Path, nargs="+", default=[],
        help="one set of inputs (default: each of the spec's examples)",
    )  # fmt: skip
    verb.add_argument("--hosts", metavar="FILE", type=Path, help="hosts to run on, as docs/hosts.md describes them")
    verb.add_argument(
        "--simulate", action="store_true",
        help="the built-in hosts: other CPUs and core counts, a hostile environment (default without --hosts)",
    )  # fmt: skip
    verb.add_argument(
        "--only", metavar="PATTERN", action="append", default=[],
        help="of these hosts only those whose names match, such as native or 'epyc-*'; may be given several times",
    )  # fmt: skip
    verb.add_argument(
        "--repeat", metavar="N", type=_count, default=1, help="runs of each case on each host (default 1)"
    )
    verb.add_argument(
        "--timeout", metavar="S", type=_seconds, default=1800.0, help="seconds that one run may take (default 1800)"
    )
    verb.add_argument(
        "--jobs", metavar="N", type=_count, help="runs at a time on this machine (default: KBUILD_JOBS, or its cores)"
    )
    verb.add_argument(
        "--no-localise", dest="localise", action="store_false",
        help="where bits differ, do not run again to find the first operation that parted",
    )  # fmt: skip
    verb.add_argument("--html", metavar="FILE", type=Path, help="also write the report as one self-contained page")
    verb.add_argument("--fresh", action="store_true", help="run again what an earlier verification already ran")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:  # noqa: PLR2004 - more is a slip of the finger
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def run(options: argparse.Namespace) -> int:
    """Run everywhere, compare, and say who agrees."""
    from builder.cli.appearance import console
    from builder.cli.display import progress
    from builder.cli.run import image_of
    from builder.harness.report import html, terminal, to_json
    from builder.harness.verify import Settings
    from builder.hosts.fleet import load as load_fleet
    from builder.machine import from_environment
    from builder.oci.image import load
    from builder.pipeline.verify import Wanted, examine, given
    from builder.store.blobs import Store

    if options.html:
        _require_place(options.html)
    machine = from_environment(os.environ)
    store = Store(machine.store)
    fleet = load_fleet(options.hosts) if options.hosts else None
    wanted = Wanted(fleet, simulate=options.simulate or fleet is None, only=options.only, localise=options.localise)
    cases = given(options.inputs) if options.inputs else _examples(options)
    image = load(store, image_of(options, store, machine))
    settings = Settings(options.repeat, options.timeout, options.fresh, options.jobs or machine.jobs)
    with progress(options) as display:
        report = examine(image, cases, wanted, settings, store=store, machine=machine, progress=display)
    found = report.verification
    if options.html:
        _write(options.html, html(report))
    if options.json:
        print(json.dumps(to_json(report)))
    else:
        _lines(found)
        if not options.quiet:
            terminal(report, console())
    return exit_code(found)


def exit_code(found: Verification) -> int:
    """0 if every run gave its platform's bits, 3 if nothing was compared with anything, else 1."""
    if found.agreed:
        return 0
    return 1 if found.compared else 3


def _examples(options: argparse.Namespace) -> list[Case]:
    """The cases of a spec; an image by its digest brings none."""
    from builder.cli.paths import spec_path
    from builder.determinism.check import checked
    from builder.harness.job import case
    from builder.pipeline.verify import cases_of

    if IMAGE.fullmatch(options.image):
        return [case("no-inputs", [])]
    spec = spec_path(Path(options.image))
    return cases_of(checked(spec), spec.parent)


def _lines(found: Verification) -> None:
    """One line per run for programs: platform, case, host, repeat, verdict and the hash over all outputs."""
    for run in found.runs:
        outputs = run.receipt["result"]["outputs"]["sha256"] if run.receipt and run.verdict.delivered else "-"
        print(run.platform, run.case, run.host, run.repeat, run.verdict, outputs, sep="\t")


def _require_place(path: Path) -> None:
    """Refuse a file that cannot be written before hours of runs, not after."""
    from builder.errors import UsageError

    if path.is_dir() or not path.parent.is_dir():
        raise UsageError("is a folder" if path.is_dir() else "no such folder", where=str(path))


def _write(path: Path, page: str) -> None:
    from builder.store.atomic import faults, unique_name, write_whole

    with faults(path):
        write_whole(path, page.encode(), temporary=path.with_name(f".{path.name}.{unique_name()}"))
