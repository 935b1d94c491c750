"""From a real shared object to its findings: functions by name, and nothing that a malformed file could break."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.audit import scan
from builder.audit.binary import Unreadable, read
from builder.audit.gate import audited, readable, refused
from builder.audit.scan import Audit, audit, load
from builder.audit.traits import Trait
from builder.platforms import host_platform
from builder.store.blobs import Store

PLANTED = """
#include <immintrin.h>
namespace net { void normalise(float *x, int n) {
  for (int i = 0; i + 4 <= n; i += 4)
    _mm_storeu_ps(x + i, _mm_mul_ps(_mm_loadu_ps(x + i), _mm_rsqrt_ps(_mm_loadu_ps(x + i)))); } }
extern "C" long double wide(long double x) { return x * x; }
extern "C" double clean(double x) { return x * x + 1.0; }
extern "C" void flush(void) { _mm_setcsr(0x9fc0); }
"""

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or host_platform() != "linux/amd64", reason="needs a C++ compiler for x86-64"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    (folder / "op.cc").write_text(PLANTED)
    subprocess.run(
        ["g++", "-O2", "-shared", "-fPIC", "-nostartfiles", "-o", folder / "op.so", folder / "op.cc"], check=True
    )
    return folder / "op.so"


def test_each_planted_instruction_is_named_to_its_function(library: Path) -> None:
    found = audit(library)
    assert found is not None
    rows = {(item.trait, readable(item.function).partition("(")[0]) for item in found.findings}
    assert (Trait.ESTIMATE, "net::normalise") in rows
    assert (Trait.X87, "wide") in rows
    assert (Trait.MODE, "flush") in rows
    assert "clean" not in {function for _, function in rows}
    assert {item.mnemonic for item in found.findings if item.trait is Trait.ESTIMATE} == {"rsqrtps"}


def test_what_a_table_allows_is_not_refused(library: Path) -> None:
    found = audit(library)
    assert found is not None
    assert {item.trait for item in refused(found)} == {Trait.ESTIMATE, Trait.X87, Trait.MODE}
    assert {item.trait for item in refused(found, [Trait.MODE, Trait.X87])} == {Trait.ESTIMATE}


def test_another_decoder_counts_the_same(library: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump")
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True
    ).stdout
    lines = [line.split("\t")[1] for line in text.splitlines() if line.startswith(" ") and "\t" in line]
    found = audit(library)
    assert found is not None
    assert found.instructions == len(lines)
    assert sum(item.count for item in found.findings if item.mnemonic == "rsqrtps") == sum(
        line.startswith("rsqrtps") for line in lines
    )


def test_cutting_code_into_pieces_changes_nothing(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit(library)
    for size in (1, 16, 64, 200):
        monkeypatch.setattr(scan, "PIECE", size)
        assert audit(library) == whole


def test_an_audit_survives_its_record(library: Path, tmp_path: Path) -> None:
    found = audit(library)
    assert found is not None
    assert load(found.dump()) == found
    store = Store(tmp_path / "store")
    sha256 = store.add(library.read_bytes())
    assert audited(store.verified(sha256), sha256, store) == found
    remembered = audited(tmp_path / "absent", sha256, store)
    assert remembered == found, "the second time nothing is decoded"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_cut_or_bent_file_is_refused_or_some_library(library: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(library.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, min(len(content) - 1, 2000)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "bent.so"
    path.write_bytes(content)
    try:
        found = audit(path)
    except Unreadable:
        return
    assert isinstance(found, Audit) if content.startswith(b"\x7fELF") else found is None


@pytest.mark.parametrize("content", [b"\x7fELF", b"\x7fELF" + b"\xff" * 200])
def test_what_claims_to_be_one_and_is_not(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unreadable):
        read(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n"])
def test_what_is_no_library(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read(tmp_path / "file") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dnrm2_k_HASWELL", "dnrm2_k_HASWELL"),
        ("_ZN3net9normaliseEPfi", "net::normalise(float*, int)"),
        ("_Zzz", "_Zzz"),
    ],
)
def test_names_as_sources_have_them(name: str, expected: str) -> None:
    assert readable(name) == expected
