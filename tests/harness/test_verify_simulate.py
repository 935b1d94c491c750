"""The built-in hosts: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.harness.simulate import HOSTILE_INSIDE, HOSTILE_OUTSIDE, MODELS, core_counts, hostile, simulated
from builder.hosts.host import Conditions
from kernels.runtime.environment import ACTING

AMD64, ARM64 = "linux/amd64", "linux/arm64"


class Place:
    """Stands for a host: only which one it is matters here."""


REAL, EMULATED, FAR = Place(), Place(), Place()
BOTH = {AMD64: (REAL, EMULATED), ARM64: (FAR, FAR)}


def names(variants) -> list[str]:
    return [variant.name for variant in variants]


def test_an_image_of_both_platforms_on_x86():
    found = simulated(BOTH, 2, AMD64)
    assert names(found) == [
        "native", "1-core", "hostile", "haswell", "skylake-client", "epyc-rome", "epyc-milan",
        "cortex-a72", "neoverse-n1", "arm-max",
    ]  # fmt: skip
    assert [variant.host for variant in found] == [REAL] * 3 + [EMULATED] * 4 + [FAR] * 3
    assert found[0].conditions == Conditions()


def test_the_native_platform_comes_first_on_arm_too():
    found = simulated(BOTH, 4, ARM64)
    assert names(found)[:5] == ["native", "1-core", "2-cores", "3-cores", "hostile"]
    assert found[0].host is FAR
    assert "haswell" in names(found)


def test_an_image_of_another_platform_is_only_emulated():
    assert names(simulated({ARM64: (FAR, FAR)}, 8, AMD64)) == ["cortex-a72", "neoverse-n1", "arm-max"]


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, []), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (8, [1, 2, 4, 7]), (64, [1, 2, 32, 63])]
)
def test_core_counts(cores, expected):
    assert core_counts(cores) == expected


@given(st.integers(1, 4096))
def test_core_counts_are_others_than_all_and_possible(cores):
    found = core_counts(cores)
    assert found == sorted(set(found))
    assert all(0 < count < cores for count in found)
    assert cores == 1 or 1 in found


@given(st.integers(1, 512))
def test_names_are_unique(cores):
    found = names(simulated(BOTH, cores, AMD64))
    assert len(found) == len(set(found))


def test_a_hostile_host_keeps_to_the_protocol():
    """It sets nothing inside that the runtime refuses, and outside much that it would."""
    assert not [name for name in HOSTILE_INSIDE if name.startswith(ACTING)]
    assert [name for name in HOSTILE_OUTSIDE if name.startswith(ACTING)]
    assert hostile(3).load == 3


def test_every_model_is_there_once():
    assert all(len(models) == len(set(models)) for models in MODELS.values())
