"""x86-64 instructions by their trait: encodings from the manuals, and what a real compiler makes of intrinsics."""

from __future__ import annotations

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.audit.traits import Trait
from builder.audit.x86 import sweep, trait_of

ENCODED = {
    "0f52c1": ("rsqrtps", Trait.ESTIMATE),
    "f30f52c1": ("rsqrtss", Trait.ESTIMATE),
    "0f53c1": ("rcpps", Trait.ESTIMATE),
    "c5fc52c1": ("vrsqrtps", Trait.ESTIMATE),
    "c5f853c1": ("vrcpps", Trait.ESTIMATE),
    "62f27d484ec1": ("vrsqrt14ps", Trait.ESTIMATE),
    "62f2fd484ec1": ("vrsqrt14pd", Trait.ESTIMATE),
    "62f27d484cc1": ("vrcp14ps", Trait.ESTIMATE),
    "62f27e4852c1": ("vdpbf16ps", Trait.FLUSH),
    "62f27e4872c1": ("vcvtneps2bf16", Trait.FLUSH),
    "c4e27a5cca": ("tdpbf16ps", Trait.FLUSH),
    "0fae10": ("ldmxcsr", Trait.MODE),
    "c5f8ae10": ("vldmxcsr", Trait.MODE),
    "d928": ("fldcw", Trait.MODE),
    "d9fe": ("fsin", Trait.X87),
    "dec1": ("faddp", Trait.X87),
    "db28": ("fld", Trait.X87),
    "0fc7f0": ("rdrand", Trait.RANDOM),
    "0f31": ("rdtsc", Trait.CLOCK),
    "0fa2": ("cpuid", Trait.DISPATCH),
    "c4e27598c2": ("vfmadd132ps", Trait.FMA),
}
"""Intel SDM volume 2, the instructions' own pages."""

HARMLESS = ("0f51c1", "0f58c1", "f30f5ec1", "0fae18", "dbe3", "0f77", "62f17c4858c1", "f20f5ac1")
"""sqrtps, addps, divss, stmxcsr, fninit, emms, vaddps on 512 bits, cvtsd2ss."""


@pytest.mark.parametrize(("code", "expected"), ENCODED.items(), ids=[name for name, _ in ENCODED.values()])
def test_an_instruction_and_its_trait(code: str, expected: tuple[str, Trait]) -> None:
    name, trait = expected
    count, found = sweep(bytes.fromhex(code), 0x1000)
    assert (count, found) == (1, {name: [0x1000]})
    assert trait_of(name.upper()) is trait


@pytest.mark.parametrize("code", HARMLESS)
def test_what_computes_exactly_or_not_at_all_has_none(code: str) -> None:
    assert sweep(bytes.fromhex(code), 0) == (1, {})


@given(st.lists(st.sampled_from([*ENCODED, *HARMLESS]), max_size=40))
def test_where_each_is_in_a_stream(codes: list[str]) -> None:
    expected: dict[str, list[int]] = {}
    address = 0x400000
    for code in codes:
        if code in ENCODED:
            expected.setdefault(ENCODED[code][0], []).append(address)
        address += len(code) // 2
    assert sweep(bytes.fromhex("".join(codes)), 0x400000) == (len(codes), expected)


@given(st.binary(max_size=300))
def test_another_decoder_finds_the_same_estimates(code: bytes) -> None:
    """Capstone knows fewer instructions, so they are compared as far as it decodes."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoded = list(decoder.disasm_lite(code, 0))
    end = decoded[-1][0] + decoded[-1][1] if decoded else 0
    wanted = {"rsqrtps", "rsqrtss", "rcpps", "rcpss", "vrsqrtps", "vrcpps", "rdtsc", "cpuid"}
    theirs = sorted((address, name) for address, _, name, _ in decoded if name in wanted)
    ours = sweep(code[:end], 0)[1]
    assert sorted((address, name) for name, places in ours.items() if name in wanted for address in places) == theirs


@given(st.binary(max_size=200))
def test_bytes_that_are_no_code_are_counted_and_never_an_error(code: bytes) -> None:
    count, found = sweep(code, 0)
    assert 0 <= count <= len(code)
    assert all(0 <= address < len(code) for places in found.values() for address in places)
