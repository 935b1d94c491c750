"""Which functions a run goes into, by what QEMU writes down of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.audit.binary import read
from builder.audit.reached import Mapped, Reached, Recording, counted, executed, filtered, load, within
from builder.audit.recording import _parsed
from builder.audit.traits import Trait
from builder.platforms import host_platform

LIBRARY = """
#include <immintrin.h>
extern "C" float planted(float x) { return _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(x))); }
extern "C" float spared(float x) { return x > 1e9f ? planted(x) : x + 1; }
extern "C" float never(float x) { return planted(x) * 2; }
"""
PROGRAM = """
extern "C" float planted(float), spared(float), never(float);
int main(int argc, char **) {
  float sum = 0;
  for (int i = 0; i < 7; i++) sum += planted(argc + i);
  for (int i = 0; i < 3; i++) sum += spared(argc + i);
  return argc > 5 ? (int)never(sum) : 0;
}
"""
LOG = b"""\
2 openat(-100,"/lib/x/libone.so",O_RDONLY|O_CLOEXEC) = 4
2 openat(-100,"/lib/gone.so",O_RDONLY|O_CLOEXEC) = -1 errno=2 (No such file or directory)
2 mmap(NULL,8192,PROT_READ,MAP_PRIVATE|MAP_DENYWRITE,4,0) = 0x00007f0000000000
----------------
IN:
0x7f0000000100:  48 89 e7                 movq     %rsp, %rdi
0x7f0000000103:  c3                       retq

2 mmap(0x00007f0000001000,4096,PROT_EXEC|PROT_READ,MAP_PRIVATE|MAP_DENYWRITE|MAP_FIXED,4,0x1000) = 0x00007f0000001000
2 mmap(0x00007f0000005000,4096,PROT_EXEC|PROT_READ,MAP_PRIVATE|MAP_ANONYMOUS,-1,0) = 0x00007f0000005000
----------------
IN: named
0x7f0000001040:  0f 52 c0                 rsqrtps  %xmm0, %xmm0
0x7f00000010432 write(1,0x7f0000000000,3) = 3
"""


def test_a_log_of_blocks_and_mappings() -> None:
    found = executed(LOG.splitlines(keepends=True))
    assert found.mapped == (Mapped(0x7F0000001000, 4096, "lib/x/libone.so", 0x1000),)
    assert found.blocks == {0x7F0000000100: (0x7F0000000100, 0x7F0000000103), 0x7F0000001040: (0x7F0000001040,)}


def test_a_log_of_runs() -> None:
    line = b"Trace %d: 0x7f12 [00000000/%016x/00c0c2b3/ff000200] planted\n"
    log = [line % (0, 0x1040), LOG.splitlines(keepends=True)[0], line % (1, 0x1040), line % (0, 0x2000), b"noise\n"]
    assert counted(log, {}) == {0x1040: 2, 0x2000: 1}


def test_a_run_that_has_a_library_elsewhere_is_read_no_further() -> None:
    lines = LOG.splitlines(keepends=True)
    assert counted(lines, {"lib/x/libone.so": 0x7F0000001000, "lib/absent.so": 1}) == {}
    rest = iter(lines)
    assert counted(rest, {"lib/x/libone.so": 0x7F0000002000}) is None
    assert next(rest).startswith(b"2 mmap(0x00007f0000005000")


@given(st.lists(st.binary(max_size=80)))
def test_whatever_a_program_writes_into_the_log_is_no_error(lines: list[bytes]) -> None:
    executed(lines)
    counted(lines, {})


@given(st.sets(st.integers(0, 300), max_size=20), st.sets(st.integers(0, 300), max_size=60))
def test_blocks_within_ranges(begins: set[int], firsts: set[int]) -> None:
    ranges = {begin: begin + 3 for begin in begins if not {begin + 1, begin + 2} & begins}
    blocks = {first: (first, first + 1) for first in firsts}
    expected = {begin: [(at, at + 1) for at in firsts if begin <= at < end] for begin, end in ranges.items()}
    found = within(blocks, ranges)
    assert {begin: sorted(items) for begin, items in found.items()} == {
        begin: sorted(items) for begin, items in expected.items() if items
    }


@given(st.sets(st.integers(0, 2000), min_size=1))
def test_a_filter_covers_all_addresses_in_few_ranges(addresses: set[int]) -> None:
    ranges = [tuple(int(end, 16) for end in item.split("..")) for item in filtered(addresses).split(",")]
    assert all(any(low <= address <= high for low, high in ranges) for address in addresses)
    assert all(low in addresses and high in addresses for low, high in ranges)
    assert all(after[0] - before[1] > 64 for before, after in pairwise(ranges))


def test_a_recording_survives_its_record() -> None:
    made = Recording(
        "Haswell",
        ("lib/a.so",),
        (Reached("lib/a.so", "f", Trait.ESTIMATE, resolver=False, calls=3, executed=1, instructions=2),),
    )
    assert load(made.dump()) == made


def test_a_pipe_is_parsed_meanwhile(tmp_path: Path) -> None:
    with _parsed(tmp_path / "pipe", lambda log: sum(len(line) for line in log)) as parsed:
        for _ in range(2):  # as one program after the other would
            with (tmp_path / "pipe").open("wb") as writing:
                writing.write(b"a line\n" * 20_000)
    assert parsed.value == 2 * 7 * 20_000
    with _parsed(tmp_path / "unused", list) as parsed:
        pass
    assert parsed.value == []


def test_no_thread_is_left_when_a_run_fails(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="the run"), _parsed(tmp_path / "pipe", list):
        raise OSError("the run")
    assert threading.active_count() == before


@pytest.mark.qemu
def test_a_real_emulator_tells_calls_and_what_ran(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None or shutil.which("g++") is None or host_platform() != "linux/amd64":
        pytest.skip("needs QEMU and a C++ compiler for x86-64")
    for name, source, flags in (("libnet.so", LIBRARY, ("-shared", "-fPIC")), ("main", PROGRAM, ("-L.", "-lnet"))):
        (tmp_path / "source.cc").write_text(source)
        line = ["g++", "-O1", "-fno-plt", "-o", name, "source.cc", *flags]
        subprocess.run(line, check=True, cwd=tmp_path)

    def logged(*options: str) -> list[bytes]:
        line = ["setarch", "-R", emulator, *options, "-D", "log", "main"]
        subprocess.run(
            line, check=True, cwd=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
        )
        return (tmp_path / "log").read_bytes().splitlines(keepends=True)

    first = executed(logged("-d", "in_asm,strace"))
    (mapped,) = [item for item in first.mapped if item.path.endswith("libnet.so")]
    binary = read(tmp_path / "libnet.so")
    assert binary is not None
    bias = mapped.begin - mapped.offset - (binary.code[0].address - binary.code[0].offset)
    places = {name: start + bias for start, name in zip(binary.starts, binary.names, strict=True)}
    ends = {begin: binary.end(begin - bias) + bias for begin in places.values()}
    entered = within(first.blocks, ends)
    assert places["planted"] in entered
    assert places["spared"] in entered
    assert places["never"] not in entered
    wanted = filtered(places[name] for name in ("planted", "spared"))
    counts = None
    for _ in range(9):  # the emulator's own threads may move what it maps
        counts = counts or counted(logged("-d", "exec,strace", "-dfilter", wanted), {mapped.path: mapped.begin})
    assert counts is not None
    assert (counts[places["planted"]], counts[places["spared"]]) == (7, 3)
