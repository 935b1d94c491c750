"""What registers say, read as the manuals say: no CPU of the kind is needed."""

import struct

import pytest

from kernels.runtime import arm, x86

MILAN = {
    (0, 0): (0x10, *struct.unpack("<3I", b"AuthcAMDenti")),
    (1, 0): (0x00A20F12, 0, 0x7EF8320B, 0x178BFBFF),
    (7, 0): (0, 0x219C97A9, 0x0040068C, 0x10),
    (0x80000000, 0): (0x80000023, 0, 0, 0),
    (0x80000001, 0): (0x00A20F10, 0, 0x75C237FF, 0x2FD3FBFF),
    (0x80000002, 0): struct.unpack("<4I", b"AMD Ryzen 9 5950"),
    (0x80000003, 0): struct.unpack("<4I", b"X 16-Core Proces"),
    (0x80000004, 0): struct.unpack("<4I", b"sor            \0"),
    (0x8000001D, 0): (0x00004121, 0x01C0003F, 0x0000003F, 0),
    (0x8000001D, 1): (0x00004122, 0x01C0003F, 0x0000003F, 0),
    (0x8000001D, 2): (0x00004143, 0x01C0003F, 0x000003FF, 2),
    (0x8000001D, 3): (0x0007C163, 0x03C0003F, 0x00007FFF, 1),
}
"""Leaves of a Ryzen 9 5950X, the vendor's three words in the order of the registers."""

HASWELL = {
    (0, 0): (0x0D, *struct.unpack("<3I", b"GenuntelineI")),
    (1, 0): (0x000306C3, 0, 0x7FFAFBFF, 0xBFEBFBFF),
    (4, 0): (0x1C004121, 0x01C0003F, 0x0000003F, 0),
    (4, 1): (0x1C004122, 0x01C0003F, 0x0000003F, 0),
    (4, 2): (0x1C004143, 0x01C0003F, 0x000001FF, 0),
    (4, 3): (0x1C03C163, 0x03C0003F, 0x00001FFF, 6),
    (7, 0): (0, 0x000027AB, 0, 0x9C000000),
    (0x80000000, 0): (0x80000008, 0, 0, 0),
    (0x80000001, 0): (0, 0, 0x21, 0x2C100800),
    (0x80000002, 0): struct.unpack("<4I", b"Intel(R) Core(TM"),
    (0x80000003, 0): struct.unpack("<4I", b") i7-4770 CPU @ "),
    (0x80000004, 0): struct.unpack("<4I", b"3.40GHz\0\0\0\0\0\0\0\0\0"),
}
"""Leaves of a Core i7-4770."""


def answering(leaves):
    """CPUID as the manuals have it: past the last leaf it gives what nobody should read."""
    return lambda leaf, subleaf=0: leaves.get(
        (leaf, subleaf), (0, 0, 0, 0) if leaf in {4, 0x8000001D} else (0xFFFFFFFF,) * 4
    )


@pytest.mark.parametrize(
    ("leaves", "identity", "caches"),
    [
        (
            MILAN,
            {
                "vendor": "AuthenticAMD",
                "family": 25,
                "model": 33,
                "stepping": 2,
                "cpu": "AMD Ryzen 9 5950X 16-Core Processor",
            },
            ["L1 data 32768", "L1 instruction 32768", "L2 unified 524288", "L3 unified 33554432"],
        ),
        (
            HASWELL,
            {
                "vendor": "GenuineIntel",
                "family": 6,
                "model": 60,
                "stepping": 3,
                "cpu": "Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz",
            },
            ["L1 data 32768", "L1 instruction 32768", "L2 unified 262144", "L3 unified 8388608"],
        ),
    ],
)
def test_what_a_cpu_is(leaves, identity, caches):
    assert x86.identity(answering(leaves)) == identity
    assert x86.caches(answering(leaves)) == caches


def test_registers_that_the_kernel_does_not_keep_are_not_to_be_used():
    every = {
        **HASWELL,
        (7, 0): (1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (7, 1): (0xFFFFFFFF,) * 4,
        (1, 0): (0, 0, 0xFFFFFFFF, 0),
        (0x80000001, 0): (0, 0, 0xFFFFFFFF, 0),
    }
    assert x86.usable(answering(every), 0x600E7) == set(x86.BITS)
    kept = {0x0: "", 0x3: "", 0x7: "avx", 0xE7: "avx512", 0x60007: "amx"}
    for states, widest in kept.items():
        found = x86.usable(answering(every), states)
        assert "sse4.2" in found
        assert ("avx2" in found) is (states & 6 == 6)
        assert ("avx512f" in found) is (widest == "avx512")
        assert ("amx-tile" in found) is (widest == "amx")


def test_leaves_that_a_cpu_does_not_have_are_not_read():
    """An old CPU answers for its last leaf instead, or with anything."""
    old = answering({
        (0, 0): (1, 0, 0, 0), (1, 0): (0x6FB, 0, 1 << 9, 0), (0x80000000, 0): (0x80000000, 0, 0, 0),
    })  # fmt: skip
    assert x86.usable(old, 0) == {"ssse3"}
    assert x86.caches(old) == []
    assert set(x86.identity(old)) == {"vendor", "family", "model", "stepping"}
    assert "avxvnni" not in x86.usable(answering(HASWELL), 7)  # leaf 7 has no subleaf 1 there


@pytest.mark.parametrize(
    ("midr", "expected"),
    [
        (0x413FD0C1, {"vendor": "Arm", "family": 15, "model": 0xD0C, "stepping": 0x31}),  # Neoverse N1 r3p1
        (0xC00FAC30, {"vendor": "Ampere", "family": 15, "model": 0xAC3, "stepping": 0}),
        (0x770F0001, {"vendor": "0x77", "family": 15, "model": 0, "stepping": 1}),
    ],
)
def test_what_an_arm_cpu_is(monkeypatch, midr, expected):
    monkeypatch.setattr(arm, "_midr", lambda: midr)
    assert arm.identity(frozenset({"cpuid"})) == expected
    assert arm.identity(frozenset()) == {}


def test_an_arm_process_that_may_run_no_code_of_its_own_says_less(monkeypatch):
    def refuse(code):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(arm, "place", refuse)
    assert arm.identity(frozenset({"cpuid"})) == {}
