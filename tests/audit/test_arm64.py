"""AArch64 instructions by their trait, held against an independent decoder."""

from __future__ import annotations

import capstone
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.audit.arm64 import ENCODINGS, sweep

DECODER = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
IDS = [f"{name}-{value:08x}" for name, _, _, value in ENCODINGS]


def named(word: int) -> str:
    """What Capstone calls a word; "" if it knows it not (some operands are reserved)."""
    found = list(DECODER.disasm_lite(word.to_bytes(4, "little"), 0))
    return f"{found[0][2]} {found[0][3]}" if found else ""


@pytest.mark.parametrize(("name", "trait", "mask", "value"), ENCODINGS, ids=IDS)
def test_every_encoding_is_what_it_is_called(name: str, trait: str, mask: int, value: int) -> None:
    random = np.random.default_rng(value)
    words = [value, *((int(bits) & ~mask & 0xFFFFFFFF) | value for bits in random.integers(0, 1 << 32, 200))]
    known = [text for text in map(named, words) if text]
    if name in ("smstart", "mrs rndr", "mrs rndrrs"):  # newer than Capstone 5
        assert len(sweep(value.to_bytes(4, "little"), 0)[1][name]) == 1
        return
    assert known, "Capstone knows at least one of them"
    wanted = name.split(maxsplit=1)[0]
    for text in known:
        assert text.split()[0] == wanted, text
        if name == "msr fpcr":
            assert "fpcr" in text.lower()
        if name.startswith("mrs c"):
            assert name.split()[1] in text.lower()
    assert trait


@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_no_word_that_capstone_calls_so_is_missed(words: list[int]) -> None:
    wanted = {"frecpe", "frsqrte", "fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls"}
    code = b"".join(word.to_bytes(4, "little") for word in words)
    count, found = sweep(code, 0)
    assert count == len(words)
    ours = {(address, name) for name, places in found.items() if name in wanted for address in places}
    for index, word in enumerate(words):
        text = named(word)
        sve = (word >> 25) & 0xF == 0b0010
        if text.split(" ")[0] in wanted and not sve and ".h" not in text and "h" not in text.split(" ", 1)[1][:1]:
            assert (4 * index, text.split()[0]) in ours, text


def test_the_end_of_a_section_that_is_no_whole_word() -> None:
    assert sweep(b"\x00\x00\x80", 0) == (0, {})
