"""Cross compilers against what they stand in for: docs/decisions/0005-cross-building.md as a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benches import Bench
from foreign import arm64_programs
from test_native import CPU, FLAGS, HEADER, PLAIN, SOURCE

from builder.backends.action import InputFile
from builder.platforms import NAMES, Platform, host_platform

BOTH: tuple[Platform, ...] = ("linux/amd64", "linux/arm64")
HERE = host_platform()
OTHER: Platform = next(platform for platform in BOTH if platform != HERE)

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.qemu]


def compiled(bench: Bench, folder: Path, *, target: Platform, host: Platform, source: bytes) -> bytes:
    """The object that a builder of a platform makes, on this machine."""
    sources = {"native/scale.c" if source is PLAIN else "native/scale.cc": source, "native/scale.h": HEADER}
    return bench.run(bench.action(bench.compiler(target, host), sources, (CPU[target], *FLAGS)), folder / host)


@pytest.mark.parametrize(
    "source", [pytest.param(PLAIN, id="c"), pytest.param(SOURCE, id="c++", marks=pytest.mark.slow)]
)
def test_gcc_crossing_gives_what_the_targets_own_gives(
    benches: Callable[..., Bench], tmp_path: Path, source: bytes
) -> None:
    bench = benches("gcc", *BOTH)
    cross = bench.compiler(OTHER, HERE)
    assert (cross.platform, cross.crossing) == (HERE, True)
    assert bench.compiler(OTHER, OTHER).platform == OTHER
    results = [compiled(bench, tmp_path, target=OTHER, host=host, source=source) for host in (HERE, OTHER)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_the_other_platforms_gcc_crossing_gives_what_this_ones_own_gives(
    benches: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = benches("gcc", *BOTH)
    results = [compiled(bench, tmp_path, target=HERE, host=host, source=SOURCE) for host in (HERE, OTHER)]
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(HERE != "linux/amd64", reason="emulates from x86-64")
@pytest.mark.parametrize("target", BOTH)
def test_zig_gives_the_same_wherever_it_runs(benches: Callable[..., Bench], tmp_path: Path, target: Platform) -> None:
    """It starts itself over and over, so the kernel has to know the emulator."""
    bench = benches("zig", *BOTH)
    with arm64_programs():
        results = [compiled(bench, tmp_path, target=target, host=host, source=PLAIN) for host in BOTH]
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize("target", BOTH)
def test_clang_and_lld_give_the_same_wherever_they_run(
    benches: Callable[..., Bench], tmp_path: Path, target: Platform
) -> None:
    """One after the other: an emulator cannot start what its program starts."""
    bench = benches("clang", *BOTH)
    found = []
    for host in BOTH:
        compiler = bench.compiler(target, host)
        sources = {"native/scale.cc": SOURCE, "native/scale.h": HEADER}
        action = bench.action(compiler, sources, (CPU[target], *FLAGS))
        argv = tuple("-c" if argument == "-shared" else argument for argument in action.argv)
        made = bench.run(replace(action, argv=argv), tmp_path / "object")
        library = f"/usr/lib/{NAMES[target].gnu}/libstdc++.so.6"
        link = (
            f"/usr/bin/ld.lld-{compiler.series}",
            "-shared",
            "--build-id=sha1",
            "-o",
            "/out/scale.so",
            "/in/scale.o",
        )
        inputs = (InputFile("/in/scale.o", bench.store.add(made)),)
        linked = bench.run(replace(action, argv=(*link, library), inputs=inputs), tmp_path / "linked")
        found.append((made, linked))
    assert found[0] == found[1]
