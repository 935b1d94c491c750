"""No ELF file with code passes for one without: whatever its section headers say, or if it has none."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from builder.audit.binary import Unreadable, parse, read
from builder.audit.gate import require_clean
from builder.audit.scan import audit, audit_content
from builder.audit.traits import Trait
from builder.errors import KernelError
from builder.layers.entry import Entry, Kind
from builder.platforms import host_platform
from builder.store.blobs import Store

SOURCE = """
#include <immintrin.h>
extern "C" __m128 planted(__m128 x) { return _mm_rsqrt_ps(x); }
extern "C" double clean(double x) { return x * x + 1.0; }
extern "C" { static double chosen(double x) { return x; } typedef double unary(double);
unary *choose() { return chosen; } double picked(double) __attribute__((ifunc("choose"))); }
"""
HIDDEN = 'asm(".pushsection .notes, \\"a\\"; .type low, @function; low: rsqrtps %xmm0, %xmm0; ret; .popsection");'

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or host_platform() != "linux/amd64", reason="needs a C++ compiler for x86-64"
)


def made(folder: Path, source: str, *flags: str) -> Path:
    (folder / "op.cc").write_text(source)
    subprocess.run(["g++", "-O2", *flags, "-o", folder / "op", folder / "op.cc"], check=True)
    return folder / "op"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("binary"), SOURCE, "-shared", "-fPIC", "-nostartfiles").read_bytes()


def without_sections(content: bytes) -> bytes:
    """The ELF header's e_shoff, e_shnum and e_shstrndx at zero, as `objcopy --strip-section-headers` leaves it."""
    table = struct.unpack_from("<Q", content, 40)[0]
    bare = bytearray(content[:table])
    struct.pack_into("<Q", bare, 40, 0)
    struct.pack_into("<HHH", bare, 58, 0, 0, 0)
    return bytes(bare)


def estimates(content: bytes) -> set[str]:
    found = audit_content(content)
    assert found is not None
    return {item.function for item in found.findings if item.trait is Trait.ESTIMATE}


def test_a_library_without_section_headers_is_decoded_by_its_segments(library: bytes, tmp_path: Path) -> None:
    bare = without_sections(library)
    assert estimates(library) == estimates(bare) == {"planted"}
    binary = parse(bare)
    assert binary is not None
    assert {"planted", "clean"} <= set(binary.names), "named by the loader's own table"
    assert all(code.bare for code in binary.code)
    (tmp_path / "op.so").write_bytes(bare)
    assert audit(tmp_path / "op.so") == audit_content(bare)


def test_a_program_with_nothing_but_segments(tmp_path: Path) -> None:
    program = made(tmp_path, SOURCE + "int main() { return planted(__m128{1, 1, 1, 1})[0] > 1; }", "-static", "-s")
    found = audit_content(without_sections(program.read_bytes()))
    assert found is not None
    assert "rsqrtps" in {item.mnemonic for item in found.findings}
    assert found.instructions > 1000


def test_code_that_its_section_does_not_say_it_is(tmp_path: Path, library: bytes) -> None:
    linked = made(tmp_path, HIDDEN, "-shared", "-fPIC", "-nostartfiles")
    assert estimates(linked.read_bytes()) == {"low"}
    content = bytearray(library)  # the flag SHF_EXECINSTR taken from every section
    table, size, number = struct.unpack_from("<Q", content, 40)[0], *struct.unpack_from("<HH", content, 58)
    for index in range(number):
        place = table + index * size + 8
        struct.pack_into("<Q", content, place, struct.unpack_from("<Q", content, place)[0] & ~4)
    assert estimates(bytes(content)) == {"planted"}


def test_an_object_that_is_not_linked_yet(tmp_path: Path) -> None:
    two = 'extern "C" float other(float x) { return x + 1; }'
    loose = made(tmp_path, SOURCE + two, "-c", "-ffunction-sections")
    binary = read(loose)
    assert binary is not None
    assert binary.relocatable
    assert len(binary.code) > 1
    assert estimates(loose.read_bytes()) == {"planted"}, "sections that all begin at 0 are told apart"


def test_a_resolver_is_code_that_asks_for_the_cpu(library: bytes) -> None:
    found = audit_content(library)
    assert found is not None
    named = {item.function for item in found.findings if item.mnemonic == "ifunc"}
    assert named & {"picked", "choose()", "choose"}


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (18, 3, "another machine"),  # e_machine: EM_386
        (4, 1, "another machine"),  # EI_CLASS: 32 bits
        (40, 1 << 40, "malformed"),  # e_shoff
    ],
)
def test_what_cannot_be_read_is_refused_and_never_passed(
    library: bytes, tmp_path: Path, place: int, value: int, reason: str
) -> None:
    bent = bytearray(library)
    bent[place : place + (8 if place == 40 else 1)] = value.to_bytes(8 if place == 40 else 1, "little")
    with pytest.raises(Unreadable, match=reason):
        parse(bytes(bent))
    for name in ("norm.so", "norm"):
        path = tmp_path / name
        path.write_bytes(bent)
        entry = Entry(name, Kind.FILE, 0o755, 0, size=len(bent), source=lambda path=path: path.open("rb"))
        with pytest.raises(KernelError, match=f"which .*{reason}"):
            require_clean([entry], Store(tmp_path / "store"), sources={}, allowed={})


def test_a_file_that_ends_within_its_code_is_refused(library: bytes) -> None:
    bare = without_sections(library)
    with pytest.raises(Unreadable):
        parse(bare[: len(bare) // 4])
